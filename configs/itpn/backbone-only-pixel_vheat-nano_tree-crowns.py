# vHeat-N alone on the same tiles, as the ablation of a neck pre-trained so: minutes on two CPU cores.
_base_ = "itpn-pixel_vheat-nano-fpn_tree-crowns.py"
model = dict(neck=None, head=dict(type="PretrainingHead", decoder_dim=64))
