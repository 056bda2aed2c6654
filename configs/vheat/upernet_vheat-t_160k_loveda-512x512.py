# UPerNet with vHeat-T on LoveDA, 160k iterations, 8 GPUs x 2 crops; start: see the ADE20K config.
# Published: nothing for this data set. Not run by this project; expect 1-2 days on one 8-GPU node.
_base_ = [
    "../_base_/upernet_vheat.py",
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
