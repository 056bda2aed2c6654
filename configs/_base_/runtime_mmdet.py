# mmdet's runtime, our modules registered, and checkpoints that survive a killed run.
_base_ = "mmdet::_base_/default_runtime.py"
custom_imports = dict(imports=["backbones.openmmlab", "adapters.openmmlab"], allow_failed_imports=False)
runner_type = "SafeRunner"
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
randomness = dict(seed=0)
tta_model = dict(type="DetTTAModel", tta_cfg=dict(nms=dict(type="nms", iou_threshold=0.5), max_per_img=100))
