# UPerNet with vHeat-T on iSAID, 160k iterations, 8 GPUs x 2 crops; start: see the ADE20K config.
# Published: nothing for this data set. Not run by this project; expect 1-2 days on one 8-GPU node.
_base_ = [
    "../_base_/upernet_vheat.py",
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
