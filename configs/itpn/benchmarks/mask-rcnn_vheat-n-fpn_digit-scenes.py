# Mask R-CNN with vHeat-N and an FPN that were pre-trained together, on digit scenes: a few minutes on two CPU cores.
# The neck is without norms, as in pre-training. Both start from one file of tools/pretrain.py:
#   --cfg-options load_from=work_dirs/itpn_vheat-nano-fpn_digit-scenes/pretrained.safetensors
_base_ = "../../digit_scenes/mask-rcnn_vheat-n_fpn.py"
model = dict(neck=dict(norm_cfg=None))
