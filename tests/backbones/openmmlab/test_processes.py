"""Several processes on the CPU: one network, one writer, one decision to stop, and the numbers of one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_run import assert_same, make, names, read

from backbones.openmmlab.processes import start_on_the_cpu
from backbones.weights.integrity import verify

SCRIPT = Path(__file__).parents[2] / "support/toy_processes.py"


def launch(folder, processes, *arguments):
    root = SCRIPT.parents[2]
    paths = os.pathsep.join([str(root), str(root / "tools"), str(SCRIPT.parent), os.environ.get("PYTHONPATH", "")])
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", str(SCRIPT), str(folder)]
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, *command, *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return launch(tmp_path_factory.mktemp("processes"), 2)


def test_two_processes_train_what_one_does_with_the_same_batches(runs, tmp_path):
    make(tmp_path, batch_size=8, norm=False, drop=0.0).train()
    one, two = (read(f / "iter_6.pth")["state_dict"] for f in (tmp_path, runs / "batches"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["cut", "stopped"])
def test_a_killed_or_stopped_run_goes_on_with_each_process_own_random_numbers(runs, name):
    files = [read(runs / f / "iter_8.pth") for f in ("whole", name)]
    for file in files:
        for part in ("runtime_info", "resumed_keys"):
            file["message_hub"][part].pop("keep_ckpt_ids", None)
    assert_same(*files)
    states = files[0]["random_states"]
    assert len(states) == 2 and not torch.equal(states[0]["torch"], states[1]["torch"])


def test_no_file_is_torn_where_one_process_is_late(runs):
    assert names(runs / "late") == ["iter_1.pth", "iter_2.pth"]
    for name in names(runs / "late"):
        verify(runs / "late" / name)
        read(runs / "late" / name)


def test_every_image_is_measured_once(runs, tmp_path):
    """22 images in batches of 5, by one, two and three processes."""
    runner = make(tmp_path / "one", iters=1, val_interval=1, lr=0.0, count=22, norm=False)
    runner.train()
    score = runner.message_hub.get_scalar("val/score").current()
    three = launch(tmp_path, 3, "validate")
    assert float((runs / "score").read_text()) == pytest.approx(score, rel=1e-6)
    assert float((three / "score").read_text()) == pytest.approx(score, rel=1e-6)


def test_a_launcher_that_did_not_start_it_is_an_error(monkeypatch):
    for name in ("RANK", "SLURM_PROCID", "SLURM_NODELIST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    with pytest.raises(RuntimeError, match="--launcher pytorch needs RANK in the environment"):
        start_on_the_cpu("pytorch")
    with pytest.raises(RuntimeError, match="--launcher slurm needs SLURM_PROCID in the environment"):
        start_on_the_cpu("slurm")
    assert not start_on_the_cpu("none")
