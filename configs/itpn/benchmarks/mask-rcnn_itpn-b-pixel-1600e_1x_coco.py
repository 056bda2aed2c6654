# Mask R-CNN with iTPN-B, pre-trained on pixels for 1600 epochs, on COCO: 12 epochs, 8 GPUs x 2 images, multi-scale.
# Published: box AP 53.0, mask AP 46.5 (arXiv 2211.12735). Not run by this project; expect 2 days on one 8-GPU node.
# Backbone and pyramid start from one file, an official one or of tools/pretrain.py: give it with
#   --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=FILE
_base_ = [
    "../../_base_/mask-rcnn_itpn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "../../_base_/datasets/coco_tta.py",
    "../../_base_/schedules/itpn_coco_1x.py",
    "../../_base_/runtime_mmdet.py",
]
data_help = "download COCO 2017 and lay it out as data/coco/{annotations,train2017,val2017}"
train_dataloader = dict(dataset=dict(pipeline=_base_.multi_scale_pipeline))
