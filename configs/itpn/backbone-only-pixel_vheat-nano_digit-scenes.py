# vHeat-N alone by pixels alone, as the ablation of a neck pre-trained so: minutes on two CPU cores.
_base_ = "itpn-pixel_vheat-nano-fpn_digit-scenes.py"
model = dict(neck=None, head=dict(type="PretrainingHead", decoder_dim=64))
