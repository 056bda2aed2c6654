# mmengine's runtime for pre-training: our modules registered, checkpoints that survive a killed run, a schedule that
# teachers follow, one file of backbone and neck at the end, and pictures of what the model makes of hidden units.
default_scope = "mmengine"
custom_imports = dict(imports=["backbones.openmmlab"], allow_failed_imports=False)
runner_type = "SafeRunner"
default_hooks = dict(
    runtime_info=dict(type="RuntimeInfoHook"),
    timer=dict(type="IterTimerHook"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=2),
)
custom_hooks = [dict(type="PretrainingHook"), dict(type="ReconstructionHook")]
env_cfg = dict(mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0), dist_cfg=dict(backend="nccl"))
randomness = dict(seed=0, diff_rank_seed=True)  # each process draws masks of its own
log_level = "INFO"
load_from = None
resume = False
