"""The search on few digits: its data, and that what it chooses is what is trained and exported."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path
from typing import Any

import cv2
import optuna
import pytest
import timm
from mmengine.registry import MODELS
from searching import digits, networks
from training.recipe import parse_arguments

import backbones.openmmlab  # noqa: F401 (registers the networks)
from backbones.search import MA2MLSampler, network_macs


def _pictures(folder: Path) -> set[bytes]:
    return {cv2.imread(str(path), 0).tobytes() for path in folder.glob("*/*.png")}


def test_training_validation_and_test_share_no_digit(tmp_path: Path) -> None:
    assert digits.write_few_digits(tmp_path / "few")
    assert not digits.write_few_digits(tmp_path / "few")
    parts = [_pictures(tmp_path / "few" / name) for name in ("search/train", "search/val", "test/val")]
    assert [len(part) for part in parts[:2]] == [100, 500] and len(parts[2]) > 300
    assert all(not a & b for a, b in itertools.combinations(parts, 2))
    assert not any("test" in str(part) for part in digits.command(digits.DEFAULT, tmp_path, 0)[:4])


def test_what_is_chosen_is_what_is_trained(tmp_path: Path) -> None:
    study = optuna.create_study(sampler=MA2MLSampler(digits.SPACE, 0))
    digits.write_few_digits(tmp_path / "few")
    for _ in range(4):
        values = digits.SPACE.suggest(study.ask())
        args = parse_arguments(["--data-dir", str(tmp_path / "few" / "search"), *digits.recipe(values)], "")
        aug, nas, hpo = (values[name] for name in ("aug", "nas", "hpo"))
        assert (args.auto_augment, args.scale, args.re_prob) == (aug["policy"], [aug["scale"], 1.0], aug["erasing"])
        assert (args.lr, args.weight_decay, args.drop_path) == (hpo["lr"], hpo["weight_decay"], hpo["drop_path"])
        assert (args.smoothing, args.mixup, args.warmup_epochs) == (hpo["smoothing"], hpo["mixup"], hpo["warmup"])
        assert args.img_size == nas["size"]
        net = timm.create_model(args.model, **args.model_kwargs, num_classes=10, img_size=args.img_size).eval()
        assert [len(stage.blocks) for stage in net.stages] == [1, 1, nas["depth"], 1]
        assert net.num_features == 8 * nas["width"]
        assert args.model_kwargs["operator"][:3] == [nas[f"operator_{stage}"] for stage in (1, 2, 3)]
        assert _macs(nas) == digits.macs(nas) <= digits.MOST_MACS
        exported = digits.export(values, 0)
        again = eval(exported["timm"], {"timm": timm})
        assert str(again) == str(net.train()) and again.img_size == net.img_size
        _, _, *words = shlex.split(exported["train_classifier"])
        words[1] = str(tmp_path / "few" / "search")
        assert vars(parse_arguments(words, "")) == vars(args)
        config: dict[str, Any] = {}
        exec(exported["OpenMMLab"], config)
        dense = MODELS.build(config["model"]["backbone"])
        kwargs = {**args.model_kwargs, "img_size": args.img_size, "drop_path_rate": args.drop_path}
        trained = timm.create_model(args.model, **kwargs, num_classes=10)
        assert [str(stage) for stage in dense.stages] == [str(stage) for stage in trained.stages]
        assert dense.init_std is trained.init_std is None


def _macs(nas: dict[str, Any]) -> int:
    options, size = networks.model_options(nas), nas["size"]
    return network_macs(timm.create_model("vheat_nano", **options, num_classes=10, img_size=size, device="meta"), size)


def test_counts_of_networks_that_were_not_counted() -> None:
    for number, operator in enumerate(networks.OPERATORS):
        others = {"operator_2": networks.OPERATORS[number - 1], "operator_3": networks.OPERATORS[number - 2]}
        nas = {"operator_1": operator, **others, "size": 48, "width": 24 + 8 * (number % 2), "depth": 2}
        for ratio in (2.0, 4.0):
            assert digits.macs({**nas, "mlp_ratio": ratio}) == _macs({**nas, "mlp_ratio": ratio})


def test_the_default_is_in_the_space_and_some_networks_are_not() -> None:
    assert digits.SPACE.levels(digits.SPACE.stored(digits.DEFAULT)) is not None
    (part,) = digits.SPACE.agents["nas"].parts
    assert 0 < len(part.table) < 5**3 * 2 * 4 * 3 * 2
    with pytest.raises(ValueError, match="MACs"):
        digits.SPACE.stored({**digits.DEFAULT, "nas": {**digits.DEFAULT["nas"], "width": 32, "operator_1": "mix"}})
