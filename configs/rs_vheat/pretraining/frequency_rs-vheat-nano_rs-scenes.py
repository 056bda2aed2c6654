# RS-vHeat-N on pairs of synthetic scenes, half of the optical ones under clouds: 2,000 iterations of 32 crops of 96 px,
# about fifteen minutes on two CPU cores. Published: nothing of this size.
#   python tools/pretrain.py configs/rs_vheat/pretraining/frequency_rs-vheat-nano_rs-scenes.py --data-dir FOLDER
_base_ = [
    "../../_base_/pretraining_rs-vheat.py",
    "../../_base_/schedules/pretraining_minutes.py",
    "../../_base_/runtime_pretraining.py",
]
data_root = "data/rs_scenes/train/"
data_help = "make it with: python tools/make_rs_scenes.py"
optical = dict(
    name="optical", bands=["R", "G", "B"], unit="uint8", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
# The statistics of ../../_base_/datasets/rs_scenes.py, which downstream configs have.
sar = dict(name="sar", bands=["VV", "VH"], unit="dB", mean=[-13.0, -18.0], std=[4.5, 4.0], clip=[-30.0, 5.0])
modalities = [optical, sar]
model = dict(backbone=dict(arch="nano", modalities=modalities, img_size=96))
images = dict(data_root=data_root, modalities=modalities, size=96, held_out=0.05)
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=images,
)
val_dataloader = dict(batch_size=32, num_workers=0, persistent_workers=False, dataset=images)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
default_hooks = dict(logger=dict(interval=20, log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=200))
log_processor = dict(by_epoch=False)
env_cfg = dict(dist_cfg=dict(backend="gloo"))
