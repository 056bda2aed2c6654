"""Weights from files: read safely, given this project's names, compared with a network, and loaded.

A file passes through ``reading`` (no code of it is run), ``containers`` (what training scripts put around the weights),
``conversion`` (official names, by the tables of ``names`` and ``vheat_names``) and ``loading`` (how tensors go into a
network). ``identification`` tells the network a file belongs to, ``cards`` holds the published figures, and
``pretrained`` is timm's road.
"""
