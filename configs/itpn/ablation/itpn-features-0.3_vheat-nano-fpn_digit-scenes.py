# The features of the moving average weigh 0.3 of the pixels. Seven minutes on two CPU cores.
_base_ = "../itpn_vheat-nano-fpn_digit-scenes.py"
model = dict(target_generator=[dict(type="pixels", floor=2e-2), dict(type="features", weight=0.3)])
