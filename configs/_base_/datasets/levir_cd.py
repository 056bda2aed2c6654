# LEVIR-CD: buildings new or gone on pairs of 1,024 px; crops of 256 px train. Labels are 0 and 255.
data_root = "data/LEVIRCD/"
data_help = "download LEVIR-CD and lay it out as data/LEVIRCD/{train,val,test}/{A,B,label}"
crop_size = (256, 256)
pictures = dict(
    name="optical", bands=["R", "G", "B"], unit="uint8", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
load = dict(type="LoadPair", before=dict(type="LoadModalities", modalities=[pictures]))
annotations = [dict(type="LoadAnnotations"), dict(type="MapLabels", values=[0, 255])]
train_pipeline = [
    load,
    *annotations,
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomFlip", prob=0.5, direction="vertical"),
    dict(type="PackSegInputs"),
]
test_pipeline = [load, *annotations, dict(type="PackSegInputs")]
tta_pipeline = [
    load,
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)],
            annotations[:1],
            annotations[1:],
            [dict(type="PackSegInputs")],
        ],
    ),
]


def dataset(split, pipeline):  # mmengine leaves functions out of the config
    return dict(
        type="LEVIRCDDataset",
        data_root=data_root,
        data_prefix=dict(img_path=f"{split}/A", img_path2=f"{split}/B", seg_map_path=f"{split}/label"),
        pipeline=pipeline,
    )


loading = dict(num_workers=4, persistent_workers=True)
train_dataloader = dict(
    batch_size=8,
    **loading,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dataset("train", train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    **loading,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dataset("val", test_pipeline),
)
test_dataloader = dict(
    batch_size=1,
    **loading,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dataset("test", test_pipeline),
)
val_evaluator = dict(type="ChangeMetric")
test_evaluator = val_evaluator
