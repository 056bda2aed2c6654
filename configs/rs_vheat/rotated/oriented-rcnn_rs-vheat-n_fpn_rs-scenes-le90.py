# Oriented R-CNN + FPN with RS-vHeat-N on the synthetic scenes: oriented boxes of ships and aircraft, from optical and
# SAR-like pictures. It needs mmrotate: pip install -e '.[rotated]'. About forty minutes on two CPU cores.
_base_ = "../../_base_/oriented-rcnn_rs-vheat_fpn.py"
data_root = "data/rs_scenes/"
data_help = "make it with: python tools/make_rs_scenes.py"
# As in ../../_base_/datasets/rs_scenes.py.
sar = dict(name="sar", bands=["VV", "VH"], unit="dB", mean=[-13.0, -18.0], std=[4.5, 4.0], clip=[-30.0, 5.0])
modalities = [_base_.optical, sar]
metainfo = dict(classes=("ship", "aircraft"), palette=[(240, 180, 40), (220, 50, 50)])
meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")

load = dict(type="LoadModalities", modalities=modalities, folders=dict(sar="sar"))
annotations = [
    dict(type="mmdet.LoadAnnotations", with_bbox=True, box_type="qbox"),
    dict(type="ConvertBoxType", box_type_mapping=dict(gt_bboxes="rbox")),
]
resize = dict(type="mmdet.Resize", scale_factor=1.0)
train_pipeline = [
    load,
    *annotations,
    resize,
    dict(type="mmdet.RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(type="mmdet.PackDetInputs"),
]
# Truth is not resized.
test_pipeline = [load, resize, *annotations, dict(type="mmdet.PackDetInputs", meta_keys=meta_keys)]


def dataset(split, pipeline, **more):  # mmengine leaves functions out of the config
    return dict(
        type="DOTADataset",
        data_root=data_root,
        metainfo=metainfo,
        ann_file=f"{split}_dota/",
        data_prefix=dict(img_path=f"{split}/optical/"),
        img_suffix="tif",
        pipeline=pipeline,
        **more,
    )


loading = dict(batch_size=8, num_workers=0, persistent_workers=False)
train_dataloader = dict(
    **loading,
    sampler=dict(_delete_=True, type="InfiniteSampler", shuffle=True),
    dataset=dict(_delete_=True, **dataset("train", train_pipeline, filter_cfg=dict(filter_empty_gt=True))),
)
val_dataloader = dict(**loading, dataset=dict(_delete_=True, **dataset("val", test_pipeline, test_mode=True)))
test_dataloader = dict(**loading, dataset=dict(_delete_=True, **dataset("test", test_pipeline, test_mode=True)))

width = 64
norm_cfg = dict(type="BN", requires_grad=True)  # neck and heads start from scratch too, and train faster with norms
model = dict(
    data_preprocessor=dict(bgr_to_rgb=False),
    backbone=dict(arch="nano", modalities=modalities, img_size=256, drop_path_rate=0.0),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=width, num_outs=4, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels=width, feat_channels=width, anchor_generator=dict(scales=[2], strides=[4, 8, 16, 32])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=width),
        bbox_head=dict(in_channels=width, fc_out_channels=256, num_classes=2),
    ),
    # Few proposals: RoIAlignRotated takes most of the time on a CPU.
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=300), rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300), rcnn=dict(max_per_img=100)),
)
max_iters = 600
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=max_iters, val_interval=200)
optim_wrapper = dict(optimizer=dict(lr=3e-3), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", eta_min=1e-6, by_epoch=False, begin=0, end=max_iters),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(by_epoch=False, interval=100))
log_processor = dict(by_epoch=False)
