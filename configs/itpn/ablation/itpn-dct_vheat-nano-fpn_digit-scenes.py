# The lowest cosine coefficients of each unit in the place of its pixels. Seven minutes on two CPU cores.
_base_ = "../itpn_vheat-nano-fpn_digit-scenes.py"
model = dict(target_generator=[dict(type="dct"), dict(type="features")])
