# Mask R-CNN + FPN with vHeat-T on COCO, 3x schedule (36 epochs, many sizes and crops); three times the cost of 1x.
# Published: box AP 47.3, mask AP 42.5 (arXiv 2405.16555). Not run by this project; start: see the 1x config.
_base_ = [
    "../_base_/mask-rcnn_vheat_fpn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "../_base_/datasets/coco_tta.py",
    "../_base_/schedules/coco_3x.py",
    "../_base_/runtime_mmdet.py",
]
data_help = "download COCO 2017 and lay it out as data/coco/{annotations,train2017,val2017}"
model = dict(backbone=dict(drop_path_rate=0.2))
train_dataloader = dict(dataset=dict(pipeline={{_base_.multi_scale_pipeline}}))
