# Digit scenes for instance segmentation: COCO boxes and masks, ten classes, 96 px.
_base_ = "digit_scenes.py"
metainfo = dict(classes=tuple("0123456789"))


def dataset(split, pack, **more):  # mmengine leaves functions out of the config
    return dict(
        type="CocoDataset",
        data_root=_base_.data_root,
        metainfo=metainfo,
        ann_file=f"{split}.json",
        data_prefix=dict(img=f"{split}/"),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(type="Resize", scale=(96, 96), keep_ratio=True),
            pack,
        ],
        **more,
    )


train_dataloader = dict(dataset=dataset("train", dict(type="PackDetInputs")))
val_dataloader = dict(
    dataset=dataset(
        "val",
        dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
        test_mode=True,
    )
)
test_dataloader = {**_base_.val_dataloader, **val_dataloader}
val_evaluator = dict(type="CocoMetric", ann_file=_base_.data_root + "val.json", metric=["bbox", "segm"])
test_evaluator = val_evaluator
