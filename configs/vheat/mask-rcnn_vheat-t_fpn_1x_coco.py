# Mask R-CNN + FPN with vHeat-T on COCO, 1x schedule (12 epochs), 8 GPUs x 2 images, 1333 x 800.
# Published: box AP 45.1, mask AP 41.2 (arXiv 2405.16555). Not run by this project; expect 1-2 days on one 8-GPU node.
# The backbone starts from official ImageNet weights: give their file with
#   --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=FILE \
#                 model.backbone.init_cfg.resize=pad
_base_ = [
    "../_base_/mask-rcnn_vheat_fpn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "../_base_/datasets/coco_tta.py",
    "../_base_/schedules/coco_1x.py",
    "../_base_/runtime_mmdet.py",
]
data_help = "download COCO 2017 and lay it out as data/coco/{annotations,train2017,val2017}"
