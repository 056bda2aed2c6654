# mmseg's runtime, our modules registered, and checkpoints that survive a killed run.
# mmseg's bases are named by path: "mmseg::" looks for a distribution called mmsegmentation, which need not be there.
_base_ = __import__("mmseg").__path__[0] + "/.mim/configs/_base_/default_runtime.py"
custom_imports = dict(imports=["backbones.openmmlab", "adapters.openmmlab"], allow_failed_imports=False)
runner_type = "SafeRunner"
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=16000, max_keep_ckpts=2),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="SegVisualizationHook"),
)
randomness = dict(seed=0)
