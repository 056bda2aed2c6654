# DIOR: boxes of twenty classes on aerial pictures of 800 px; trains on trainval, tests on test, as its authors do.
_base_ = "coco_objects.py"
data_root = "data/dior/"
data_help = (
    "download DIOR, put its pictures into data/dior/JPEGImages, its horizontal boxes (XML) into data/dior/Annotations "
    "and its lists into data/dior/ImageSets/Main, then: python tools/convert_voc.py data/dior --splits trainval test"
)
metainfo = dict(  # in the order of the alphabet, as the converter writes them, which mmdet needs
    classes=(
        *("Expressway-Service-area", "Expressway-toll-station", "airplane", "airport", "baseballfield"),
        *("basketballcourt", "bridge", "chimney", "dam", "golffield", "groundtrackfield", "harbor", "overpass"),
        *("ship", "stadium", "storagetank", "tenniscourt", "trainstation", "vehicle", "windmill"),
    )
)
annotations = dict(type="LoadAnnotations", with_bbox=True)
resize = dict(type="Resize", scale=(800, 800), keep_ratio=True)
train_pipeline = [_base_.load, annotations, resize, dict(type="RandomFlip", prob=0.5), _base_.pack]
test_pipeline = [_base_.load, resize, annotations, _base_.pack_test]  # truth is not resized
tta_pipeline = [_base_.load, dict(type="TestTimeAug", transforms=[[resize], _base_.flips, [_base_.pack_tta]])]

data = dict(data_root=data_root, metainfo=metainfo, data_prefix=dict(img="JPEGImages/"))
loading = dict(batch_size=2, num_workers=2, persistent_workers=True)
train_dataloader = dict(
    **loading,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(**data, ann_file="trainval.json", filter_cfg=dict(filter_empty_gt=True), pipeline=train_pipeline),
)
val_dataloader = dict(**loading, dataset=dict(**data, ann_file="test.json", pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type="FasterCocoMetric", ann_file=data_root + "test.json", metric="bbox")
test_evaluator = val_evaluator
