# UPerNet with a Siamese RS-vHeat-B on LEVIR-CD: change of buildings, crops of 256 px, 40k iterations of 8 pairs.
# Published: F1 of change 93.48 (arXiv 2411.17984). Not run here, and its cost not measured.
# Head and schedule are this project's: the paper's are not public. Start from a pre-trained file with --cfg-options
# model.backbone.backbone.init_cfg.type=Pretrained model.backbone.backbone.init_cfg.checkpoint=FILE.
_base_ = [
    "../_base_/upernet_rs-vheat.py",
    "../_base_/datasets/levir_cd.py",
    "../_base_/schedules/upernet_160k.py",
    "../_base_/runtime_mmseg.py",
]
binary = dict(num_classes=2, out_channels=1, threshold=0.5, loss_decode=dict(use_sigmoid=True))
model = dict(
    data_preprocessor=dict(size=(256, 256), bgr_to_rgb=False),  # red is first already
    backbone=dict(
        _delete_=True,
        type="Siamese",
        fuse="abs_diff",
        backbone=dict(type="RSVHeat", arch="base", modalities=[_base_.optical], img_size=224, drop_path_rate=0.3),
    ),
    decode_head=binary,
    auxiliary_head=binary,
    test_cfg=dict(crop_size=(256, 256), stride=(128, 128)),
)
train_cfg = dict(max_iters=40000, val_interval=4000)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type="PolyLR", eta_min=0.0, power=1.0, by_epoch=False, begin=1500, end=40000),
]
