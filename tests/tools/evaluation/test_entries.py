"""The YAML file: what it means, and what is said where it means nothing."""

import re

import pytest
import yaml
from evaluation.analyses import ANALYSES
from evaluation.entries import read_entries
from evaluation.protocols import PROTOCOLS
from files.arguments import any_path
from files.paths import ROOT

CONFIG = "configs/digit_scenes/upernet_vheat-n.py"


def content(**more):
    base = {
        "tasks": {"seg": {"config": CONFIG}},
        "entries": {"a": {"backbone": {"type": "VHeat"}}},
        "protocols": ["scratch"],
    }
    return {**base, **more}


def test_defaults(write):
    study = write(**content())
    assert (study.title, study.shares, study.seeds, study.reference, study.analyses) == ("study", (1.0,), (0,), "a", {})
    task, entry = study.tasks["seg"], study.entries["a"]
    assert task.config == ROOT / CONFIG and (task.test, task.choose, task.iterations) == ("test", None, None)
    assert entry.tasks == ("seg",) and entry.rates == {"scratch": PROTOCOLS["scratch"].rates} and not entry.adapters


def test_an_entrys_settings_go_before_all_others(write, tmp_path):
    (tmp_path / "w.pth").touch()
    entry = {
        "backbone": {"type": "VHeat"},
        "checkpoint": "w.pth",
        "adapters": {"lora": {"r": 2}},
        "rates": {"full": [2]},
    }
    study = write(
        **content(
            entries={"a": entry, "b": {"backbone": {"type": "VHeat"}, "checkpoint": "runs/{task}/{seed}.pth"}},
            protocols=["lora", "full"],
            rates=["1e-1", 1],
            adapters={"lora": {"r": 4, "lora_alpha": 3}},
        )
    )
    a, b = study.entries["a"], study.entries["b"]
    assert a.adapters == {"lora": {"type": "LoRA", "r": 2, "lora_alpha": 3}}
    assert b.adapters == {"lora": {"type": "LoRA", "r": 4, "lora_alpha": 3}}
    assert a.rates == {"lora": (0.1, 1.0), "full": (2.0,)} and a.searches
    assert a.checkpoint == str(tmp_path / "w.pth")
    assert b.checkpoint == str(tmp_path / "runs/{task}/{seed}.pth")  # it need not be there yet


def test_files_are_meant_from_the_yaml_file_first(write, tmp_path):
    own = tmp_path / CONFIG
    own.parent.mkdir(parents=True)
    own.touch()
    assert write(**content()).tasks["seg"].config == own


def test_a_file_is_the_same_from_wherever_it_is_read(write, tmp_path, monkeypatch):
    for name in ("seg.py", "w.pth"):
        (tmp_path / name).touch()
    for folder in ("study", "elsewhere"):
        (tmp_path / folder).mkdir()
    text = yaml.safe_dump(
        content(
            tasks={"seg": {"config": "../seg.py"}},
            entries={"a": {"backbone": {"type": "VHeat"}, "checkpoint": "../w.pth"}},
        )
    )
    (tmp_path / "study" / "study.yaml").write_text(text)
    found = []
    for folder, path in (("study", "study.yaml"), ("elsewhere", "../study/study.yaml")):
        monkeypatch.chdir(tmp_path / folder)
        study = read_entries(any_path(path))
        found.append((study.tasks["seg"].config, study.entries["a"].checkpoint))
    assert found[0] == found[1] == (tmp_path / "seg.py", str(tmp_path / "w.pth"))


def test_links_are_followed_as_files_are_opened(tmp_path):
    (tmp_path / "runs" / "exp").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "link").symlink_to(tmp_path / "runs" / "exp")
    for folder in ("runs", "work"):
        for name in ("seg.py", "w.pth"):
            (tmp_path / folder / name).touch()
    path = tmp_path / "work" / "link" / "study.yaml"
    entry = {"backbone": {"type": "VHeat"}, "checkpoint": "../w.pth"}
    path.write_text(yaml.safe_dump(content(tasks={"seg": {"config": "../seg.py"}}, entries={"a": entry})))
    study = read_entries(path)
    assert study.tasks["seg"].config == tmp_path / "runs" / "seg.py"
    assert study.entries["a"].checkpoint == str(tmp_path / "runs" / "w.pth")


def entries(**entry):
    return {"entries": {"a": entry}}


