# Units of 32 px, nine in an image, not 36 of 16 px. Seven minutes on two CPU cores.
_base_ = "../itpn_vheat-nano-fpn_digit-scenes.py"
model = dict(mask=dict(unit=32))
