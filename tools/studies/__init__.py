"""Evidence: what a change is worth, measured with several seeds.

``methods`` lists every fine-tuning method, ``search`` chooses learning rates. ``fine_tuning`` compares methods on small
tasks, ``transfer`` carries detectors and segmentors over to other scenes, ``comparison`` trains backbones of one size,
``resolution`` asks how embeddings should be resized.
"""
