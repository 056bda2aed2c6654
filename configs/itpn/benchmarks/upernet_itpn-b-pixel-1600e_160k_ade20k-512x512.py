# UPerNet with iTPN-B, pre-trained on pixels for 1600 epochs, on ADE20K: 160k iterations, 8 GPUs x 2 crops of 512 px.
# Published: mIoU 53.5 (arXiv 2211.12735). Not run by this project; expect 1-2 days on one 8-GPU node.
# Each input of the head is a level of the pyramid beside the map of a stage. LayerNorms have eps 1e-5 as in the
# published one, 1e-6 in pre-training. Backbone and pyramid start from one file, official or of tools/pretrain.py:
#   --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=FILE
_base_ = [
    __import__("mmseg").__path__[0] + "/.mim/configs/_base_/models/upernet_swin.py",
    __import__("mmseg").__path__[0] + "/.mim/configs/_base_/datasets/ade20k.py",
    "../../_base_/schedules/upernet_160k.py",
    "../../_base_/runtime_mmseg.py",
]
data_help = "download ADE20K (ADEChallengeData2016) and lay it out as data/ade/ADEChallengeData2016"
model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(
        _delete_=True,
        type="ITPN",
        arch="base",
        img_size=224,
        pyramid_depth=2,  # as pre-trained; the published segmentor has 1, and so have its own files
        out="concat",
        pool="max",
        num_outs=4,
        drop_path_rate=0.1,
    ),
    decode_head=dict(in_channels=[384, 512, 768, 768], channels=768, num_classes=150),
    auxiliary_head=dict(in_channels=768, num_classes=150),
    test_cfg=dict(mode="slide", crop_size=(512, 512), stride=(341, 341)),
)
# Learning rates fall by 0.9 from layer to layer towards the input, per block of the backbone; the pyramid keeps all.
optim_wrapper = dict(
    constructor="LayerDecayConstructor",
    optimizer=dict(lr=3e-5, weight_decay=0.05),
    paramwise_cfg=dict(layer_decay=0.9),
)
train_dataloader = dict(batch_size=2)
