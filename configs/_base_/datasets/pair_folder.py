# A folder with a folder for each modality, in which files of one name are of one place; one place of a hundred, by its
# name, is held out. Crops keep the size of pixels on the ground.
data_root = "data/pairs/"
data_help = "any folder with one of each modality in it, optical and sar: tools/pretrain.py CONFIG --data-dir FOLDER"
# Pictures of bytes, and Sentinel-1's backscatter in dB. Other bands, units or statistics: --cfg-options, or a config.
optical = dict(
    name="optical", bands=["R", "G", "B"], unit="uint8", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
sar = dict(name="sar", bands=["VV"], unit="dB", mean=[-12.0], std=[5.0], clip=[-30.0, 5.0])
modalities = [optical, sar]
size = 224
images = dict(type="PairFolder", data_root=data_root, modalities=modalities, size=size, held_out=0.01)
train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    drop_last=True,
    dataset=images,
)
val_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**images, train=False),
)
val_evaluator = dict(type="PretrainingLoss")
