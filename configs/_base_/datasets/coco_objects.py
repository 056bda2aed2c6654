# Boxes, or boxes and masks, of the COCO annotations train.json, val.json and test.json in one folder; what differs
# between data sets is in the files that build on this one.
_base_ = "small.py"
meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")

load = dict(type="LoadImageFromFile")
pack = dict(type="PackDetInputs")
pack_test = dict(type="PackDetInputs", meta_keys=meta_keys)
pack_tta = dict(type="PackDetInputs", meta_keys=(*meta_keys, "flip", "flip_direction"))
turns = dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"])
flips = [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)]

train_dataloader = dict(dataset=dict(type="CocoDataset", ann_file="train.json"))
val_dataloader = dict(dataset=dict(type="CocoDataset", ann_file="val.json", test_mode=True))
test_dataloader = dict(dataset=dict(type="CocoDataset", ann_file="test.json", test_mode=True))
