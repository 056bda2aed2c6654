"""Weights from files: read safely, given this project's names, compared with a network, and loaded.

``reading`` opens files from strangers, ``conversion`` has the official names, ``identification`` tells the network a
file belongs to, ``loading`` puts it into one, ``cards`` holds the published figures, and ``pretrained`` is timm's road.
"""
