# UPerNet with RS-vHeat-B on iSAID, crops of 896 px, 160k iterations, 8 GPUs x 2 crops.
# Published: mIoU 68.72 (arXiv 2411.17984). Not run here, and its cost not measured.
# Data are mmseg's; the schedule is vHeat's, for the paper's is not public. Start from a pre-trained file with
# --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=FILE.
_base_ = [
    "../_base_/upernet_rs-vheat.py",
    __import__("mmseg").__path__[0] + "/.mim/configs/_base_/datasets/isaid.py",
    "../_base_/schedules/upernet_160k.py",
    "../_base_/runtime_mmseg.py",
]
data_help = "download iSAID, cut it into 896 px, and lay it out as data/iSAID/{img_dir,ann_dir}/{train,val}"
model = dict(
    data_preprocessor=dict(size=(896, 896)),
    decode_head=dict(num_classes=16),
    auxiliary_head=dict(num_classes=16),
    test_cfg=dict(crop_size=(896, 896), stride=(597, 597)),
)
train_dataloader = dict(batch_size=2)
