"""What training and measuring a classifier share: its data, the network of a command line, and its accuracy.

The functions take the arguments of tools/train_classifier.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.data.distributed_sampler import OrderedDistributedSampler
from timm.data.loader import PrefetchLoader
from torch import distributed, nn
from torch.utils.data import DataLoader, DistributedSampler

from backbones import HiViT, SpectralNet, load_checkpoint, read_checkpoint, read_weights
from backbones.remote_sensing import ModalityFolder, ModalitySpec
from backbones.training.stopping import leave_signals_to_the_parent
from backbones.weights.containers import NamesOf, find_weights


def open_folder(args: argparse.Namespace, split: str) -> Any:
    """The images of a split as a timm dataset, or of several modalities where the network has been told which."""
    folder = args.data_dir / split
    if not folder.is_dir():
        raise ValueError(f"--data-dir: no such folder: {folder}")
    specs = [ModalitySpec.of(given) for given in args.model_kwargs.get("modalities", ())]
    colours = len(specs) == 1 and specs[0].unit == "uint8" and len(specs[0].bands) == 3
    if specs and not (colours and not (folder / specs[0].name).is_dir()):  # those may be a plain folder of pictures
        return ModalityFolder(folder, specs)
    try:
        return create_dataset("", root=str(folder), split=split, search_split=False)
    except RuntimeError as error:  # it holds no images
        raise ValueError(f"--data-dir: {error}") from None


def class_numbers(dataset: Any) -> dict[str, int]:
    """The number of each class of a data set of :func:`open_folder`."""
    return getattr(dataset, "reader", dataset).class_to_idx


def make_loader(args: argparse.Namespace, dataset: Any, net: nn.Module, training: bool, size: int | None = None) -> Any:
    """timm's loader of a dataset, with the augmentation of the recipe or the evaluation's resize and crop."""
    if isinstance(dataset, ModalityFolder):
        return _modality_loader(args, dataset, training, size or args.img_size)
    config = resolve_data_config({"img_size": size or args.img_size, "crop_pct": args.crop_pct}, model=net)
    augmentation: dict[str, Any] = {}
    if training:
        augmentation = {
            **{"auto_augment": args.auto_augment or None, "color_jitter": args.color_jitter, "hflip": args.hflip},
            **{"scale": tuple(args.scale), "re_prob": args.re_prob, "re_mode": "pixel"},
        }
    try:
        loader = create_loader(
            dataset,
            **{name: config[name] for name in ("input_size", "mean", "std", "interpolation", "crop_pct")},
            **augmentation,
            batch_size=args.batch_size,
            is_training=training,
            num_workers=args.workers,
            persistent_workers=False,  # those of training and measuring take turns
            distributed=args.distributed,
            device=torch.device(args.device),
            pin_memory=args.device.startswith("cuda"),
        )
    except AssertionError as error:
        raise ValueError(f"--auto-augment {args.auto_augment}: {error}") from None
    if not training:  # else Batches does it
        leave_signals_to_the_parent(loader.loader)
    return loader


def _modality_loader(args: argparse.Namespace, dataset: ModalityFolder, training: bool, size: int) -> Any:
    """timm's loader around torch's, for images that are no pictures of bytes and stay in their units."""
    for name, off in (("auto_augment", "''"), ("color_jitter", 0), ("re_prob", 0)):
        if training and getattr(args, name):
            raise ValueError(f"--{name.replace('_', '-')} is for pictures of three bytes: give {off} with modalities")
    if training:
        dataset.prepare(size, scale=tuple(args.scale), hflip=args.hflip)
    else:
        dataset.prepare(size, crop=args.crop_pct)
    sampler = None
    if args.distributed:
        sampler = DistributedSampler(dataset) if training else OrderedDistributedSampler(dataset)
    inner = DataLoader(
        dataset,
        batch_size=args.batch_size,
        sampler=sampler,
        shuffle=training and sampler is None,
        drop_last=training,
        num_workers=args.workers,
        pin_memory=args.device.startswith("cuda"),
    )
    count = sum(len(spec.bands) for spec in dataset.modalities)
    if not training:  # else Batches does it
        leave_signals_to_the_parent(inner)
    # Its mean and std are of bytes: these change nothing.
    return PrefetchLoader(inner, (0.0,) * count, (1 / 255,) * count, count, torch.device(args.device))


def create_network(args: argparse.Namespace, num_classes: int) -> nn.Module:
    """The network with the weights it starts from."""
    options = {"num_classes": num_classes, "drop_path_rate": args.drop_path or None, **args.model_kwargs}
    try:
        try:
            net = timm.create_model(args.model, img_size=args.img_size, **options)
        except TypeError as error:
            if "'img_size'" not in str(error):
                raise
            net = timm.create_model(args.model, **options)  # a network that needs no size
    except TypeError as error:
        raise ValueError(f"--model {args.model}: {error}") from None
    if args.grad_checkpointing:
        net.set_grad_checkpointing()
    if path := args.evaluate or args.initial_checkpoint:
        load_weights(net, path, args.weights, new_classifier=not args.evaluate)
    return net.to(args.device)


def load_weights(net: nn.Module, path: Path, weights: str, new_classifier: bool) -> None:
    """Load a file safely; ``new_classifier`` passes over a classifier of other classes, and does without one."""
    if isinstance(net, (SpectralNet, HiViT)):
        theirs, classes = read_weights(path, weights)[0].get("head.fc.weight"), net.num_classes
        if not new_classifier and theirs is None:
            raise ValueError(f"{path} has no classifier, of which there would be something to measure")
        if new_classifier and theirs is not None and len(theirs) != classes:
            net.reset_classifier(0)
        load_checkpoint(net, path, weights=weights)
        if net.num_classes != classes:
            net.reset_classifier(classes)
        return
    try:
        net.load_state_dict(find_weights(read_checkpoint(path), weights, [NamesOf(net.state_dict())]))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} does not fit {type(net).__name__}: {' '.join(str(error).split())[:200]}") from None


def saved_settings(path: Path) -> dict[str, Any]:
    """What a file says of the network and of the pictures that it was trained with, by the names of arguments.

    A file of tools/train_classifier.py says all of it; other files of this project's networks tell the size.

    Raises:
        FileNotFoundError, ValueError: The file cannot be read.
    """
    found = read_checkpoint(path).get("args")
    if isinstance(found, dict):
        return {n: found[n] for n in ("model", "model_kwargs", "img_size", "crop_pct") if n in found}
    try:
        embedding = read_weights(path)[0].get("stages.0.embedding.weight")
    except ValueError:  # another network
        return {}
    square = embedding is not None and embedding.ndim == 3 and embedding.shape[0] == embedding.shape[1]
    return {"img_size": 4 * len(embedding)} if square else {}


def check_classes(path: Path, names: list[str]) -> None:
    """Raise ``ValueError`` where a file says that its classes are others, or in another order."""
    theirs = read_checkpoint(path).get("class_names", names)
    if theirs != names:
        differing = next((pair for pair in zip(theirs, names, strict=False) if pair[0] != pair[1]), (theirs, names))
        raise ValueError(f"--data-dir has other classes than {path}: {differing[1]!r} in the place of {differing[0]!r}")


def autocast(args: argparse.Namespace) -> torch.autocast:
    """Mixed precision where it was asked for."""
    dtype = getattr(torch, args.amp) if args.amp else None
    return torch.autocast(torch.device(args.device).type, dtype=dtype, enabled=args.amp is not None)


@torch.no_grad()
def evaluate(
    net: nn.Module, loader: Any, args: argparse.Namespace, after_batch: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Mean loss and top-1 accuracy in percent, over all processes, which have as many batches each."""
    net.eval()
    left = len(range(args.rank, len(loader.dataset), args.world_size))  # timm repeats images to give all the same count
    sums = torch.zeros(3, dtype=torch.float64, device=args.device)
    for images, targets in loader:
        with autocast(args):
            logits = net(images).float()
        logits, targets = logits[:left], targets[:left]
        left -= len(targets)
        loss = nn.functional.cross_entropy(logits, targets, reduction="sum")
        sums += torch.stack([loss, (logits.argmax(1) == targets).sum(), torch.tensor(len(targets)).to(loss)])
        after_batch()
    if args.distributed:
        distributed.all_reduce(sums)
    loss, correct, count = sums.tolist()
    return {"loss": loss / count, "top1": 100 * correct / count}
