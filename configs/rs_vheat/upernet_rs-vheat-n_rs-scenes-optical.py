# UPerNet with RS-vHeat-N on the synthetic scenes: land cover from optical pictures alone. About five minutes on two CPU
# cores.
_base_ = "upernet_rs-vheat-n_rs-scenes.py"
modalities = [_base_.optical]
load = dict(type="LoadModalities", modalities=modalities)
train_pipeline = [load, *_base_.train_pipeline[1:]]
test_pipeline = [load, *_base_.test_pipeline[1:]]
tta_pipeline = [load, *_base_.tta_pipeline[1:]]
model = dict(backbone=dict(modalities=modalities))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(datasets=[dict(part, pipeline=test_pipeline) for part in _base_.test_dataloader.dataset.datasets])
)
