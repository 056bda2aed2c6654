# Mask R-CNN + FPN with vMix-T on COCO, 1x schedule, from scratch unless a backbone is given (see the vHeat config).
# Published: nothing. Not run by this project; cost a little above vHeat-T's.
_base_ = "../vheat/mask-rcnn_vheat-t_fpn_1x_coco.py"
model = dict(backbone=dict(type="VMix"))
