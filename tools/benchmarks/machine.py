"""Which machine and which libraries: what a record must say for others to know what its figures are of."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

import torch

#: Those that kernels of products are chosen by, as /proc/cpuinfo calls them: x86, then ARM.
INSTRUCTION_SETS = (
    *("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni"),
    *("amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "sve", "sve2", "i8mm", "bf16"),
)
#: What the fields of /proc/cpuinfo mean, on x86 and on ARM.
_FIELDS = {
    "vendor": ("vendor_id", "CPU implementer"),
    "family": ("cpu family", "CPU architecture"),
    "model": ("model", "CPU part"),
    "stepping": ("stepping", "CPU revision"),
    "microcode": ("microcode",),
}
_VENDORS = {"AuthenticAMD": "AMD", "GenuineIntel": "Intel", "0x41": "ARM"}
_CPUINFO, _CACHES = Path("/proc/cpuinfo"), Path("/sys/devices/system/cpu/cpu0/cache")


def processor(cpuinfo: str) -> dict[str, Any]:
    """Name, vendor, family, model, stepping and instruction sets of the first processor of a /proc/cpuinfo.

    What the text does not say is left out.
    """
    lines = cpuinfo.strip().partition("\n\n")[0].splitlines()
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    found: dict[str, Any] = {"name": said["model name"]} if "model name" in said else {}
    for name, keys in _FIELDS.items():
        if value := next((said[key] for key in keys if key in said), None):
            found[name] = _VENDORS.get(value, value)
    flags = said.get("flags", said.get("Features", "")).split()
    if flags:
        found["instruction_sets"] = [name for name in INSTRUCTION_SETS if name in flags]
        found["virtual"] = "hypervisor" in flags
    return found


def processor_has(*names: str) -> bool:
    """Whether this machine has one of these instruction sets; not where it does not say."""
    known = processor(_CPUINFO.read_text()) if _CPUINFO.is_file() else {}
    return not set(names).isdisjoint(known.get("instruction_sets", ()))


def caches(folder: Path) -> dict[str, str]:
    """Sizes of the caches of a processor by their level, and which processors share them, from the folder of Linux."""
    found = {}
    for cache in sorted(folder.glob("index*")):
        level, kind, size, shared = (
            (cache / name).read_text().strip() for name in ("level", "type", "size", "shared_cpu_list")
        )
        found[f"L{level}{'' if kind == 'Unified' else ' ' + kind.lower()}"] = f"{size} of processors {shared}"
    return found


def machine(device: torch.device) -> dict[str, Any]:
    """What the machine is; ``vector_width`` and ``threads`` are those that torch uses."""
    described: dict[str, Any] = {"name": platform.processor() or platform.machine()}
    if _CPUINFO.is_file():
        described |= processor(_CPUINFO.read_text())
    if _CACHES.is_dir():
        described["caches"] = caches(_CACHES)
    described |= {"system": f"{platform.system()} {platform.machine()}", "processors": os.cpu_count()}
    described |= {"vector_width": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
    return described


def machine_name(described: dict[str, Any]) -> str:
    """A file name for the type of machine: its GPU, or what its processor is for compilers, and how many threads."""
    parts = [described.get("gpu")]
    if "gpu" not in described:
        told = [f"{key} {described[key]}" for key in ("family", "model") if key in described]
        parts = [described.get("vendor", ""), *told] if told else [described["name"]]
        parts.append(described["vector_width"])
    return re.sub(r"[^a-z0-9]+", "-", f"{' '.join(parts)} {described['threads']} threads".lower()).strip("-")


def libraries() -> dict[str, str]:
    """Versions of what computes; of those that are not installed nothing."""
    built = torch.__config__.show()
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for name, pattern in (("mkl", r"Math Kernel Library Version (\S+)"), ("onednn", r"MKL-DNN v(\S+)")):
        if match := re.search(pattern, built):
            found[name] = match[1]
    for name in ("timm", "onnxruntime", "openvino"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
