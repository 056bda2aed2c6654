# vHeat-N of half the width with one layer of FCN on few digit scenes: two minutes on a CPU core.
# 400 of the training scenes to train on and 100 others to choose by; what `tools/search.py --task scenes` varies.
_base_ = "upernet_vheat-n.py"
indices = dict(train=400, choose=-100)  # the first and the last ones of 3,000
max_iters = 1200
split = dict(data_prefix=dict(img_path="train", seg_map_path="train_labels"), indices=indices["choose"])
train_dataloader = dict(dataset=dict(indices=indices["train"]))
val_dataloader = dict(dataset=split)
test_dataloader = dict(dataset=split)  # the validation scenes are for the end: tools/test.py is told of them then
model = dict(
    backbone=dict(
        _delete_=True,
        type="VHeat",
        arch=dict(dims=(16, 32, 64, 128), depths=(1, 1, 3, 1), init_std=None),
        img_size=96,
    ),
    decode_head=dict(
        _delete_=True,
        type="FCNHead",
        in_channels=[16, 32, 64, 128],
        in_index=[0, 1, 2, 3],
        input_transform="resize_concat",
        num_convs=1,
        kernel_size=1,
        concat_input=False,
        channels=64,
        num_classes=11,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", class_weight=_base_.class_weight),
    ),
    auxiliary_head=None,
)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 8)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type="CosineAnnealingLR", eta_min=1e-6, by_epoch=False, begin=0, end=max_iters),
]
