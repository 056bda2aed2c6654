# Mask R-CNN + FPN with vPoisson-T on COCO, 1x schedule, from scratch unless a backbone is given (see the vHeat config).
# Published: nothing. Not run by this project; cost as vHeat-T's.
_base_ = "../vheat/mask-rcnn_vheat-t_fpn_1x_coco.py"
model = dict(backbone=dict(type="VPoisson"))
