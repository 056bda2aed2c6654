# UPerNet with vHeat-N, a diffusivity per axis, on digit scenes: a few minutes on two CPU cores.
_base_ = "upernet_vheat-n.py"
model = dict(backbone=dict(per_axis=True))
