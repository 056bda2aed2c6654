# iTPN's recipe on COCO for 12 epochs: learning rates fall by 0.9 from block to block of the backbone towards the input
# (0.95 for large); pyramid and heads keep the full rate. Images of many sizes, half of them cropped first.
_base_ = "coco_3x.py"
train_cfg = dict(max_epochs=12)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", begin=0, end=12, by_epoch=True, milestones=[9, 11], gamma=0.1),
]
optim_wrapper = dict(
    constructor="LayerDecayConstructor",
    optimizer=dict(lr=2e-4),
    paramwise_cfg=dict(layer_decay=0.9),
)
