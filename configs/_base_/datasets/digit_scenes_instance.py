# Digit scenes for instance segmentation: COCO boxes and masks, ten classes, 96 px.
_base_ = "digit_scenes.py"
metainfo = dict(classes=tuple("0123456789"))
meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")


def pipeline(pack):  # mmengine leaves functions out of the config
    return [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
        dict(type="Resize", scale=(96, 96), keep_ratio=True),
        pack,
    ]


def dataset(split, pipeline, **more):
    return dict(
        type="CocoDataset",
        data_root=_base_.data_root,
        metainfo=metainfo,
        ann_file=f"{split}.json",
        data_prefix=dict(img=f"{split}/"),
        pipeline=pipeline,
        **more,
    )


test_pipeline = pipeline(dict(type="PackDetInputs", meta_keys=meta_keys))
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="Resize", scale=(size, size), keep_ratio=True) for size in (80, 96, 112)],
            [dict(type="RandomFlip", prob=0.0)],  # digits have a left and a right
            [dict(type="PackDetInputs", meta_keys=(*meta_keys, "flip", "flip_direction"))],
        ],
    ),
]
train_dataloader = dict(dataset=dataset("train", pipeline(dict(type="PackDetInputs"))))
val_dataloader = dict(dataset=dataset("val", test_pipeline, test_mode=True))
test_dataloader = {**_base_.val_dataloader, **val_dataloader}
val_evaluator = dict(type="CocoMetric", ann_file=_base_.data_root + "val.json", metric=["bbox", "segm"])
test_evaluator = val_evaluator
