# Cascade Mask R-CNN with iTPN-B, pre-trained on pixels for 1600 epochs, on COCO, 36 epochs; start: see the Mask R-CNN
# config of 1x. Published: box AP 56.0, mask AP 48.5 (arXiv 2211.12735). Not run by this project; about 4 times the cost
# of Mask R-CNN for 12 epochs.
_base_ = [
    "mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "../../_base_/datasets/coco_tta.py",
    "../../_base_/schedules/itpn_coco_1x.py",
    "../../_base_/runtime_mmdet.py",
]
data_help = "download COCO 2017 and lay it out as data/coco/{annotations,train2017,val2017}"
norm_cfg = dict(type="SyncBN", requires_grad=True)


def head(x, y):  # mmengine leaves functions out of the config
    return dict(
        type="Shared4Conv1FCBBoxHead",
        in_channels=256,
        fc_out_channels=1024,
        roi_feat_size=7,
        num_classes=80,
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[x, x, y, y]),
        reg_class_agnostic=True,
        reg_decoded_bbox=True,
        norm_cfg=norm_cfg,
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
        loss_bbox=dict(type="GIoULoss", loss_weight=10.0),
    )


model = dict(
    backbone=dict(_delete_=True, type="ITPN", arch="base", img_size=224, pyramid_depth=2, drop_path_rate=0.3),
    neck=None,
    roi_head=dict(bbox_head=[head(0.1, 0.2), head(0.05, 0.1), head(0.033, 0.067)], mask_head=dict(norm_cfg=norm_cfg)),
)
train_cfg = dict(max_epochs=36)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", begin=0, end=36, by_epoch=True, milestones=[27, 33], gamma=0.1),
]
train_dataloader = dict(dataset=dict(pipeline=_base_.multi_scale_pipeline))
