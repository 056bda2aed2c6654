# UPerNet with a Siamese RS-vHeat-N on the synthetic pairs: change of land cover from optical and SAR-like pictures of
# two dates. About ten minutes on two CPU cores.
_base_ = [
    "../_base_/upernet_rs-vheat-n.py",
    "../_base_/datasets/rs_scenes_changes.py",
    "../_base_/schedules/small_data.py",
    "../_base_/runtime_mmseg.py",
]
binary = dict(num_classes=2, out_channels=1, threshold=0.5, loss_decode=dict(use_sigmoid=True))
model = dict(
    backbone=dict(
        _delete_=True,
        type="Siamese",
        fuse="abs_diff",
        backbone=dict(type="RSVHeat", arch="nano", modalities=_base_.modalities, img_size=192),
    ),
    decode_head=binary,
    auxiliary_head=binary,
)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=100))
