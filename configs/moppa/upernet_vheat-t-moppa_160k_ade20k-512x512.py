# UPerNet with a frozen vHeat-T and MoPPA on ADE20K, 160k iterations. Published: no figure for this backbone.
# Not run by this project; the backbone's weights get no gradients, so expect less than vHeat-T's 1-2 days on 8 GPUs.
# Give the backbone's official ImageNet weights with
#   --cfg-options model.backbone.backbone.init_cfg.type=Pretrained model.backbone.backbone.init_cfg.checkpoint=FILE \
#                 model.backbone.backbone.init_cfg.resize=pad
_base_ = ["../vheat/upernet_vheat-t_160k_ade20k-512x512.py"]
model = dict(
    backbone=dict(
        _delete_=True,
        type="AdaptedBackbone",
        backbone={{_base_.model.backbone}},
        adapter=dict(type="MoPPA", route_weight=0.01),
    )
)
custom_hooks = [dict(type="RouteRegularizationHook")]
