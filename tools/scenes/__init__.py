"""Data that is made here, from pictures that installed packages bring: nothing is downloaded.

``drawing`` draws one scene, ``styles`` says how scenes look, ``data_set`` writes the digit scenes. ``tasks`` has the
image-classification tasks of the fine-tuning study.
"""
