# Faster R-CNN + FPN with RS-vHeat-B on DIOR, 800 px, 12 epochs, 8 GPUs x 2 images.
# Published: box AP50 82.30 (arXiv 2411.17984), pre-trained on 3 M images. Not run here, and its cost not measured.
# The schedule is this project's of COCO: the paper's is not public. Start from a pre-trained file with --cfg-options
# model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=FILE.
_base_ = [
    "../_base_/faster-rcnn_rs-vheat_fpn.py",
    "../_base_/datasets/dior.py",
    "../_base_/schedules/coco_1x.py",
    "../_base_/runtime_mmdet.py",
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))
