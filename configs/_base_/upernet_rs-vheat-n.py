# UPerNet with RS-vHeat-N, narrow, for synthetic scenes of 256 px; what differs between tasks is in the configs.
_base_ = __import__("mmseg").__path__[0] + "/.mim/configs/_base_/models/upernet_swin.py"
norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    # The network normalises images itself, by its modalities, which are in the units of the files.
    data_preprocessor=dict(size=(192, 192), mean=None, std=None, bgr_to_rgb=False),
    backbone=dict(_delete_=True, type="RSVHeat", arch="nano", img_size=192),
    decode_head=dict(in_channels=[32, 64, 128, 256], channels=64, num_classes=7, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=128, channels=32, num_classes=7, norm_cfg=norm_cfg),
)
