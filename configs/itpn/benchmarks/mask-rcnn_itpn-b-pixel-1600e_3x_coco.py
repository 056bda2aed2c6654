# Mask R-CNN with iTPN-B, pre-trained on pixels for 1600 epochs, on COCO, 36 epochs; start: see the 1x config.
# Published: box AP 54.0, mask AP 47.4 (arXiv 2211.12735). Not run by this project; three times the cost.
_base_ = "mask-rcnn_itpn-b-pixel-1600e_1x_coco.py"
model = dict(backbone=dict(drop_path_rate=0.3))
train_cfg = dict(max_epochs=36)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", begin=0, end=36, by_epoch=True, milestones=[27, 33], gamma=0.1),
]
