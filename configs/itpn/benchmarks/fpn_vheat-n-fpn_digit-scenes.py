# Semantic FPN with vHeat-N and an FPN that were pre-trained together, on digit scenes: a few minutes on two CPU cores.
# Both start from one file of tools/pretrain.py, see the detector's config.
_base_ = [
    __import__("mmseg").__path__[0] + "/.mim/configs/_base_/models/fpn_r50.py",
    "../../_base_/datasets/digit_scenes_semantic.py",
    "../../_base_/schedules/digit_scenes.py",
    "../../_base_/runtime_mmseg.py",
]
norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(96, 96)),
    pretrained=None,
    backbone=dict(_delete_=True, type="VHeat", arch="nano", img_size=96),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64, num_outs=4),
    decode_head=dict(
        in_channels=[64, 64, 64, 64],
        channels=64,
        num_classes=11,
        norm_cfg=norm_cfg,
        loss_decode=dict(class_weight=[0.1] + [1.0] * 10),  # five pixels of six are background
    ),
)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=100))
