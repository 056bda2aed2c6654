# UPerNet with vHeat-T on ADE20K, 160k iterations, 8 GPUs x 2 crops of 512 px.
# Published: mIoU 47.0, single scale (arXiv 2405.16555). Not run by this project; expect 1-2 days on one 8-GPU node.
# The backbone starts from official ImageNet weights: give their file with
#   --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=FILE \
#                 model.backbone.init_cfg.resize=pad
_base_ = [
    __import__("mmseg").__path__[0] + "/.mim/configs/_base_/models/upernet_swin.py",
    __import__("mmseg").__path__[0] + "/.mim/configs/_base_/datasets/ade20k.py",
    "../_base_/runtime_mmseg.py",
]
data_help = "download ADE20K (ADEChallengeData2016) and lay it out as data/ade/ADEChallengeData2016"
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(_delete_=True, type="VHeat", arch="tiny", img_size=512, drop_path_rate=0.3),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)
train_dataloader = dict(batch_size=2)
train_cfg = dict(type="IterBasedTrainLoop", max_iters=160000, val_interval=16000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type="PolyLR", eta_min=0.0, power=1.0, by_epoch=False, begin=1500, end=160000),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
