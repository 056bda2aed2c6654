# Change of land cover between two dates of the synthetic scenes: buildings, felled forest and risen water, beside what
# is no change (fields, sun, ships, half a pixel). A quarter of the pairs has none.
_base_ = "rs_scenes.py"
metainfo = dict(classes=("same", "changed"), palette=[[0, 0, 0], [255, 255, 255]])
crop_size = (192, 192)

load = dict(
    type="LoadPair",
    before=dict(type="LoadModalities", modalities=_base_.modalities, folders=dict(sar="sar_before")),
    after=dict(type="LoadModalities", modalities=_base_.modalities, folders=dict(sar="sar_after")),
)
annotations = dict(type="LoadAnnotations")
train_pipeline = [
    load,
    annotations,
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [load, annotations, dict(type="PackSegInputs")]
tta_pipeline = [
    load,
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)],
            [annotations],
            [dict(type="PackSegInputs")],
        ],
    ),
]


def dataset(split, pipeline):  # mmengine leaves functions out of the config
    folder = f"{split}_changes"
    return dict(
        type="BaseCDDataset",
        data_root=_base_.data_root,
        metainfo=metainfo,
        data_prefix=dict(
            img_path=f"{folder}/optical_before", img_path2=f"{folder}/optical_after", seg_map_path=f"{folder}/labels"
        ),
        img_suffix=".tif",
        img_suffix2=".tif",
        seg_map_suffix=".png",
        pipeline=pipeline,
    )


train_dataloader = dict(dataset=dataset("train", train_pipeline))
val_dataloader = dict(dataset=dataset("val", test_pipeline))
test_dataloader = dict(dataset=dataset("test", test_pipeline))
val_evaluator = dict(type="ChangeMetric")
test_evaluator = val_evaluator
