# Mask R-CNN + FPN with vHeat-S on COCO, 1x schedule; start and cost: see the tiny config (about 1.6 times).
# Published: box AP 46.8, mask AP 42.3 (arXiv 2405.16555). Not run by this project.
_base_ = "mask-rcnn_vheat-t_fpn_1x_coco.py"
model = dict(backbone=dict(arch="small", drop_path_rate=0.3))
