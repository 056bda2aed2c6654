# UPerNet with vHeat-S on ADE20K, 160k iterations; start and cost: see the tiny config (about 1.3 times).
# Published: mIoU 49.0, single scale (arXiv 2405.16555). Not run by this project.
_base_ = "upernet_vheat-t_160k_ade20k-512x512.py"
model = dict(backbone=dict(arch="small", drop_path_rate=0.4))
