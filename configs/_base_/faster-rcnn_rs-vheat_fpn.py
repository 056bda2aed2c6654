# Faster R-CNN + FPN with RS-vHeat-B for colour pictures: mmdet's model, its backbone exchanged. The network normalises
# pictures itself, so the preprocessor only puts red first. Learned maps are stored at the size of pre-training.
_base_ = "mmdet::_base_/models/faster-rcnn_r50_fpn.py"
optical = dict(
    name="optical", bands=["R", "G", "B"], unit="uint8", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
model = dict(
    data_preprocessor=dict(mean=None, std=None),
    backbone=dict(_delete_=True, type="RSVHeat", arch="base", modalities=[optical], img_size=224, drop_path_rate=0.3),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
