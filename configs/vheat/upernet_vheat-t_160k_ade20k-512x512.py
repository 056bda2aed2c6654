# UPerNet with vHeat-T on ADE20K, 160k iterations, 8 GPUs x 2 crops of 512 px.
# Published: mIoU 47.0, single scale (arXiv 2405.16555). Not run by this project; expect 1-2 days on one 8-GPU node.
# The backbone starts from official ImageNet weights: give their file with
#   --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.checkpoint=FILE \
#                 model.backbone.init_cfg.resize=pad
_base_ = [
    "../_base_/upernet_vheat.py",
    __import__("mmseg").__path__[0] + "/.mim/configs/_base_/datasets/ade20k.py",
    "../_base_/schedules/upernet_160k.py",
    "../_base_/runtime_mmseg.py",
]
data_help = "download ADE20K (ADEChallengeData2016) and lay it out as data/ade/ADEChallengeData2016"
model = dict(decode_head=dict(num_classes=150), auxiliary_head=dict(num_classes=150))
train_dataloader = dict(batch_size=2)
