# Digit scenes for instance segmentation: COCO boxes and masks, ten classes, 96 px.
_base_ = "coco_objects.py"
data_root = "data/digit_scenes/"
data_help = "make it with: python tools/make_digit_scenes.py"
metainfo = dict(classes=tuple("0123456789"))

annotations = dict(type="LoadAnnotations", with_bbox=True, with_mask=True)
resize = dict(type="Resize", scale=(96, 96), keep_ratio=True)
train_pipeline = [_base_.load, annotations, resize, _base_.pack]
test_pipeline = [_base_.load, resize, annotations, _base_.pack_test]  # truth is not resized
sizes = [dict(type="Resize", scale=(size, size), keep_ratio=True) for size in (80, 96, 112)]
still = [dict(type="RandomFlip", prob=0.0)]  # digits have a left and a right
tta_pipeline = [_base_.load, dict(type="TestTimeAug", transforms=[sizes, still, [_base_.pack_tta]])]

data = dict(data_root=data_root, metainfo=metainfo)
train_dataloader = dict(dataset=dict(**data, data_prefix=dict(img="train/"), pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**data, data_prefix=dict(img="val/"), pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(**data, ann_file="val.json", data_prefix=dict(img="val/"), pipeline=test_pipeline))
val_evaluator = dict(type="CocoMetric", ann_file=data_root + "val.json", metric=["bbox", "segm"])
test_evaluator = val_evaluator
