# AdamW as published, without decay of one-dimensional weights (norms, biases, layer scales, physics), of mixtures, and
# of positions and mask tokens.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={
            name: dict(decay_mult=0.0)
            for name in ("weights.logits", "router.logits", "positions.weight", "bias.table", "mask_token", "tokens.")
        },
    ),
)
