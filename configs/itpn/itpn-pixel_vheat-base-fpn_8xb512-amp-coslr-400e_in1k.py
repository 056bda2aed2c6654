# vHeat-B and an FPN with pixels alone as the target; else as pixels and features. Published: nothing for vHeat. Not run
# by this project.
_base_ = "itpn_vheat-base-fpn_8xb512-amp-coslr-400e_in1k.py"
model = dict(target_generator=[dict(type="pixels", floor=2e-2)])
