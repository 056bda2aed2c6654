# Tree crowns: boxes of one class on tiles of 192 px and less, which keep their size, in any orientation.
_base_ = "coco_objects.py"
data_root = "data/tree_crowns/"
data_help = "make it with: python tools/make_tree_crowns.py"
metainfo = dict(classes=("tree",))

annotations = dict(type="LoadAnnotations", with_bbox=True)
resize = dict(type="Resize", scale_factor=1.0)
train_pipeline = [_base_.load, annotations, resize, _base_.turns, _base_.pack]
test_pipeline = [_base_.load, resize, annotations, _base_.pack_test]  # truth is not resized
tta_pipeline = [_base_.load, dict(type="TestTimeAug", transforms=[[resize], _base_.flips, [_base_.pack_tta]])]

data = dict(data_root=data_root, metainfo=metainfo)
train_dataloader = dict(dataset=dict(**data, data_prefix=dict(img="train/"), pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**data, data_prefix=dict(img="val/"), pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(**data, data_prefix=dict(img="test/"), pipeline=test_pipeline))
val_evaluator = dict(type="FasterCocoMetric", ann_file=data_root + "val.json", metric="bbox")
test_evaluator = dict(type="FasterCocoMetric", ann_file=data_root + "test.json", metric="bbox")
