# Mask R-CNN with vHeat-B and an FPN that were pre-trained together, on COCO; start: see the tiny config.
# Published: nothing (vHeat-B from supervised ImageNet weights: box AP 47.7). Not run by this project.
_base_ = "../../vheat/mask-rcnn_vheat-b_fpn_1x_coco.py"
