# UPerNet with iTPN-L, pre-trained on pixels for 1600 epochs, on ADE20K, 160k iterations; start: see the base config.
# Published: mIoU 56.1 (arXiv 2211.12735). Not run by this project; about 3.5 times the base's cost.
_base_ = "upernet_itpn-b-pixel-1600e_160k_ade20k-512x512.py"
model = dict(
    backbone=dict(arch="large"),
    decode_head=dict(in_channels=[448, 640, 1024, 1024]),
    auxiliary_head=dict(in_channels=1024),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.95))
