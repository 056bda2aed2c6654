# Mask R-CNN + FPN with a frozen vHeat-T and MoPPA on COCO, 1x schedule. Published: no figure for this backbone.
# Not run by this project; the backbone's weights get no gradients, so expect less than vHeat-T's 1-2 days on 8 GPUs.
# Give the backbone's official ImageNet weights with
#   --cfg-options model.backbone.backbone.init_cfg.type=Pretrained model.backbone.backbone.init_cfg.checkpoint=FILE \
#                 model.backbone.backbone.init_cfg.resize=pad
_base_ = ["../vheat/mask-rcnn_vheat-t_fpn_1x_coco.py"]
model = dict(
    backbone=dict(
        _delete_=True,
        type="AdaptedBackbone",
        backbone={{_base_.model.backbone}},
        adapter=dict(type="MoPPA", route_weight=0.01),
    )
)
custom_hooks = [dict(type="RouteRegularizationHook")]
