"""Training that survives: what any loop around a network needs so that a killed run loses nothing.

``files`` writes checkpoints that are whole or not there, ``randomness`` and ``data`` make a sample's augmentation
depend on its place in the stream alone, ``stopping`` turns signals into a stop at the next update, ``gradients`` finds
updates that are not finite. The runner of :mod:`backbones.openmmlab.runner` and tools/train_classifier.py use it.
"""
