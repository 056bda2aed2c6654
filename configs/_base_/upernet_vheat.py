# UPerNet with vHeat-T for crops of 512 px: mmseg's model, its backbone exchanged.
_base_ = __import__("mmseg").__path__[0] + "/.mim/configs/_base_/models/upernet_swin.py"
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(_delete_=True, type="VHeat", arch="tiny", img_size=512, drop_path_rate=0.3),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)
