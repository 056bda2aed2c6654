# Tree crowns: boxes of one class on tiles of 192 px and less, which keep their size, in any orientation.
_base_ = "small.py"
data_root = "data/tree_crowns/"
data_help = "make it with: python tools/make_tree_crowns.py"
metainfo = dict(classes=("tree",))
meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")


load = dict(type="LoadImageFromFile")
annotations = dict(type="LoadAnnotations", with_bbox=True)
resize = dict(type="Resize", scale_factor=1.0)
turns = dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"])
train_pipeline = [load, annotations, resize, turns, dict(type="PackDetInputs")]
test_pipeline = [load, resize, annotations, dict(type="PackDetInputs", meta_keys=meta_keys)]  # truth is not resized
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
        data_root=data_root,
        metainfo=metainfo,
        ann_file=f"{split}.json",
        data_prefix=dict(img=f"{split}/"),
        pipeline=pipeline,
        **more,
    )


train_dataloader = dict(dataset=dataset("train", train_pipeline))
val_dataloader = dict(dataset=dataset("val", test_pipeline, test_mode=True))
test_dataloader = dict(dataset=dataset("test", test_pipeline, test_mode=True))
val_evaluator = dict(type="FasterCocoMetric", ann_file=data_root + "val.json", metric="bbox")
test_evaluator = dict(type="FasterCocoMetric", ann_file=data_root + "test.json", metric="bbox")
