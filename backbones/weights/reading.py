"""Reading checkpoint files from strangers: tensors and plain containers only, and no code of the file is ever run."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["harmless_globals", "read_checkpoint"]


class _Inert:
    """Takes the place of a class a file asks for: accepts whatever the file says about it and keeps nothing."""

    def __new__(cls, *args: object) -> Any:
        return super().__new__(cls)

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _InertMapping:
    """The same for a subclass of dict. Torch's safe reader fills only dict and OrderedDict themselves, so it is one."""

    def __new__(cls, *args: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


def _log_method(owner: object, name: str) -> object:
    """``getattr`` as mmengine's log uses it, to name its own public methods, and for nothing else."""
    if isinstance(owner, type) and _path(owner) == _HISTORY_BUFFER and not name.startswith("_"):
        return getattr(owner, name, None)
    raise pickle.UnpicklingError(f"GLOBAL builtins.getattr is not allowed on {owner!r}")


_log_method.__module__, _log_method.__name__, _log_method.__qualname__ = "builtins", "getattr", "getattr"


def _stand_in(path: str, base: type) -> type:
    """A subclass of ``base`` that torch's safe reader finds under the name ``path``."""
    module, name = path.rsplit(".", 1)
    return type(name, (base,), {"__module__": module, "__qualname__": name})


def _path(item: Any) -> str:
    return f"{item.__module__}.{item.__qualname__}"


_HISTORY_BUFFER = "mmengine.logging.history_buffer.HistoryBuffer"

#: What the files in circulation hold beside tensors: the official ones a yacs configuration, those of mmengine a log
#: (``message_hub``) made of numpy arrays. None of it is needed for the weights, so none of it is built.
_STAND_INS: list[Any] = [
    _log_method,
    _stand_in("yacs.config.CfgNode", _InertMapping),
    *(
        _stand_in(path, _Inert)
        for path in (
            _HISTORY_BUFFER,
            "numpy.dtype",
            "numpy.ndarray",
            "numpy._core.multiarray._reconstruct",
            "numpy._core.multiarray.scalar",
            "numpy.core.multiarray._reconstruct",
            "numpy.core.multiarray.scalar",
        )
    ),
]


def harmless_globals() -> contextlib.AbstractContextManager[None]:
    """Within it torch's safe reader, whoever calls it, passes over what such files pickle beside their tensors."""
    return torch.serialization.safe_globals(_STAND_INS)


def _is_safetensors(path: Path, head: bytes) -> bool:
    # A length, then a JSON object of that length. The extension alone decides only for a file too short to tell.
    length = int.from_bytes(head[:8], "little")
    looks_so = head[8:9] == b"{" and 8 + length <= path.stat().st_size
    return looks_so or path.suffix == ".safetensors"


def _read_pickled(path: Path, allow: Sequence[Any]) -> object:
    given = {_path(item) for item in allow}
    allowed = [*allow, *(item for item in _STAND_INS if _path(item) not in given)]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            # Torch warns that pickles of another protocol than its own may fail; where they do, it is an error here.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted:
            raise ValueError(
                f"refused to read {path}: it is a pickle that asks for {wanted.group(1)}, which could run code. Only "
                f"tensors and plain containers are read; ask its author for torch.save(model.state_dict(), ...) or a "
                f"safetensors file"
            ) from error
        raise ValueError(
            f"refused to read {path}: it is not a checkpoint of tensors and plain containers, or it is corrupt "
            f"({_first_line(error)})"
        ) from error
    except Exception as error:  # a damaged file fails anywhere, with any exception
        raise ValueError(
            f"cannot read {path}: the file is truncated or corrupt, fetch it again ({_first_line(error)})"
        ) from error


def _read_safetensors(path: Path) -> object:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(f"{path} is a safetensors file: pip install safetensors") from error
    try:
        return load_file(path, device="cpu")
    except Exception as error:
        raise ValueError(
            f"cannot read {path}: the safetensors file is truncated or corrupt, fetch it again ({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    text = str(error).partition("WeightsUnpickler error: ")[2] or str(error) or type(error).__name__
    return text.strip().splitlines()[0]


def _holds_tensors(value: dict[Any, Any]) -> bool:
    return any(isinstance(v, Tensor) for v in value.values())


def read_checkpoint(path: str | os.PathLike[str], *, allow: Sequence[Any] = ()) -> dict[str, Any]:
    """Read a checkpoint without trusting it.

    PyTorch files are read with ``weights_only=True`` and safetensors files as such, told apart by their content. What
    official vHeat files (a yacs configuration) and mmengine files (a training log) pickle beside their tensors is
    passed over by name; yacs and mmengine need not be installed. There is no fall-back to full unpickling.

    Args:
        path: The file.
        allow: Classes and functions known to be harmless, to be used where the file asks for them (as in
            ``torch.serialization.safe_globals``) instead of passing over what they hold.

    Returns:
        The dict the file holds, its tensors on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is a directory, empty, a web page, truncated or corrupt, or a pickle that could run code, or
            what it holds is not a dict with tensors (directly or one level down). The message names the file.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "weights.pth")
        >>> torch.save({"model": {"w": torch.zeros(2)}, "epoch": 3}, path)
        >>> read_checkpoint(path)
        {'model': {'w': tensor([0., 0.])}, 'epoch': 3}
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no such checkpoint: {path}")
    if not path.is_file():
        raise ValueError(f"{path} is a directory, not a checkpoint file")
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise ValueError(f"{path} is empty: fetch it again")
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|\?xml)", head, re.IGNORECASE):
        raise ValueError(f"{path} is a web page, not a checkpoint: the download saved a page instead of the file")
    checkpoint = _read_safetensors(path) if _is_safetensors(path, head) else _read_pickled(path, allow)
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} holds a {type(checkpoint).__name__}, not a dict of named tensors")
    if not any(_holds_tensors(d) for d in (checkpoint, *checkpoint.values()) if isinstance(d, dict)):
        names = ", ".join(map(str, list(checkpoint)[:5])) or "nothing"
        raise ValueError(f"{path} holds no tensors, only {names}")
    return checkpoint
