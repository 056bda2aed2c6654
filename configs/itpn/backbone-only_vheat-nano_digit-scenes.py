# vHeat-N alone, pixels and features, as the ablation of a pre-trained neck: minutes on two CPU cores.
_base_ = "itpn_vheat-nano-fpn_digit-scenes.py"
model = dict(neck=None, head=dict(type="PretrainingHead", decoder_dim=64))
