# UPerNet with vHeat-T on Cityscapes, 160k iterations, 8 GPUs x 2 crops; start: see the ADE20K config.
# Published: nothing for this data set. Not run by this project; expect 1-2 days on one 8-GPU node.
_base_ = [
    "../_base_/upernet_vheat.py",
    __import__("mmseg").__path__[0] + "/.mim/configs/_base_/datasets/cityscapes.py",
    "../_base_/schedules/upernet_160k.py",
    "../_base_/runtime_mmseg.py",
]
data_help = "download Cityscapes and lay it out as data/cityscapes/{leftImg8bit,gtFine}, labels as trainIds"
model = dict(
    data_preprocessor=dict(size=(512, 1024)),
    decode_head=dict(num_classes=19),
    auxiliary_head=dict(num_classes=19),
    test_cfg=dict(crop_size=(512, 1024), stride=(341, 683)),
)
train_dataloader = dict(batch_size=2)
