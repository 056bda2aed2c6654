# Mask R-CNN with iTPN, backbone and pyramid in one and no neck: heads of 4 convolutions and a linear layer with
# SyncBN, GIoU on decoded boxes with weight 10.
# The pyramid keeps both blocks of each level that pre-training has; the published detector dropped the second, and its
# own files need pyramid_depth=1. LayerNorms have eps 1e-5 as in the published one; in pre-training it is 1e-6.
_base_ = "mmdet::_base_/models/mask-rcnn_r50_fpn.py"
norm_cfg = dict(type="SyncBN", requires_grad=True)
model = dict(
    backbone=dict(_delete_=True, type="ITPN", arch="base", img_size=224, pyramid_depth=2, drop_path_rate=0.05),
    neck=None,
    roi_head=dict(
        bbox_head=dict(
            type="Shared4Conv1FCBBoxHead",
            norm_cfg=norm_cfg,
            reg_decoded_bbox=True,
            loss_bbox=dict(_delete_=True, type="GIoULoss", loss_weight=10.0),
        ),
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
