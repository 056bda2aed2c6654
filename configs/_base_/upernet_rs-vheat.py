# UPerNet with RS-vHeat-B for colour pictures and crops of 512 px: mmseg's model, its backbone exchanged. The network
# normalises pictures itself, so the preprocessor only puts red first; its learned maps are stored at 224 px, the size
# of pre-training.
_base_ = __import__("mmseg").__path__[0] + "/.mim/configs/_base_/models/upernet_swin.py"
optical = dict(
    name="optical", bands=["R", "G", "B"], unit="uint8", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
model = dict(
    data_preprocessor=dict(size=(512, 512), mean=None, std=None),
    backbone=dict(_delete_=True, type="RSVHeat", arch="base", modalities=[optical], img_size=224, drop_path_rate=0.3),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)
