# RetinaNet + FPN with vHeat-N, a diffusivity per axis, on tree crowns: a few minutes on two CPU cores.
_base_ = "retinanet_vheat-n_fpn.py"
model = dict(backbone=dict(per_axis=True))
