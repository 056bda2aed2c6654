# Oriented R-CNN + FPN with RS-vHeat-B on DOTA-v1.0, tiles of 1,024 px, 12 epochs, 8 GPUs x 2 tiles. It needs mmrotate:
# pip install -e '.[rotated]'.
# Published: no figure of this network that is known here (arXiv 2411.17984). Not run here, and its cost not measured.
# Start from a pre-trained file with --cfg-options model.backbone.init_cfg.type=Pretrained
# model.backbone.init_cfg.checkpoint=FILE.
_base_ = "../../_base_/oriented-rcnn_rs-vheat_fpn.py"
data_help = "download DOTA, and cut it with mmrotate's tools/data/dota/split into data/split_ss_dota"
