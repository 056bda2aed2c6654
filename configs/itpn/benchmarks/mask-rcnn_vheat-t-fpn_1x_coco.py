# Mask R-CNN with vHeat-T and an FPN that were pre-trained together, on COCO, 12 epochs, 8 GPUs x 2 images.
# Published: nothing (vHeat-T from supervised ImageNet weights: box AP 45.1). Not run by this project; expect 1-2 days
# one 8-GPU node. Backbone and neck start from one file of tools/pretrain.py: give it with
#   --cfg-options load_from=FILE
_base_ = "../../vheat/mask-rcnn_vheat-t_fpn_1x_coco.py"
