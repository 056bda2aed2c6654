# Mask R-CNN with iTPN-L, pre-trained on pixels for 1600 epochs, on COCO, 12 epochs; start: see the base config.
# Published: box AP 55.6, mask AP 48.6 (arXiv 2211.12735). Not run by this project; about 3.5 times the base's cost.
_base_ = "mask-rcnn_itpn-b-pixel-1600e_1x_coco.py"
model = dict(backbone=dict(arch="large"))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.95))
