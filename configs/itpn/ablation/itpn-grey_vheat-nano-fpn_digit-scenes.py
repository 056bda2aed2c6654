# Hidden units are grey in the image, and nothing is re-masked behind it. Seven minutes on two CPU cores.
_base_ = "../itpn_vheat-nano-fpn_digit-scenes.py"
model = dict(fill="grey")
