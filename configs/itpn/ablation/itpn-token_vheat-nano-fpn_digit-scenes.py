# Hidden cells are one learned token behind the stem (SimMIM), nothing re-masked. Seven minutes on two CPU cores.
_base_ = "../itpn_vheat-nano-fpn_digit-scenes.py"
model = dict(fill="token")
