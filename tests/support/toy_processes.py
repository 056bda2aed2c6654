"""Runs of the toy in several processes, started by torchrun: python -m torch.distributed.run ... FOLDER."""

import os
import signal
import sys
import time
import warnings
from pathlib import Path
from unittest.mock import patch

from mmengine.fileio.backends import LocalBackend
from mmengine.hooks import Hook
from toy_run import KillAt, Killed, make
from training.group import leaving_the_group

from backbones.training.stopping import Stop


class SignalOne(Hook):
    """A signal to the last process alone."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 3 and runner.world_size - 1 == runner.rank:
            os.kill(os.getpid(), signal.SIGTERM)


class Late(Hook):
    """The other processes come half a second late."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        time.sleep(0.5 * (runner.rank > 0))


def train(folder, **options):
    """A run in all processes; what ended it, where something did."""
    try:
        runner = make(folder, launcher="pytorch", **options)
        runner.train()
    except (Killed, Stop) as ended:
        return type(ended).__name__
    return runner


def slow_put(self, data, path, whole=LocalBackend.put):
    with open(path, "wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        time.sleep(0.3)
        file.write(data[len(data) // 2 :])


def train_in_all_ways(folder):
    """Runs that are whole, killed, stopped by a signal to one process, and with processes that come late."""
    each = {"iters": 8, "val_interval": 4, "randomness": {"seed": 0, "diff_rank_seed": True}}
    train(folder / "batches", norm=False, drop=0.0, batch_size=8 // int(os.environ["WORLD_SIZE"]))
    train(folder / "whole", **each)
    assert train(folder / "cut", hooks=[KillAt(3)], **each) == "Killed"
    train(folder / "cut", resume=True, **each)
    assert train(folder / "stopped", interval=100, hooks=[SignalOne()], **each) == "Stop"
    assert (folder / "stopped/iter_4.pth").exists()
    train(folder / "stopped", interval=100, resume=True, **each)
    with patch.object(LocalBackend, "put", slow_put):
        train(folder / "late", iters=2, hooks=[Late()])


def main(folder, only_validate=False):
    warnings.filterwarnings("ignore")
    if not only_validate:
        train_in_all_ways(folder)
    runner = train(folder / "validated", iters=1, val_interval=1, lr=0.0, count=22, norm=False)
    if runner.rank == 0:
        (folder / "score").write_text(str(runner.message_hub.get_scalar("val/score").current()))


if __name__ == "__main__":
    with leaving_the_group():
        main(Path(sys.argv[1]), only_validate=sys.argv[2:] == ["validate"])
