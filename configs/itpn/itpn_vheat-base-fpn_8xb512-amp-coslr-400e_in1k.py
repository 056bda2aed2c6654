# vHeat-B and an FPN, as the tiny config; about three times its cost. Published: nothing for vHeat.
# Not run by this project.
_base_ = "itpn_vheat-tiny-fpn_8xb512-amp-coslr-400e_in1k.py"
model = dict(backbone=dict(arch="base"), neck=dict(in_channels=[128, 256, 512, 1024]))
