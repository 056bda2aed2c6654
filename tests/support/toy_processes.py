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

from backbones.training.stopping import Stop

warnings.filterwarnings("ignore")
FOLDER, RANK = Path(sys.argv[1]), int(os.environ["RANK"])


class SignalOne(Hook):
    """A signal to the last process alone."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 3 and runner.world_size - 1 == RANK:
            os.kill(os.getpid(), signal.SIGTERM)


class Late(Hook):
    """The other processes come half a second late."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        time.sleep(0.5 * (RANK > 0))


def train(name, **options):
    """A run in all processes; what ended it, where something did."""
    try:
        runner = make(FOLDER / name, launcher="pytorch", **options)
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


EACH = {"iters": 8, "randomness": {"seed": 0, "diff_rank_seed": True}}
single = {"norm": False, "drop": 0.0, "batch_size": 8 // int(os.environ["WORLD_SIZE"])}
if sys.argv[2:] != ["validate"]:
    train("batches", **single)
    train("whole", **EACH)
    assert train("cut", hooks=[KillAt(3)], **EACH) == "Killed"
    train("cut", resume=True, **EACH)
    assert train("stopped", interval=100, hooks=[SignalOne()], **EACH) == "Stop"
    assert (FOLDER / "stopped/iter_4.pth").exists()
    train("stopped", interval=100, resume=True, **EACH)
    with patch.object(LocalBackend, "put", slow_put):
        train("late", iters=2, hooks=[Late()])
runner = train("validated", iters=1, val_interval=1, lr=0.0, count=22, norm=False)
if RANK == 0:
    (FOLDER / "score").write_text(str(runner.message_hub.get_scalar("val/score").current()))
