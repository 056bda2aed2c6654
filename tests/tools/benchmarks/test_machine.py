"""A record says which machine it is of, and file names tell types of machines apart."""

import pytest
import torch
from benchmarks import machine as described
from benchmarks.machine import caches, machine, machine_name, processor

CPU = torch.device("cpu")


def _cpuinfo(vendor, name, family, model, flags):
    one = (
        f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: {name}\n"
        f"stepping\t: 1\nmicrocode\t: 0xa101154\ncache size\t: 1024 KB\nflags\t\t: fpu {flags}\n"
        "power management:\n\n"
    )
    return one + one.replace("processor\t: 0", "processor\t: 1")


MILAN = _cpuinfo("AuthenticAMD", "AMD EPYC", 25, 1, "avx2 fma hypervisor vaes")
GENOA = _cpuinfo("AuthenticAMD", "AMD EPYC", 25, 17, "avx2 fma avx512f hypervisor avx512_bf16 avx512_vnni")
TURIN = _cpuinfo("AuthenticAMD", "AMD EPYC", 26, 2, "avx2 fma avx512f avx_vnni avx512_bf16 avx512_vnni")
SAPPHIRE = _cpuinfo("GenuineIntel", "Intel(R) Xeon(R)", 6, 143, "avx2 fma avx512f amx_bf16 amx_tile amx_int8")
NEOVERSE = (
    "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd asimddp sve i8mm bf16\nCPU implementer\t: 0x41\n"
    "CPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0xd40\nCPU revision\t: 1\n"
)


def test_what_a_processor_is():
    assert processor(GENOA) == {
        "name": "AMD EPYC",
        "vendor": "AMD",
        "family": "25",
        "model": "17",
        "stepping": "1",
        "microcode": "0xa101154",
        "instruction_sets": ["avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16"],
        "virtual": True,
    }
    assert processor(TURIN)["virtual"] is False
    assert processor(SAPPHIRE)["instruction_sets"][-3:] == ["amx_tile", "amx_int8", "amx_bf16"]
    arm = processor(NEOVERSE)
    assert (arm["vendor"], arm["family"], arm["model"]) == ("ARM", "8", "0xd40")
    assert arm["instruction_sets"] == ["asimd", "asimddp", "sve", "i8mm", "bf16"]
    assert processor("") == {}


@pytest.fixture
def on(monkeypatch, tmp_path):
    """The machine that a cpuinfo, a width and a number of threads make."""

    def make(cpuinfo, width="AVX512", threads=2):
        path = tmp_path / "cpuinfo"
        if cpuinfo is not None:
            path.write_text(cpuinfo)
        monkeypatch.setattr(described, "_CPUINFO", path)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: width)
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        return machine(CPU)

    return make


def test_types_of_machines_have_names_of_their_own(on):
    kinds = [(MILAN, "AVX2"), (GENOA,), (GENOA, "AVX2"), (GENOA, "AVX512", 8), (TURIN,), (SAPPHIRE,), (NEOVERSE, "NO")]
    names = [machine_name(on(*kind)) for kind in kinds]
    assert names[:2] == ["amd-family-25-model-1-avx2-2-threads", "amd-family-25-model-17-avx512-2-threads"]
    assert len(set(names)) == len(names)
    assert names[-1] == "arm-family-8-model-0xd40-no-2-threads"


def test_machines_without_a_cpuinfo(on, monkeypatch):
    monkeypatch.setattr(described.platform, "processor", lambda: "arm")
    assert machine_name(on(None, "DEFAULT", 4)) == "arm-default-4-threads"


def test_a_gpu_names_its_machine():
    told = {"gpu": "NVIDIA H100 80GB HBM3", "name": "AMD EPYC", "vector_width": "AVX512", "threads": 16}
    assert machine_name(told) == "nvidia-h100-80gb-hbm3-16-threads"


def test_caches(tmp_path):
    for i, told in enumerate((("1", "Data", "48K", "0"), ("3", "Unified", "32768K", "0-1"))):
        folder = tmp_path / f"index{i}"
        folder.mkdir()
        for name, text in zip(("level", "type", "size", "shared_cpu_list"), told, strict=True):
            (folder / name).write_text(text + "\n")
    assert caches(tmp_path) == {"L1 data": "48K of processors 0", "L3": "32768K of processors 0-1"}


def test_versions_of_what_computes(monkeypatch):
    text = (
        "  - Intel(R) oneAPI Math Kernel Library Version 2024.2-Product Build 20240605\n"
        "  - Intel(R) MKL-DNN v3.10.2 (Git Hash f1d47)\n"
    )
    monkeypatch.setattr(torch.__config__, "show", lambda: text)
    found = described.libraries()
    assert (found["mkl"], found["onednn"], found["torch"]) == ("2024.2-Product", "3.10.2", torch.__version__)
    assert found.keys() >= {"python", "timm", "onnxruntime"}
    monkeypatch.setattr(torch.__config__, "show", lambda: "built without them")
    assert "mkl" not in described.libraries()
