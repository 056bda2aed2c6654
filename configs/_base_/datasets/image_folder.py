# A folder of images without labels, searched through all its subfolders; one of a hundred, by its name, is held out.
data_root = "data/imagenet/train/"
data_help = "any folder of images: tools/pretrain.py CONFIG --data-dir FOLDER"
size = 224
images = dict(type="ImageFolder", data_root=data_root, size=size, held_out=0.01)
train_dataloader = dict(
    batch_size=256,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    drop_last=True,
    dataset=dict(**images, scale=(0.2, 1.0)),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**images, train=False),
)
val_evaluator = dict(type="PretrainingLoss")
