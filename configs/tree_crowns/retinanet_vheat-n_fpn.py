# RetinaNet + FPN with vHeat-N on tree crowns: boxes on aerial photographs (tools/make_tree_crowns.py, from the package
# deepforest), in some ten minutes on two CPU cores. It tests on another photograph; the splits are in docs/data.md.
_base_ = [
    "mmdet::_base_/models/retinanet_r50_fpn.py",
    "../_base_/datasets/tree_crowns.py",
    "../_base_/schedules/digit_scenes.py",
    "../_base_/runtime_mmdet.py",
]
width = 64
norm_cfg = dict(type="BN", requires_grad=True)  # neck and head start from scratch too, and train faster with norms
model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(_delete_=True, type="VHeat", arch="nano", img_size=192),
    neck=dict(
        in_channels=[32, 64, 128, 256],
        out_channels=width,
        start_level=1,
        add_extra_convs="on_output",
        num_outs=4,
        norm_cfg=norm_cfg,
    ),
    bbox_head=dict(
        type="RetinaHead",
        num_classes=1,
        in_channels=width,
        feat_channels=width,
        stacked_convs=2,
        norm_cfg=norm_cfg,
        # Crowns are 10 to 90 px wide and about as high.
        anchor_generator=dict(octave_base_scale=2, ratios=[1.0], strides=[8, 16, 32, 64]),
    ),
    test_cfg=dict(nms_pre=500, max_per_img=100),
)
max_iters = 500
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", eta_min=1e-6, by_epoch=False, begin=0, end=max_iters),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(by_epoch=False, interval=100))
log_processor = dict(by_epoch=False)
