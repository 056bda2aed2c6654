# Mask R-CNN + FPN with vHeat-N, a diffusivity per axis, on digit scenes: a few minutes on two CPU cores.
_base_ = "mask-rcnn_vheat-n_fpn.py"
model = dict(backbone=dict(per_axis=True))
