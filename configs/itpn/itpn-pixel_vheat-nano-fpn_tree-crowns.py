# The same with pixels alone as the target, without a teacher: minutes on two CPU cores.
_base_ = "itpn_vheat-nano-fpn_tree-crowns.py"
model = dict(target_generator=[dict(type="pixels", floor=2e-2)])
