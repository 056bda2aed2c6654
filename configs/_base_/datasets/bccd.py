# BCCD: boxes of three kinds of blood cells on 640 x 480 px, at half their size, in any orientation.
_base_ = "coco_objects.py"
data_root = "data/bccd/"
data_help = (
    "git clone https://github.com/Shenggan/BCCD_Dataset, python tools/convert_voc.py BCCD_Dataset/BCCD, "
    "and --cfg-options data_root=BCCD_Dataset/BCCD"
)
metainfo = dict(
    classes=("Platelets", "RBC", "WBC"),  # as the file has them, which mmdet needs
    palette=[(240, 180, 40), (220, 50, 50), (60, 90, 220)],
)

annotations = dict(type="LoadAnnotations", with_bbox=True)
resize = dict(type="Resize", scale=(320, 240), keep_ratio=True)
train_pipeline = [_base_.load, annotations, resize, _base_.turns, _base_.pack]
test_pipeline = [_base_.load, resize, annotations, _base_.pack_test]  # truth is not resized
tta_pipeline = [_base_.load, dict(type="TestTimeAug", transforms=[[resize], _base_.flips, [_base_.pack_tta]])]

data = dict(data_root=data_root, metainfo=metainfo, data_prefix=dict(img="JPEGImages/"))
train_dataloader = dict(dataset=dict(**data, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**data, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(**data, pipeline=test_pipeline))
val_evaluator = dict(type="FasterCocoMetric", ann_file=data_root + "val.json", metric="bbox")
test_evaluator = dict(type="FasterCocoMetric", ann_file=data_root + "test.json", metric="bbox")
