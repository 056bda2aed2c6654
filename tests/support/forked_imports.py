"""What the parent of tests/support/forked.py imports before it forks."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mmdet.apis
    import mmseg.apis
    import peft
    import timm

    import adapters.openmmlab
    import backbones.openmmlab

__all__ = ["adapters", "backbones", "mmdet", "mmseg", "peft", "timm"]
