# Mask R-CNN + FPN with vHeat-B on COCO, 3x schedule; start and cost: see the tiny config (about 2.3 times).
# Published: box AP 49.7, mask AP 44.3 (arXiv 2405.16555). Not run by this project.
_base_ = "mask-rcnn_vheat-t_fpn_3x_coco.py"
model = dict(backbone=dict(arch="base", drop_path_rate=0.5), neck=dict(in_channels=[128, 256, 512, 1024]))
