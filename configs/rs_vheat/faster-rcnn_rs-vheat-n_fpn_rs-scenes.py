# Faster R-CNN + FPN with RS-vHeat-N on the synthetic scenes: boxes of ships and aircraft of 5 to 30 px, from optical
# and SAR-like pictures. About thirty minutes on two CPU cores.
_base_ = [
    "mmdet::_base_/models/faster-rcnn_r50_fpn.py",
    "../_base_/datasets/rs_scenes_objects.py",
    "../_base_/schedules/small_data.py",
    "../_base_/runtime_mmdet.py",
]
width = 64
norm_cfg = dict(type="BN", requires_grad=True)  # neck and heads start from scratch too, and train faster with norms
model = dict(
    data_preprocessor=dict(mean=None, std=None, bgr_to_rgb=False),
    backbone=dict(_delete_=True, type="RSVHeat", arch="nano", modalities=_base_.modalities, img_size=256),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=width, num_outs=4, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels=width, feat_channels=width, anchor_generator=dict(scales=[2], strides=[4, 8, 16, 32])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=width),
        bbox_head=dict(in_channels=width, fc_out_channels=256, num_classes=2),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)),
)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(by_epoch=False, interval=100))
log_processor = dict(by_epoch=False)
