"""Several processes on machines without an accelerator, where mmengine looks for GPUs."""

from __future__ import annotations

import datetime
import os
import subprocess
from typing import Any

from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from torch import distributed, nn

__all__ = ["start_on_the_cpu", "wrapper_on_the_cpu"]

#: What torch asks for, and where launchers put it.
_SLURM = {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_NTASKS", "LOCAL_RANK": "SLURM_LOCALID"}
_MPI = {
    "RANK": "OMPI_COMM_WORLD_RANK",
    "WORLD_SIZE": "OMPI_COMM_WORLD_SIZE",
    "LOCAL_RANK": "OMPI_COMM_WORLD_LOCAL_RANK",
}


def start_on_the_cpu(launcher: str, timeout: float | None = None) -> bool:
    """Start gloo where there is no accelerator and a launcher has started this process; whether it did.

    Raises:
        RuntimeError: The launcher's environment variables are missing.
    """
    if launcher == "none" or get_device() != "cpu" or distributed.is_initialized():
        return False
    names = {"slurm": _SLURM, "mpi": _MPI}.get(launcher, {})
    if launcher == "slurm" and "MASTER_ADDR" not in os.environ:
        hosts = ["scontrol", "show", "hostname", os.environ.get("SLURM_NODELIST", "")]
        os.environ["MASTER_ADDR"] = subprocess.run(hosts, capture_output=True, text=True, check=True).stdout.split()[0]
    if launcher != "pytorch":
        os.environ.setdefault("MASTER_PORT", "29500")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        theirs = names.get(name, name)
        if theirs not in os.environ:
            raise RuntimeError(f"--launcher {launcher} needs {theirs} in the environment: start with its launcher")
        os.environ[name] = os.environ[theirs]
    options = {} if timeout is None else {"timeout": datetime.timedelta(seconds=timeout)}
    distributed.init_process_group("gloo", **options)
    return True


def wrapper_on_the_cpu(config: dict[str, Any] | None, find_unused: bool) -> dict[str, Any]:
    """What wraps a model there: mmengine's, or the one of the config, without ids of GPUs."""
    given = dict(config or {"broadcast_buffers": False, "find_unused_parameters": find_unused})
    return {"type": "MMDistributedDataParallel", **given, "device_ids": None}


def without_sync_norms(model: nn.Module) -> nn.Module:
    """Synchronised batch norms exist on GPUs alone."""
    return revert_sync_batchnorm(model)
