# RetinaNet with vHeat-N and an FPN that were pre-trained together, on tree crowns: a few minutes on two CPU cores.
# The neck has group norms, as in pre-training, and so has the head: it is one for all levels, whose means differ once
# they were pre-trained, and the running statistics of a batch norm would be those of none (docs/pretraining.md).
# Both start from one file of tools/pretrain.py:
#   --cfg-options load_from=work_dirs/itpn_vheat-nano-fpn_tree-crowns/pretrained.safetensors
_base_ = "../../tree_crowns/retinanet_vheat-n_fpn.py"
norm_cfg = dict(type="GN", num_groups=8, requires_grad=True)
model = dict(neck=dict(norm_cfg=norm_cfg), bbox_head=dict(norm_cfg=norm_cfg))
