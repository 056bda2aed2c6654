# Mask R-CNN + FPN with vHeat-B on COCO, 1x schedule; start and cost: see the tiny config (about 2.3 times).
# Published: box AP 47.7, mask AP 43.0 (arXiv 2405.16555). Not run by this project.
_base_ = "mask-rcnn_vheat-t_fpn_1x_coco.py"
model = dict(backbone=dict(arch="base", drop_path_rate=0.5), neck=dict(in_channels=[128, 256, 512, 1024]))
