# UPerNet with RS-vHeat-N on the synthetic scenes: land cover from optical and SAR-like pictures together. Six to
# ten minutes on two CPU cores (0.6 s an iteration on one). The same with one modality: the two configs beside it.
_base_ = [
    "../_base_/upernet_rs-vheat-n.py",
    "../_base_/datasets/rs_scenes_semantic.py",
    "../_base_/schedules/small_data.py",
    "../_base_/runtime_mmseg.py",
]
model = dict(backbone=dict(modalities=_base_.modalities))
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=100))
