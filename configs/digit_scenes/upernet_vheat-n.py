# UPerNet with vHeat-N on digit scenes: semantic segmentation in a few minutes on two CPU cores.
_base_ = [
    __import__("mmseg").__path__[0] + "/.mim/configs/_base_/models/upernet_swin.py",
    "../_base_/datasets/digit_scenes_semantic.py",
    "../_base_/schedules/digit_scenes.py",
    "../_base_/runtime_mmseg.py",
]
norm_cfg = dict(type="BN", requires_grad=True)
class_weight = [0.1] + [1.0] * 10  # five pixels of six are background
model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(_delete_=True, type="VHeat", arch="nano", img_size=96),
    decode_head=dict(
        in_channels=[32, 64, 128, 256],
        channels=64,
        num_classes=11,
        norm_cfg=norm_cfg,
        loss_decode=dict(class_weight=class_weight),
    ),
    auxiliary_head=dict(
        in_channels=128,
        channels=32,
        num_classes=11,
        norm_cfg=norm_cfg,
        loss_decode=dict(class_weight=class_weight),
    ),
)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=100))
