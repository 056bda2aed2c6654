# UPerNet with vHeat-B on ADE20K, 160k iterations; start and cost: see the tiny config (about 1.8 times).
# Published: mIoU 49.6, single scale (arXiv 2405.16555). Not run by this project.
_base_ = "upernet_vheat-t_160k_ade20k-512x512.py"
model = dict(
    backbone=dict(arch="base", drop_path_rate=0.5),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
