# vHeat-T and an FPN on pixels, for 1600 epochs. Published: nothing for vHeat. Not run
# by this project; expect about three weeks on one 8-GPU node.
_base_ = "itpn-pixel_vheat-tiny-fpn_8xb512-amp-coslr-400e_in1k.py"
epochs = 1600
train_cfg = dict(max_epochs=epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-4, by_epoch=True, begin=0, end=40, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=True, begin=40, end=epochs, convert_to_iter_based=True),
]
