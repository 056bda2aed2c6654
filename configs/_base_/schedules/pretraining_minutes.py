# Pre-training in minutes on two CPU cores: warm-up and cosine decay over 2,000 iterations, gradients clipped.
_base_ = "adamw.py"
max_iters = 2000
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=500)
val_cfg = dict(type="ValLoop")
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.95)), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=200, end=max_iters),
]
