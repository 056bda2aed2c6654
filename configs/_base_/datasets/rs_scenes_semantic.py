# Land cover of the synthetic scenes, 256 px, from optical and SAR-like pictures. Half of what trains is under clouds;
# tests are of all scenes without clouds and with them, and reported apart.
_base_ = "rs_scenes.py"
metainfo = dict(
    classes=("water", "forest", "crop", "grass", "bare", "road", "building"),
    palette=[
        [40, 90, 200], [20, 110, 40], [230, 200, 90], [140, 200, 90], [180, 140, 100], [90, 90, 90], [220, 60, 50]
    ],
)  # fmt: skip
crop_size = (192, 192)

load = dict(type="LoadModalities", modalities=_base_.modalities, folders=dict(sar="sar"))
annotations = dict(type="LoadAnnotations")
train_pipeline = [
    load,
    annotations,
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.9),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [load, annotations, dict(type="PackSegInputs")]
tta_pipeline = [
    load,
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="Resize", scale_factor=ratio, keep_ratio=True) for ratio in (0.75, 1.0, 1.25)],
            [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)],
            [annotations],
            [dict(type="PackSegInputs")],
        ],
    ),
]


def dataset(split, folder, pipeline):  # mmengine leaves functions out of the config
    return dict(
        type="BaseSegDataset",
        data_root=_base_.data_root,
        metainfo=metainfo,
        data_prefix=dict(img_path=f"{split}/{folder}", seg_map_path=f"{split}_labels"),
        img_suffix=".tif",
        seg_map_suffix=".png",
        pipeline=pipeline,
    )


train_dataloader = dict(dataset=dataset("train", "optical", train_pipeline))
val_dataloader = dict(dataset=dataset("val", "optical", test_pipeline))
test_dataloader = dict(
    dataset=dict(
        type="ConcatDataset",
        datasets=[dataset("test", f"optical_{sky}", test_pipeline) for sky in ("clear", "cloudy")],
    )
)
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = dict(type="GroupedIoU", groups=dict(clear="optical_clear", cloudy="optical_cloudy"))
