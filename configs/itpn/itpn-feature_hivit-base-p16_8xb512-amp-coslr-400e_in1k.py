# HiViT-B and iTPN's pyramid pre-trained together on a moving average's features, without what the published form leaks
# of hidden units; 400 epochs, 8 GPUs x 512 images. Published: nothing for a moving average. Not run by this project;
# about twice the cost of pixels, as all units are computed.
_base_ = "itpn-pixel_hivit-base-p16_8xb512-amp-coslr-400e_in1k.py"
model = dict(
    _delete_=True,
    type="ITPNFeaturePretraining",
    arch="base",
    img_size=224,
    pyramid_dim=256,
    pyramid_depth=2,
    leak=False,
    mask=dict(type="BlockUnits", unit=16, ratio=75 / 196),
)
