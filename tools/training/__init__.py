"""Training: what the commands for OpenMMLab's models and for classifiers are made of.

``openmmlab`` readies a config, ``runs`` trains and tests the digit scenes' models through the commands, ``recipe``,
``classification`` and ``classifier`` are tools/train_classifier.py.
"""
