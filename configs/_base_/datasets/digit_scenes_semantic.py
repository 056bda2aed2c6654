# Digit scenes for semantic segmentation: background and ten digits, 96 px.
_base_ = "digit_scenes.py"
metainfo = dict(
    classes=("background", *"0123456789"),
    palette=[
        [0, 0, 0], [230, 25, 75], [60, 180, 75], [255, 225, 25], [0, 130, 200], [245, 130, 48],
        [145, 30, 180], [70, 240, 240], [240, 50, 230], [210, 245, 60], [250, 190, 212],
    ],
)  # fmt: skip


test_pipeline = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="Resize", scale=(size, size), keep_ratio=True) for size in (80, 96, 112)],
            [dict(type="RandomFlip", prob=0.0)],  # digits have a left and a right
            [dict(type="LoadAnnotations")],
            [dict(type="PackSegInputs")],
        ],
    ),
]


def dataset(split):  # mmengine leaves functions out of the config
    return dict(
        type="BaseSegDataset",
        data_root=_base_.data_root,
        metainfo=metainfo,
        data_prefix=dict(img_path=split, seg_map_path=f"{split}_labels"),
        img_suffix=".png",
        seg_map_suffix=".png",
        pipeline=test_pipeline,  # nothing is augmented
    )


train_dataloader = dict(dataset=dataset("train"))
val_dataloader = dict(dataset=dataset("val"))
test_dataloader = {**_base_.val_dataloader, **val_dataloader}
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
