# UPerNet with RS-vHeat-B on LoveDA, crops of 512 px, 160k iterations, 8 GPUs x 2 crops.
# Published: no figure of this network that is known here (arXiv 2411.17984). Not run here, and its cost not measured.
# Data are mmseg's; the schedule is vHeat's, for the paper's is not public. Start from a pre-trained file with
# --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=FILE.
_base_ = [
    "../_base_/upernet_rs-vheat.py",
    __import__("mmseg").__path__[0] + "/.mim/configs/_base_/datasets/loveda.py",
    "../_base_/schedules/upernet_160k.py",
    "../_base_/runtime_mmseg.py",
]
data_help = "download LoveDA and lay it out as data/loveDA/{img_dir,ann_dir}/{train,val}"
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    decode_head=dict(num_classes=7),
    auxiliary_head=dict(num_classes=7),
    test_cfg=dict(crop_size=(512, 512), stride=(341, 341)),
)
train_dataloader = dict(batch_size=2)
