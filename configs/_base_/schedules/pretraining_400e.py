# iTPN's recipe: AdamW, learning rate 1.5e-4 x 4096 / 256 for batches of 4096, 40 epochs of warm-up, cosine to zero.
_base_ = "adamw.py"
epochs = 400
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=epochs, val_interval=10)
val_cfg = dict(type="ValLoop")
optim_wrapper = dict(
    type="AmpOptimWrapper", loss_scale="dynamic", optimizer=dict(lr=2.4e-3, betas=(0.9, 0.95), weight_decay=0.05)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-4, by_epoch=True, begin=0, end=40, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=True, begin=40, end=epochs, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False, base_batch_size=4096)
