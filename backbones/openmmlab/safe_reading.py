"""No file is unpickled: mmengine's and mmdet's own readers are replaced while a process says so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.runner.checkpoint import CheckpointLoader

from backbones.weights.reading import read_checkpoint

__all__ = ["NUMPY", "read_safely"]

#: NumPy scalars and arrays, which mmengine keeps among its metrics.
NUMPY = [
    np.ndarray,
    np.dtype,
    *(value.__reduce__()[0] for value in (np.zeros(1), np.float64(0))),  # what rebuilds them, whatever its name is
    *(type(np.dtype(t)) for t in (np.bool_, np.int32, np.int64, np.float32, np.float64)),
]


def load_from_local(filename: str, map_location: Any) -> dict[str, Any]:
    """What mmengine calls for local files.

    Raises:
        FileNotFoundError, ValueError: As :func:`backbones.read_checkpoint`; the message says how to convert a file.
    """
    try:
        return read_checkpoint(filename, allow=NUMPY)
    except ValueError as error:
        raise ValueError(
            f"{error}. Files are never unpickled here. If you trust {Path(filename).name}, convert it once: "
            f"python -c \"import torch; w = torch.load('{filename}', weights_only=False, map_location='cpu'); "
            f"torch.save(w.get('state_dict', w), 'weights.pth')\""
        ) from None


def read_safely() -> None:
    """From now on every reader of this process reads checkpoints without running code of theirs.

    mmengine's loader of local files, and with it ``init_cfg``, ``load_from``, ``init_detector`` and the inferencers, is
    :func:`backbones.read_checkpoint`; downloads of mmengine, torchvision and timm go through torch's safe reader, by
    ``TORCH_FORCE_WEIGHTS_ONLY_LOAD``, of which workers and children learn, too. tools/train.py and tools/test.py call
    it; a script that uses the inferencers does so itself.

    Example:
        >>> from mmengine.runner import load_checkpoint
        >>> read_safely()  # doctest: +SKIP
        >>> model = load_checkpoint(model, "file.pth")  # doctest: +SKIP
    """
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    CheckpointLoader.register_scheme("", load_from_local, force=True)
