# HiViT-B and iTPN's pyramid pre-trained together on pixels, ImageNet-1K without labels, 400 epochs, 8 GPUs x 512
# images. Published: 85.1 % top-1 after fine-tuning (arXiv 2211.12735). Not run by this project; expect 2-3 days on one
# 8-GPU node.
#   python tools/pretrain.py THIS --data-dir FOLDER        writes pretrained.safetensors into its work folder
_base_ = [
    "../_base_/datasets/image_folder.py",
    "../_base_/schedules/pretraining_400e.py",
    "../_base_/runtime_pretraining.py",
]
model = dict(
    type="ITPNPretraining",
    arch="base",
    img_size=224,
    pyramid_dim=256,
    pyramid_depth=2,
    decoder_dim=512,
    decoder_depth=8,
    decoder_heads=16,
    mask=dict(type="RandomUnits", unit=16, ratio=0.75),
)
train_dataloader = dict(batch_size=512)
