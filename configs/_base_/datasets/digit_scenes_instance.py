# Digit scenes for instance segmentation: COCO boxes and masks, ten classes, 96 px.
_base_ = "digit_scenes.py"
metainfo = dict(classes=tuple("0123456789"))
meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")


load = dict(type="LoadImageFromFile")
annotations = dict(type="LoadAnnotations", with_bbox=True, with_mask=True)
resize = dict(type="Resize", scale=(96, 96), keep_ratio=True)
train_pipeline = [load, annotations, resize, dict(type="PackDetInputs")]
test_pipeline = [load, resize, annotations, dict(type="PackDetInputs", meta_keys=meta_keys)]  # truth is not resized
tta_pipeline = [
    load,
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="Resize", scale=(size, size), keep_ratio=True) for size in (80, 96, 112)],
            [dict(type="RandomFlip", prob=0.0)],  # digits have a left and a right
            [dict(type="PackDetInputs", meta_keys=(*meta_keys, "flip", "flip_direction"))],
        ],
    ),
]


def dataset(split, pipeline, **more):  # mmengine leaves functions out of the config
    return dict(
        type="CocoDataset",
        data_root=_base_.data_root,
        metainfo=metainfo,
        ann_file=f"{split}.json",
        data_prefix=dict(img=f"{split}/"),
        pipeline=pipeline,
        **more,
    )


train_dataloader = dict(dataset=dataset("train", train_pipeline))
val_dataloader = dict(dataset=dataset("val", test_pipeline, test_mode=True))
test_dataloader = {**_base_.val_dataloader, **val_dataloader}
val_evaluator = dict(type="CocoMetric", ann_file=_base_.data_root + "val.json", metric=["bbox", "segm"])
test_evaluator = val_evaluator
