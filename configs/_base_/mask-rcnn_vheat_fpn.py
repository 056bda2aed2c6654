# Mask R-CNN + FPN with a vHeat backbone: mmdet's model, its backbone and the neck's inputs exchanged.
_base_ = "mmdet::_base_/models/mask-rcnn_r50_fpn.py"
model = dict(
    backbone=dict(_delete_=True, type="VHeat", arch="tiny", img_size=512, drop_path_rate=0.1),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
