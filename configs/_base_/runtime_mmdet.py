# mmdet's runtime, our modules registered, and checkpoints that survive a killed run.
_base_ = "mmdet::_base_/default_runtime.py"
custom_imports = dict(imports=["backbones.openmmlab", "adapters.openmmlab"], allow_failed_imports=False)
runner_type = "SafeRunner"
default_hooks = dict(checkpoint=dict(type="SafeCheckpointHook", max_keep_ckpts=2))
randomness = dict(seed=0)
