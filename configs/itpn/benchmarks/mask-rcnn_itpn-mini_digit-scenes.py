# Mask R-CNN with the small HiViT and its pyramid on digit scenes: a few minutes on two CPU cores. They start from a
# file of tools/pretrain.py:
#   --cfg-options model.backbone.init_cfg.type=Pretrained \
#                 model.backbone.init_cfg.checkpoint=work_dirs/itpn-pixel_hivit-mini_digit-scenes/pretrained.safetensors
_base_ = "../../digit_scenes/mask-rcnn_vheat-n_fpn.py"
model = dict(
    backbone=dict(
        _delete_=True,
        type="ITPN",
        arch=dict(embed_dim=128, depths=(1, 1, 6), num_heads=4),
        img_size=96,
        pyramid_dim=64,
        num_outs=4,
        norm_eps=1e-6,  # as in pre-training
    ),
    neck=None,
)
