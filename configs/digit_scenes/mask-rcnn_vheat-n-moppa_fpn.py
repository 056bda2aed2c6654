# Mask R-CNN + FPN with a frozen vHeat-N and MoPPA on digit scenes: a few minutes on two CPU cores. It is meant for a
# backbone that was trained on other scenes; give its checkpoint with
#   --cfg-options model.backbone.backbone.init_cfg.type=Pretrained model.backbone.backbone.init_cfg.checkpoint=FILE
_base_ = ["mask-rcnn_vheat-n_fpn.py"]
model = dict(
    backbone=dict(
        _delete_=True,
        type="AdaptedBackbone",
        backbone={{_base_.model.backbone}},
        adapter=dict(type="MoPPA", route_weight=0.01),
    )
)
custom_hooks = [dict(type="RouteRegularizationHook")]
