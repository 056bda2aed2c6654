"""The main job: train vHeat in mmdet and mmseg on digit scenes, evaluate, and write a report with pictures.

    python tools/demo.py [--out work_dirs/demo] [--seed 0] [--iterations N]

It runs tools/make_digit_scenes.py, then tools/train.py and tools/test.py for both configs of configs/digit_scenes, then
tools/report.py, and ends with a non-zero status where a measured value is below its floor. Full logs lie beside the
results.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from scenes.data_set import make_digit_scenes

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = {
    "detection": ROOT / "configs/digit_scenes/mask-rcnn_vheat-n_fpn.py",
    "segmentation": ROOT / "configs/digit_scenes/upernet_vheat-n.py",
}
#: What is shown of mmengine's log lines.
PROGRESS = re.compile(r"Iter\((train|val|test)\) *\[ *(\d+)/(\d+)\].*?eta: ([\d:, day]+?) {2}.*?(?:  loss: ([\d.]+)|$)")


def say(text: str) -> None:
    print(text, flush=True)


def progress(line: str) -> str | None:
    """A short form of a log line, or None where it shows no progress."""
    match = PROGRESS.search(line)
    if not match:
        return None
    phase, step, total, eta, loss = match.groups()
    return f"  {phase} {step}/{total}" + (f"  loss {float(loss):.2f}" if loss else "") + f"  {eta} left"


def run(command: list[str], log: Path) -> float:
    """Run a command, show its progress, keep its output in ``log``; returns the seconds it took."""
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with (
        log.open("w") as kept,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            kept.write(line)
            if shown := progress(line):
                say(shown)
    if process.returncode != 0:
        tail = "".join(log.read_text().splitlines(keepends=True)[-15:])
        raise SystemExit(f"{tail}\n{' '.join(command)} failed with status {process.returncode}; full log: {log}")
    return time.monotonic() - start


def train_and_test(task: str, folder: Path, seed: int, iterations: int | None) -> None:
    """Train and evaluate one config through the command-line tools."""
    config, python = str(CONFIGS[task]), sys.executable
    options = [f"randomness.seed={seed}", "train_cfg.val_interval=1000000"]
    if iterations is not None:
        options += [f"train_cfg.max_iters={iterations}", f"param_scheduler.1.end={iterations}"]
    say(f"training {config}")
    train = [python, "tools/train.py", config, "--work-dir", str(folder / "train"), "--cfg-options", *options]
    seconds = {"train": run(train, folder / "train.log")}
    checkpoint = (folder / "train" / "last_checkpoint").read_text()
    say(f"evaluating {checkpoint}")
    test = [python, "tools/test.py", config, checkpoint, "--work-dir", str(folder / "test")]
    seconds["test"] = run(test, folder / "test.log")
    (folder / "times.json").write_text(json.dumps(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "work_dirs" / "demo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, help="training iterations; the default is the configs'")
    args = parser.parse_args()
    out = args.out.resolve()
    start = time.monotonic()
    say("data set: digit scenes" + (" (written)" if make_digit_scenes() else " (there already)"))
    for task in CONFIGS:
        shutil.rmtree(out / task, ignore_errors=True)
        train_and_test(task, out / task, args.seed, args.iterations)
    say("writing the report")
    from report import below_floor, format_table, write_report  # heavy: only once everything else is done

    rows, report = write_report(out)
    say(f"\n{format_table(rows)}\n\nreport: {report}\ntotal: {(time.monotonic() - start) / 60:.1f} minutes")
    if low := below_floor(rows):
        say("\n" + "!" * 72 + "\nBELOW THE FLOOR: " + "; ".join(low) + "\n" + "!" * 72)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
