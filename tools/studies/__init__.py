"""Evidence: what a change is worth, measured with several seeds.

``methods`` lists every fine-tuning method, ``search`` chooses learning rates. ``fine_tuning`` compares methods on small
tasks, ``resolution`` asks how embeddings should be resized. Dense tasks are compared by the room ``evaluation``.
"""
