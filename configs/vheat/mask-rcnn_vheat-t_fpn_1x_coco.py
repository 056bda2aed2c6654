# Mask R-CNN + FPN with vHeat-T on COCO, 1x schedule (12 epochs), 8 GPUs x 2 images, 1333 x 800.
# Published: box AP 45.1, mask AP 41.2 (arXiv 2405.16555). Not run by this project; expect 1-2 days on one 8-GPU node.
# The backbone starts from official ImageNet weights: give their file with
#   --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=FILE \
#                 model.backbone.init_cfg.resize=pad
_base_ = [
    "../_base_/mask-rcnn_vheat_fpn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "../_base_/runtime_mmdet.py",
]
data_help = "download COCO 2017 and lay it out as data/coco/{annotations,train2017,val2017}"
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
