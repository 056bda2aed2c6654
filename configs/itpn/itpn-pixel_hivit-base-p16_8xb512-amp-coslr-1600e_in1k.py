# The same for 1600 epochs. Published: 85.5 % top-1 after fine-tuning; Mask R-CNN box AP 53.0 (1x), 54.0 (3x), UPerNet
# mIoU 53.5 (arXiv 2211.12735). Not run by this project; expect 8-12 days on one 8-GPU node.
_base_ = "itpn-pixel_hivit-base-p16_8xb512-amp-coslr-400e_in1k.py"
epochs = 1600
train_cfg = dict(max_epochs=epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-4, by_epoch=True, begin=0, end=40, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=True, begin=40, end=epochs, convert_to_iter_based=True),
]
