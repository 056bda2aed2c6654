# Cascade Mask R-CNN + FPN with vHeat-T on COCO, 1x schedule, 8 GPUs x 2 images; start: see the Mask R-CNN config.
# Published: nothing for this detector. Not run by this project; expect 1-2 days on one 8-GPU node.
_base_ = [
    "mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "../_base_/datasets/coco_tta.py",
    "../_base_/schedules/coco_1x.py",
    "../_base_/runtime_mmdet.py",
]
data_help = "download COCO 2017 and lay it out as data/coco/{annotations,train2017,val2017}"
model = dict(
    backbone=dict(_delete_=True, type="VHeat", arch="tiny", img_size=512, drop_path_rate=0.1),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
