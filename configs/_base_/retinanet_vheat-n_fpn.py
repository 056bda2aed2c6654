# RetinaNet + FPN with vHeat-N, narrow, for boxes of 10 to 130 px on images of 200 to 300 px, from scratch.
# Of two detectors of this size (the other Faster R-CNN) it learned faster on tree crowns, and it can be exported.
_base_ = "mmdet::_base_/models/retinanet_r50_fpn.py"
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
        in_channels=width,
        feat_channels=width,
        stacked_convs=2,
        norm_cfg=norm_cfg,
        anchor_generator=dict(octave_base_scale=2, ratios=[1.0], strides=[8, 16, 32, 64]),
    ),
    test_cfg=dict(nms_pre=500, max_per_img=100),
)
