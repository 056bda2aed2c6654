# RetinaNet with vHeat-N and an FPN that were pre-trained together, on tree crowns: a few minutes on two CPU cores.
# The neck has group norms, as in pre-training. Both start from one file of tools/pretrain.py:
#   --cfg-options load_from=work_dirs/itpn-pixel_vheat-nano-fpn_tree-crowns/pretrained.safetensors
_base_ = "../../tree_crowns/retinanet_vheat-n_fpn.py"
model = dict(neck=dict(norm_cfg=dict(type="GN", num_groups=8, requires_grad=True)))
