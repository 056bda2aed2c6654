# A few minutes on two cores: 600 iterations, by the learning rate of digit scenes, which was not searched again.
_base_ = "digit_scenes.py"
max_iters = 600
train_cfg = dict(max_iters=max_iters, val_interval=200)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", eta_min=1e-6, by_epoch=False, begin=0, end=max_iters),
]
