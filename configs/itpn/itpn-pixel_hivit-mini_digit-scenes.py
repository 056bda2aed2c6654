# A small HiViT and iTPN's pyramid (with the decoder 2.0 million parameters), pre-trained together on digit scenes
# without labels: 2,000 iterations of 32 images of 96 px, in minutes on two CPU cores: three of four units are left out.
_base_ = "itpn_vheat-nano-fpn_digit-scenes.py"
model = dict(
    _delete_=True,
    type="ITPNPretraining",
    arch=dict(embed_dim=128, depths=(1, 1, 6), num_heads=4),
    img_size=96,
    pyramid_dim=64,
    pyramid_depth=1,
    decoder_dim=128,
    decoder_depth=2,
    decoder_heads=4,
    mask=dict(type="RandomUnits", unit=16, ratio=0.75),
)
