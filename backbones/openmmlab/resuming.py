"""The half of the runner that reads: weights safely, the newest good file, and a run that goes on from it."""

from __future__ import annotations

import copy
import re
import string
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, get_rank, is_main_process
from mmengine.logging import HistoryBuffer
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from torch import nn

from backbones.openmmlab.checkpoints import SafeCheckpointHook
from backbones.openmmlab.run_record import changes, iterations_now, run_record
from backbones.openmmlab.safe_reading import NUMPY
from backbones.training.randomness import set_random_states
from backbones.weights.loading import resized_embeddings
from backbones.weights.messages import first_names
from backbones.weights.reading import read_checkpoint


class ResumableRunner(Runner):
    """mmengine's runner, reading only what is safe and undamaged, and going on where a run was."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.resumed_from: str | None = None
        self._loaded: dict[str, Any] = {}
        self._states: dict[str, Any] | None = None
        super().__init__(*args, **kwargs)

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable[..., Any] = "cpu",
        strict: bool = False,
        revise_keys: list[tuple[str, str]] = [(r"^module\.", "")],  # noqa: B006 (mmengine's signature)
    ) -> dict[str, Any]:
        """Read a local file safely and load it; tensors come to the CPU first, whatever ``map_location`` is.

        Tensors that are missing or do not fit are an error, except where training starts from other weights
        (``load_from`` without ``resume``), which users do with another task's file; spectral embeddings are resized
        then.

        Raises:
            FileNotFoundError, ValueError: There is no such file, it is not safe to read, or it does not fit at all.
        """
        checkpoint = read_checkpoint(filename, allow=NUMPY)
        if "message_hub" in checkpoint:
            logged = checkpoint["message_hub"].get("log_scalars", {})
            checkpoint["message_hub"]["log_scalars"] = _buffers(logged)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        model = self.model.module if is_model_wrapper(self.model) else self.model
        training = isinstance(self._train_loop, BaseLoop)  # until training begins it is a config
        strict = strict or self._resume or not training
        if not strict:  # weights of another task come with the map sizes of its images
            state = checkpoint.get("state_dict", checkpoint)
            _check_something_fits(filename, state, model)
            resized = resized_embeddings(model, state)
            state.update(resized)
            if resized:
                self.logger.info(f"resized to the model's img_size: {', '.join(resized)}")
            before = {name: p._version for name, p in model.named_parameters()}
        try:
            checkpoint = _load_checkpoint_to_model(model, checkpoint, strict, self.logger, revise_keys)
        except RuntimeError as error:
            raise ValueError(f"{filename} is not a checkpoint of this config's model: {error}") from None
        if not strict:
            _check_parts_fit(filename, state, model, before)
        self._has_loaded = True
        self.logger.info(f"loaded {filename}")
        self._loaded = checkpoint if self._resume else {}
        return checkpoint

    def load_or_resume(self) -> None:
        """As in mmengine; ``resume`` without ``load_from`` takes the newest checkpoint that is undamaged.

        So does ``resume="auto"``, which starts from the weights of ``load_from`` where there is no checkpoint yet.

        Raises:
            ValueError: There are checkpoints, and none that is undamaged.
        """
        auto = self._resume == "auto" or (self._resume and self._load_from is None)
        chosen = auto and not self._has_loaded
        if chosen:
            found: list[str | Exception | None] = [self._last_good_checkpoint() if is_main_process() else None]
            broadcast_object_list(found)
            if isinstance(found[0], Exception):
                raise found[0]
            self._resume = found[0] is not None
            self._load_from = found[0] or self._load_from
        super().load_or_resume()
        if not chosen and isinstance(self._train_loop, BaseLoop) and is_main_process():
            self._warn_of_newer_checkpoints()

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """As in mmengine, and go to where the data stream was, with each process's random numbers.

        Raises:
            ValueError: The file lacks what a run needs to go on, or belongs to a run with another schedule or batch
                size, unless the config says ``reschedule=True``.
        """
        reschedule = bool(self.cfg.get("reschedule"))
        if reschedule:
            kwargs |= {"resume_optimizer": False, "resume_param_scheduler": False}
        super().resume(filename, *args, **kwargs)
        checkpoint, self._loaded = self._loaded, {}
        self.resumed_from = str(filename)
        for name, has in (("optimizer", True), ("param_schedulers", self.param_schedulers is not None)):
            if has and name not in checkpoint:
                raise ValueError(
                    f"{filename} has no {name}, so training cannot go on from it; to start from its weights, give "
                    f"load_from={filename} without --resume"
                )
        record, ours = checkpoint["meta"].get("run"), run_record(self)
        if record is None:
            self.logger.warning(f"{filename} does not say how it was trained: data and random numbers start anew")
        else:
            self._compare(filename, record, ours, reschedule)
        if reschedule:
            self._reschedule(checkpoint, record or ours, ours)
        if record is not None and record["stream"] is not None and hasattr(self.train_loop, "go_to"):
            stream = dict(record["stream"])
            stream["batch"] = iterations_now(record, ours, stream["batch"])
            self.train_loop.go_to(stream)
        states = checkpoint.get("random_states")
        states = states if isinstance(states, list) else [states]
        self._states = states[get_rank()] if len(states) == self.world_size else None

    def _compare(self, filename: str, record: dict[str, Any], ours: dict[str, Any], reschedule: bool) -> None:
        other, rounding = changes(record, ours)
        if rounding:
            self.logger.warning(
                f"the same batches, otherwise divided ({'; '.join(rounding)}): sums are rounded otherwise"
            )
        if not other:
            return
        if record["images"] != ours["images"] or not reschedule:
            raise ValueError(
                f"cannot go on with the run of {filename}, which was another one: {'; '.join(other)}. Restore these "
                f"settings, or start from its weights with load_from"
                + ("" if reschedule else ", or follow this config from here on with --reschedule (reschedule=True)")
            )
        self.logger.warning(f"the run goes on by this config: {'; '.join(other)}")

    def _reschedule(self, checkpoint: dict[str, Any], record: dict[str, Any], ours: dict[str, Any]) -> None:
        """Take the optimizer's moments from a file, and its rates from this config at the same number of images."""
        loop = self.train_loop
        loop._iter = iterations_now(record, ours, loop.iter)
        state = copy.deepcopy(self.optim_wrapper.state_dict())
        theirs = checkpoint["optimizer"]
        if "param_groups" not in theirs or len(theirs["param_groups"]) != len(state["param_groups"]):
            raise ValueError("reschedule: the file's optimizer has other groups of parameters than this config's")
        self.optim_wrapper.load_state_dict({**state, "state": theirs["state"]})
        self.param_schedulers = self.build_param_scheduler(self.param_schedulers)
        given = self.param_schedulers or []
        for scheduler in [s for each in given.values() for s in each] if isinstance(given, dict) else given:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Detected call of `scheduler.step")
                for _ in range(loop.epoch if scheduler.by_epoch else loop.iter):
                    scheduler.step()

    def restore_random_states(self) -> None:
        """Go on with the random numbers of the run that is resumed."""
        if self._states is not None:
            set_random_states(self._states)

    def _checkpoints(self) -> list[tuple[int, str]]:
        """The files here and where the checkpoint hook writes, and of how many steps they are; the most first."""
        folders, by_epochs = {Path(self.work_dir)}, {"iter_{}.pth": False, "epoch_{}.pth": True}
        for hook in self.hooks:
            if isinstance(hook, SafeCheckpointHook):
                by_epochs[hook.filename_tmpl] = hook.by_epoch
                if hook.out_dir is not None and "://" not in str(hook.out_dir):
                    folders |= {Path(hook.out_dir), Path(hook.out_dir) / Path(self.work_dir).name}
        found = set()
        for path in (p for folder in folders for p in folder.glob("*")):
            for template, by_epoch in by_epochs.items():
                if match := re.fullmatch(_pattern(template), path.name):
                    found.add((int(match[1]) * (len(self.train_dataloader) if by_epoch else 1), str(path)))
        return sorted(found, reverse=True)

    def _last_good_checkpoint(self) -> str | ValueError | None:
        """The file of the most steps that is undamaged, or what is wrong where all are damaged."""
        found = self._checkpoints()
        for _, path in found:
            try:
                read_checkpoint(path, allow=NUMPY)
            except (OSError, ValueError) as error:
                self.logger.warning(f"cannot resume from {path}, trying an older one: {error}")
                continue
            self.logger.info(f"resuming from {path}")
            return path
        if found:
            return ValueError(
                f"--resume: no checkpoint in {Path(found[0][1]).parent} can be read, and a start from the beginning "
                f"would write over them; the log says why. Move {found[0][1]} and the others away to start anew"
            )
        self.logger.info(f"no checkpoint to resume from in {self.work_dir}: starting from the beginning")
        return None

    def _warn_of_newer_checkpoints(self) -> None:
        """Where a run starts anew or from a file that was named, those of another one may lie around."""
        if newer := [path for steps, path in self._checkpoints() if steps > self.iter]:
            self.logger.warning(
                f"{newer[0]} has more steps than this run, so --resume will take it: move it away if it is another's"
            )


def _check_something_fits(filename: str, state: dict[str, Any], model: nn.Module) -> None:
    """Raise where training would start from a file and take nothing of it, a backbone's own file for example."""
    theirs, ours = list(state), list(model.state_dict())
    if not {n.removeprefix("module.").partition(".")[0] for n in theirs} & {n.partition(".")[0] for n in ours}:
        raise ValueError(
            f"load_from: {filename} has nothing of this config's model: it holds {first_names(theirs)}, and the model "
            f"{first_names(ours)}. Weights of a backbone alone are given to it by "
            f"model.backbone.init_cfg=dict(type='Pretrained', checkpoint=FILE)"
        )


def _check_parts_fit(filename: str, state: dict[str, Any], model: nn.Module, before: dict[str, int]) -> None:
    """Raise where most of a backbone or neck was not in the file, and most of the file's fits nowhere: it is another's.

    Args:
        filename, state: The file and its tensors.
        model: Into which they were loaded.
        before: The version of each of its parameters until then.
    """
    loaded = {name for name, p in model.named_parameters() if p._version != before[name]}
    if before and not loaded:
        raise ValueError(f"load_from: {filename} holds no parameter of this config's model: {first_names(list(state))}")
    for part in ("backbone.", "neck."):
        ours = [name for name in before if name.startswith(part)]
        theirs = [name for name in state if name.removeprefix("module.").startswith(part)]
        fit = len(loaded.intersection(ours))
        if ours and theirs and 2 * fit < len(ours) and 2 * fit < len(theirs):
            raise ValueError(
                f"load_from: {filename} has another {part[:-1]} than this config's model: of its {len(theirs)} tensors "
                f"{fit} have the name and shape of one of the model's {len(ours)} parameters. Take a config with the "
                "file's own, or leave load_from out"
            )


def _pattern(template: str) -> str:
    """A regular expression for the names that a template gives, with the number in it."""
    fields = string.Formatter().parse(template)
    return "".join(re.escape(text) + ("" if field is None else r"(\d+)") for text, field, *_ in fields)


def _buffers(logged: dict[str, Any]) -> dict[str, HistoryBuffer]:
    """Back; mmengine's own files keep objects, which are not read."""
    kept = {
        name: value for name, value in logged.items() if isinstance(value, dict) and {"values", "counts"} <= set(value)
    }
    return {name: HistoryBuffer(v["values"].numpy(), v["counts"].numpy()) for name, v in kept.items()}
