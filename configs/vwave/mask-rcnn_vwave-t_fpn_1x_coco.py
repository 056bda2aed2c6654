# Mask R-CNN + FPN with vWave-T on COCO, 1x schedule, from scratch unless a backbone is given (see the vHeat config).
# Published for WaveFormer-T: box AP 45.8 (AAAI 2026). Not run by this project; cost as vHeat-T's.
_base_ = "../vheat/mask-rcnn_vheat-t_fpn_1x_coco.py"
model = dict(backbone=dict(type="VWave"))