VHEAT = {"type": "VHeat"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tusks": {}}, r"the file: unknown key 'tusks' \(did you mean 'tasks'\?\); accepted are title, tasks"),
        ({"tasks": {}}, "tasks must be a mapping with at least one entry, got {}"),
        ({"tasks": {"a/b": {"config": CONFIG}}}, "names are texts without spaces, colons and slashes, got 'a/b'"),
        ({"tasks": {"seg": {"config": "none.py"}}}, r"tasks\.seg\.config: no such file: none\.py"),
        ({"tasks": {"seg": {"iterations": 3}}}, r"tasks\.seg: config is missing"),
        (
            {"tasks": {"seg": {"config": CONFIG, "iterations": 0}}},
            r"tasks\.seg\.iterations must be a whole number",
        ),
        ({"tasks": {"seg": {"config": CONFIG, "choose": 1.5}}}, r"tasks\.seg\.choose: a share .* below 1, got 1\.5"),
        ({"tasks": {"seg": {"config": CONFIG, "choose": "test"}}}, r"tasks\.seg\.choose must be .*, got 'test'"),
        ({"tasks": {"seg": {"config": CONFIG, "test": "train"}}}, r"tasks\.seg\.test: unknown 'train'"),
        (
            {"tasks": {"seg": {"config": CONFIG, "metric": "AP"}}},
            r"tasks\.seg\.metric: unknown 'AP'.*mask AP, mIoU",
        ),
        ({"protocols": ["lorra"]}, r"protocols\[0\]: unknown 'lorra' \(did you mean 'lora'\?\); accepted are scratch"),
        ({"protocols": "scratch"}, "protocols must be a list"),
        ({"protocols": ["full"]}, r"entries\.a: protocol 'full' starts from trained weights: give checkpoint"),
        ({"protocols": ["given"]}, r"protocol 'given' tests a whole model as it is: give config and checkpoint"),
        ({"seeds": [0, 0]}, r"seeds: something stands there twice: \[0, 0\]"),
        ({"seeds": [-1]}, r"seeds\[0\] must be a whole number >= 0, got -1"),
        ({"shares": [0.1, 2]}, r"shares\[1\] must be above 0 and at most 1, got 2"),
        ({"rates": [0]}, r"rates\[0\] must be a number above 0, got 0"),
        ({"rates": {"full": [1]}}, "rates: nothing is trained by 'full'; the protocols are scratch"),
        ({"adapters": {"lora": {"r": 2}}}, "adapters: nothing is trained by 'lora'; the protocols are scratch"),
        (
            entries(backbone=VHEAT, rates={"linear": [1]}),
            r"entries\.a\.rates: nothing is trained by 'linear'; the protocols are scratch",
        ),
        ({"rates": {"ful": [1]}}, r"rates: unknown key 'ful' \(did you mean 'full'\?\)"),
        ({"reference": "b"}, "reference: unknown 'b'; accepted are a"),
        ({"analyses": ["error"]}, r"analyses: unknown 'error' \(did you mean 'errors'\?\)"),
        (
            {"analyses": [{"robustness": {"severities": 6}}]},
            r"analyses\.robustness\.severities must be at most 5",
        ),
        ({"analyses": [{"robustness": {"corruptions": ["smoke"]}}]}, r"corruptions\[0\]: unknown 'smoke'"),
        ({"analyses": [{"resolutions": {"factors": [-1]}}]}, r"factors\[0\] must be a number above 0, got -1"),
        ({"analyses": [{"physics": {"small_modes": [0]}}]}, r"small_modes\[0\] must be a number above 0, got 0"),
        (entries(), r"entries\.a must be a mapping with at least one entry"),
        (entries(backbone=VHEAT, config={"seg": CONFIG}), r"entries\.a needs either backbone or config"),
        (entries(backbone="VHeat"), r"entries\.a\.backbone must be a mapping with a type"),
        (entries(backbone=VHEAT, tasks=["det"]), r"entries\.a\.tasks\[0\]: unknown 'det'; accepted are seg"),
        (entries(config={"det": CONFIG}), r"entries\.a\.config: unknown key 'det'"),
        (entries(backbone=VHEAT, checkpoint="https://x/no.pth"), r"entries\.a\.checkpoint must be the path of a file"),
        (
            entries(backbone=VHEAT, checkpoint="{run}.pth"),
            r"only \{task\} and \{seed\} are filled in, got",
        ),
        (entries(backbone=VHEAT, loads=["neck"]), r"entries\.a\.loads says what is taken of a checkpoint"),
        (
            entries(backbone=VHEAT, loads=["head"]),
            r"entries\.a\.loads\[0\]: unknown 'head'; accepted are backbone, neck",
        ),
        (
            entries(backbone=VHEAT, adapters={"full": {}}),
            r"entries\.a\.adapters: unknown key 'full'.* are lora",
        ),
    ],
)
def test_what_is_not_accepted_is_named(changed, message, write):
    with pytest.raises(ValueError, match=r"study\.yaml: .*" + message):
        write(**content(**changed))


def test_what_is_not_yaml_is_said(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("tasks: [")
    with pytest.raises(ValueError, match=r"x\.yaml is not YAML: "):
        read_entries(path)
    path.write_text("tasks:\n  a: {config: x}\n  b: {config: x}\n  a: {config: y}\n")
    with pytest.raises(ValueError, match=r"x\.yaml: line 4: 'a' stands there twice"):
        read_entries(path)
    path.write_text("just a text")
    with pytest.raises(ValueError, match="the file must be a mapping"):
        read_entries(path)


@pytest.mark.parametrize("path", sorted((ROOT / "configs/evaluation").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_repositorys_studies_can_be_read(path):
    assert yaml.safe_load(path.read_text())["title"] == read_entries(path).title


def test_the_documents_example_can_be_read(root, tmp_path):
    text = re.search(r"```yaml\n(.*?)```", (root / "docs/evaluation.md").read_text(), re.DOTALL)[1]
    for name in re.findall(r"[\w.]+\.(?:py|pth|safetensors)\b", text):
        (tmp_path / name).touch()
    (tmp_path / "example.yaml").write_text(text)
    study = read_entries(tmp_path / "example.yaml")
    assert set(study.tasks) == {"cells", "roads"} and study.entries["vit"].protocols == ("scratch",)
    documented = (root / "docs/evaluation.md").read_text()
    assert all(f"\n| `{protocol}` |" in documented for protocol in PROTOCOLS)
    assert all(f"\n| `{analysis}` |" in documented for analysis in ANALYSES)
