# vHeat-N and the FPN of the digit scenes' Mask R-CNN, pre-trained together on 2,880 training images without labels:
# 2,000 iterations of 32 images, seven minutes on two CPU cores. With another folder of images of 96 px or more:
#   python tools/pretrain.py configs/itpn/itpn_vheat-nano-fpn_digit-scenes.py --data-dir FOLDER
_base_ = [
    "../_base_/pretraining_vheat_fpn.py",
    "../_base_/datasets/image_folder.py",
    "../_base_/schedules/pretraining_minutes.py",
    "../_base_/runtime_pretraining.py",
]
data_root = "data/digit_scenes/train/"
data_help = "make it with: python tools/make_digit_scenes.py, or give any folder: --data-dir FOLDER"
model = dict(
    backbone=dict(arch="nano", img_size=96),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64, num_outs=4),
    mask=dict(unit=16),
)
images = dict(data_root=data_root, size=96, held_out=0.05)
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(**images, scale=(0.5, 1.0), flip=0.0),  # digits have a left and a right
)
val_dataloader = dict(batch_size=32, num_workers=0, persistent_workers=False, dataset=images)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
default_hooks = dict(logger=dict(interval=20, log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=200))
log_processor = dict(by_epoch=False)
env_cfg = dict(dist_cfg=dict(backend="gloo"))
