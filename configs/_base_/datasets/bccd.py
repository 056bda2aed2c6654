# BCCD: boxes of three kinds of blood cells on 640 x 480 px, at half their size, in any orientation.
_base_ = "small.py"
data_root = "data/bccd/"
data_help = (
    "git clone https://github.com/Shenggan/BCCD_Dataset, python tools/convert_voc.py BCCD_Dataset/BCCD, "
    "and --cfg-options data_root=BCCD_Dataset/BCCD"
)
metainfo = dict(
    classes=("Platelets", "RBC", "WBC"),  # as the file has them, which mmdet needs
    palette=[(240, 180, 40), (220, 50, 50), (60, 90, 220)],
)
meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")


load = dict(type="LoadImageFromFile")
annotations = dict(type="LoadAnnotations", with_bbox=True)
resize = dict(type="Resize", scale=(320, 240), keep_ratio=True)
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
        data_prefix=dict(img="JPEGImages/"),
        pipeline=pipeline,
        **more,
    )


train_dataloader = dict(dataset=dataset("train", train_pipeline))
val_dataloader = dict(dataset=dataset("val", test_pipeline, test_mode=True))
test_dataloader = dict(dataset=dataset("test", test_pipeline, test_mode=True))
val_evaluator = dict(type="FasterCocoMetric", ann_file=data_root + "val.json", metric="bbox")
test_evaluator = dict(type="FasterCocoMetric", ann_file=data_root + "test.json", metric="bbox")
