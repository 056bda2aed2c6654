# vHeat-T and an FPN pre-trained together on ImageNet-1K without labels, pixels and features, 400 epochs, 8 GPUs x 512
# images. Published: nothing for vHeat (iTPN's idea, arXiv 2211.12735, after the paper). Not run by this project;
# expect about a week on one 8-GPU node.
#   python tools/pretrain.py THIS --data-dir FOLDER        writes pretrained.safetensors into its work folder
_base_ = [
    "../_base_/pretraining_vheat_fpn.py",
    "../_base_/datasets/image_folder.py",
    "../_base_/schedules/pretraining_400e.py",
    "../_base_/runtime_pretraining.py",
]
train_dataloader = dict(batch_size=512)
