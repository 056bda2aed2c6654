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

from backbones.weights.integrity import verify

__all__ = ["MAX_DEPTH", "Inert", "harmless_globals", "read_checkpoint", "read_metadata"]

#: How deep in a checkpoint weights may lie.
MAX_DEPTH = 4


class Inert:
    """Takes the place of a class or function a file asks for: accepts whatever the file says of it, keeps nothing."""

    def __new__(cls, *args: object) -> Any:
        return super().__new__(cls)

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:  # torch 2.6 does not look at the class first, as 2.11
        raise pickle.UnpicklingError(f"Can only SETITEM for dict, but got {type(self)}")


class _InertMapping:
    """The same for a subclass of dict. Torch's safe reader fills only dict and OrderedDict themselves, so it is one."""

    def __new__(cls, *args: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


class _InertList:
    """The same for a subclass of list, of which the reader fills only list itself."""

    def __new__(cls, *args: object) -> list[Any]:  # type: ignore[misc]
        return []


def _stand_in(path: str, base: type = Inert) -> type:
    """A subclass of ``base`` that torch's safe reader finds under the name ``path``."""
    module, _, name = path.rpartition(".")
    return type(name, (base,), {"__module__": module, "__qualname__": name})


def _path(item: Any) -> str:
    return f"{item.__module__}.{item.__qualname__}"


#: What files in circulation hold beside tensors, where timm or mmengine reads them: a yacs configuration, arguments of
#: a training script, numpy arrays, and mmengine's log. None of it is needed for the weights, so none of it is built.
_STAND_INS: list[Any] = [
    _stand_in("yacs.config.CfgNode", _InertMapping),
    *map(
        _stand_in,
        (
            "argparse.Namespace",
            "builtins.getattr",
            "mmengine.logging.history_buffer.HistoryBuffer",
            "numpy.dtype",
            "numpy.ndarray",
            "numpy._core.multiarray._reconstruct",
            "numpy._core.multiarray.scalar",
            "numpy.core.multiarray._reconstruct",
            "numpy.core.multiarray.scalar",
        ),
    ),
]

#: No training script asks for these. With stand-ins they could do nothing, either, but who wrote such a file meant ill.
_RUNS_CODE = re.compile(
    r"(os|posix|nt|sys|subprocess|commands)\..*|(builtins|io)\.(eval|exec|compile|open|__import__|breakpoint|input)"
)
#: A file that asks for more different names is not a checkpoint.
_MAX_NAMES = 1000


def harmless_globals() -> contextlib.AbstractContextManager[None]:
    """Within it torch's safe reader, whoever calls it, passes over what such files pickle beside their tensors."""
    return torch.serialization.safe_globals(_STAND_INS)


def _is_safetensors(path: Path, head: bytes) -> bool:
    # A length, then a JSON object of that length. The extension alone decides only for a file too short to tell.
    length = int.from_bytes(head[:8], "little")
    looks_so = head[8:9] == b"{" and 8 + length <= path.stat().st_size
    return looks_so or path.suffix == ".safetensors"


def _read_pickled(path: Path, allow: Sequence[Any]) -> object:
    """Torch's safe reader, given a stand-in for every name that it does not know, of the kind that the file fills."""
    given = {_path(item) for item in allow}
    stand_ins = {name: item for item in _STAND_INS if (name := _path(item)) not in given}
    for _ in range(_MAX_NAMES):
        try:
            return _read_safely(path, [*allow, *stand_ins.values()])
        except pickle.UnpicklingError as error:
            name, base = _lacking(str(error))
            if name is None or issubclass(stand_ins.get(name, object), base):
                raise ValueError(
                    f"refused to read {path}: it is not a checkpoint of tensors and plain containers, or it is corrupt "
                    f"({_first_line(error)}). Ask its author for torch.save(model.state_dict(), ...) or a safetensors "
                    "file"
                ) from error
            if _RUNS_CODE.fullmatch(name):
                raise ValueError(
                    f"refused to read {path}: it is a pickle that asks for {name}, which could run code. Ask its "
                    f"author for torch.save(model.state_dict(), ...) or a safetensors file"
                ) from error
            stand_ins[name] = _stand_in(name, base)
        except Exception as error:  # a damaged file fails anywhere, with any exception
            raise ValueError(
                f"cannot read {path}: the file is truncated or corrupt, fetch it again ({_first_line(error)})"
            ) from error
    raise ValueError(f"refused to read {path}: it asks for more than {_MAX_NAMES} classes")


def _read_safely(path: Path, allowed: Sequence[Any]) -> object:
    with torch.serialization.safe_globals(list(allowed)), warnings.catch_warnings():
        # Torch warns that pickles of another protocol than its own may fail; where they do, it is an error here.
        warnings.filterwarnings("ignore", message="Detected pickle protocol")
        return torch.load(path, map_location="cpu", weights_only=True)


def _lacking(message: str) -> tuple[str | None, type]:
    """The name that the safe reader stopped at, if it did at one, and the kind of stand-in that takes it further."""
    if wanted := re.search(r"GLOBAL (\S+)", message):  # it cuts off "builtins."
        return wanted[1] if "." in wanted[1] else f"builtins.{wanted[1]}", Inert
    filled = re.search(r"<class '([^']+)'>", message)
    kinds = {"SETITEM": _InertMapping, "ppend to list": _InertList, "xtend list": _InertList}
    base = next((kind for words, kind in kinds.items() if words in message), None)
    return (filled[1], base) if filled and base else (None, Inert)


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
    text = (str(error).partition("WeightsUnpickler error: ")[2] or str(error)).strip()
    return f"{type(error).__name__}: {text}" if len(text.split()) < 2 else text.splitlines()[0]


def _holds_tensors(value: dict[Any, Any], depth: int = MAX_DEPTH) -> bool:
    inner = [v for v in value.values() if isinstance(v, dict)] if depth else []
    return any(isinstance(v, Tensor) for v in value.values()) or any(_holds_tensors(v, depth - 1) for v in inner)


def read_checkpoint(path: str | os.PathLike[str], *, allow: Sequence[Any] = ()) -> dict[str, Any]:
    """Read a checkpoint without trusting it.

    PyTorch files are read with ``weights_only=True`` and safetensors files as such, told apart by their content. What
    training scripts pickle beside their tensors (arguments, configurations, logs, metrics of numpy) is passed over by
    name: inert objects take its place, and nothing that the file names is imported or run. There is no fall-back to
    full unpickling.

    Args:
        path: The file, a local one; ``~`` is the user's home.
        allow: Classes and functions known to be harmless, to be used where the file asks for them (as in
            ``torch.serialization.safe_globals``) instead of passing over what they hold.

    Returns:
        The dict the file holds, its tensors on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is a web address, a directory, empty, a web page, truncated or corrupt, or a pickle that asks for
            what runs code, or what it holds is not a dict with tensors (directly or some levels down). The message
            names the file.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "weights.pth")
        >>> torch.save({"model": {"w": torch.zeros(2)}, "epoch": 3}, path)
        >>> read_checkpoint(path)
        {'model': {'w': tensor([0., 0.])}, 'epoch': 3}
    """
    given = os.fspath(path)
    if re.match(r"[A-Za-z][\w+.-]+:/", given):  # more than one letter, or it would be a drive of Windows
        raise ValueError(f"checkpoints are read from local files: download {given} and give its path")
    path = Path(os.path.expanduser(given))  # which leaves unknown users alone
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
    verify(path)
    checkpoint = _read_safetensors(path) if _is_safetensors(path, head) else _read_pickled(path, allow)
    if isinstance(checkpoint, Inert):
        raise ValueError(
            f"refused to read {path}: it is a pickled {_path(type(checkpoint))}, whose class would have to run: ask "
            f"its author for torch.save(model.state_dict(), ...) or a safetensors file"
        )
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} holds a {type(checkpoint).__name__}, not a dict of named tensors")
    if not _holds_tensors(checkpoint):
        names = ", ".join(map(str, list(checkpoint)[:5])) or "nothing"
        raise ValueError(f"{path} holds no tensors, only {names}")
    return checkpoint


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """What a safetensors file says of itself, strings; nothing for other files.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is truncated or corrupt.
    """
    path = Path(os.path.expanduser(os.fspath(path)))
    if not path.is_file():
        raise FileNotFoundError(f"no such checkpoint: {path}")
    with path.open("rb") as file:
        head = file.read(9)
    if not _is_safetensors(path, head):
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(
            f"cannot read {path}: the safetensors file is truncated or corrupt, fetch it again ({_first_line(error)})"
        ) from error
