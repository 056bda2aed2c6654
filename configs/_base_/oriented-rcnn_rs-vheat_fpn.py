# Oriented R-CNN + FPN with RS-vHeat-B for colour pictures: mmrotate's config (DOTA, 12 epochs, angles of le90), its
# backbone and optimiser exchanged. It needs the extra "rotated": pip install -e '.[rotated]'.
_base_ = __import__("mmrotate").__path__[0] + "/.mim/configs/oriented_rcnn/oriented-rcnn-le90_r50_fpn_1x_dota.py"
custom_imports = dict(
    imports=[
        *("backbones.openmmlab", "adapters.openmmlab"),
        *("mmrotate.datasets", "mmrotate.models", "mmrotate.evaluation", "mmrotate.visualization"),
    ],
    allow_failed_imports=False,
)
runner_type = "SafeRunner"
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
randomness = dict(seed=0)
optical = dict(
    name="optical", bands=["R", "G", "B"], unit="uint8", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
model = dict(
    # The network normalises pictures itself, so the preprocessor only puts red first.
    data_preprocessor=dict(mean=None, std=None),
    backbone=dict(_delete_=True, type="RSVHeat", arch="base", modalities=[optical], img_size=224, drop_path_rate=0.3),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
