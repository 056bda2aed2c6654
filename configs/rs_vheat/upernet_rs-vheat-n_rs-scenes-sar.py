# UPerNet with RS-vHeat-N on the synthetic scenes: land cover from SAR-like pictures alone, to which clouds are nothing.
# About five minutes on two CPU cores.
_base_ = "upernet_rs-vheat-n_rs-scenes.py"
modalities = [_base_.sar]
load = dict(type="LoadModalities", modalities=modalities)
train_pipeline = [load, *_base_.train_pipeline[1:]]
test_pipeline = [load, *_base_.test_pipeline[1:]]
tta_pipeline = [load, *_base_.tta_pipeline[1:]]
model = dict(backbone=dict(modalities=modalities))
train_dataloader = dict(dataset=dict(data_prefix=dict(img_path="train/sar"), pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_prefix=dict(img_path="val/sar"), pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        **dict(
            _base_.test_dataloader.dataset.datasets[0],
            data_prefix=dict(img_path="test/sar", seg_map_path="test_labels"),
            pipeline=test_pipeline,
        ),
    )
)
test_evaluator = dict(_delete_=True, type="IoUMetric", iou_metrics=["mIoU"])
