# Ships and aircraft on the synthetic scenes of 256 px, from optical and SAR-like pictures, in any orientation. Half of
# the optical pictures are under clouds, and what is below clouds is to be found, too.
_base_ = "rs_scenes.py"
metainfo = dict(classes=("ship", "aircraft"), palette=[(240, 180, 40), (220, 50, 50)])

meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")

load = dict(type="LoadModalities", modalities=_base_.modalities, folders=dict(sar="sar"))
annotations = dict(type="LoadAnnotations", with_bbox=True)
resize = dict(type="Resize", scale_factor=1.0)
train_pipeline = [
    load,
    annotations,
    resize,
    dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackDetInputs"),
]
# Truth is not resized.
test_pipeline = [load, resize, annotations, dict(type="PackDetInputs", meta_keys=meta_keys)]
tta_pipeline = [
    load,
    dict(
        type="TestTimeAug",
        transforms=[
            [resize],
            [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)],
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
        data_prefix=dict(img=f"{split}/optical/"),
        pipeline=pipeline,
        **more,
    )


train_dataloader = dict(dataset=dataset("train", train_pipeline))
val_dataloader = dict(dataset=dataset("val", test_pipeline, test_mode=True))
test_dataloader = dict(dataset=dataset("test", test_pipeline, test_mode=True))
val_evaluator = dict(type="FasterCocoMetric", ann_file=_base_.data_root + "val.json", metric="bbox")
test_evaluator = dict(type="FasterCocoMetric", ann_file=_base_.data_root + "test.json", metric="bbox")
