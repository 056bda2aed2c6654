"""Every config builds its model, data pipeline and optimiser, and names what it trains."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from data_sets.coco import coco_record
from data_sets.voc import Annotation, Box
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, VISUALIZERS, init_default_scope
from mmengine.runner import Runner
from quick_draws import QuickDraws
from training.testing import augment

import adapters.openmmlab
import backbones.openmmlab  # registers the backbones

FOLDER = Path(__file__).resolve().parents[1] / "configs"
#: Oriented boxes need mmrotate, an extra; their configs are tested in tests/backbones/openmmlab/test_rotated.py.
LEFT_OUT = {"_base_", "rotated"}
ALL = sorted(p.relative_to(FOLDER).as_posix() for p in FOLDER.rglob("*.py") if not LEFT_OUT & set(p.parts))
#: Those that train without labels have no detector, no truth and nothing to draw.
PRETRAINING = [n for n in ALL if n.startswith(("itpn/", "rs_vheat/pretraining/")) and "benchmarks" not in n]
CONFIGS = [name for name in ALL if name not in PRETRAINING]
#: Configs that train in minutes on a CPU, by folder or name; the others target published figures.
SMALL = ("digit_scenes", "tree_crowns", "bccd", "camvid", "digit-scenes", "tree-crowns", "rs-scenes")


@pytest.fixture(scope="module")
def data(tmp_path_factory, digit_scenes, rs_scenes):
    """Every data set as a stub with one image per split, and small synthetic ones, laid out as the configs expect."""
    root = tmp_path_factory.mktemp("root")
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    for split in ("train", "val"):
        folder = root / f"data/coco/{split}2017"
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "1.jpg"), image)
        box = [10, 20, 60, 50]
        polygon = [10, 20, 70, 20, 70, 70, 10, 70]
        annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 3000, "iscrowd": 0}
        from mmdet.datasets import CocoDataset

        stub = {
            "images": [{"id": 1, "file_name": "1.jpg", "height": 120, "width": 160}],
            "annotations": [{**annotation, "segmentation": [polygon]}],
            "categories": [{"id": i + 1, "name": n} for i, n in enumerate(CocoDataset.METAINFO["classes"])],
        }
        (root / "data/coco/annotations").mkdir(exist_ok=True)
        (root / f"data/coco/annotations/instances_{split}2017.json").write_text(json.dumps(stub))
    for split in ("training", "validation"):
        for kind, suffix, content in (("images", "jpg", image), ("annotations", "png", image[..., 0] % 151)):
            folder = root / "data/ade/ADEChallengeData2016" / kind / split
            folder.mkdir(parents=True)
            cv2.imwrite(str(folder / f"1.{suffix}"), content)
    for name, image_name, label_name, classes in (
        ("cityscapes", "leftImg8bit/{split}/a/1_leftImg8bit.png", "gtFine/{split}/a/1_gtFine_labelTrainIds.png", 19),
        ("loveDA", "img_dir/{split}/1.png", "ann_dir/{split}/1.png", 8),
        ("iSAID", "img_dir/{split}/1.png", "ann_dir/{split}/1_instance_color_RGB.png", 16),
        ("potsdam", "img_dir/{split}/1.png", "ann_dir/{split}/1.png", 7),
        ("vaihingen", "img_dir/{split}/1.png", "ann_dir/{split}/1.png", 7),
    ):
        for split in ("train", "val"):
            for file, content in ((image_name, image), (label_name, image[..., 0] % classes)):
                path = root / "data" / name / file.format(split=split)
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), content)
    for name, folder, classes in (
        ("tree_crowns", "{split}", ["tree"]),
        ("bccd", "JPEGImages", ["Platelets", "RBC", "WBC"]),
    ):
        annotated = [("1.png", Annotation(160, 120, (Box(classes[-1], 10, 20, 70, 70),)))]
        for split in ("train", "val", "test"):
            path = root / "data" / name / folder.format(split=split) / "1.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)
            (root / f"data/{name}/{split}.json").write_text(json.dumps(coco_record(annotated, classes)))
    for split in ("train", "val", "test"):
        for folder, content in ((split, image), (f"{split}annot", image[..., 0] % 12)):
            (root / "data/camvid" / folder).mkdir(parents=True)
            cv2.imwrite(str(root / "data/camvid" / folder / "1.png"), content)
    for split in ("train", "val", "test"):
        for folder, content in (("A", image), ("B", image[::-1]), ("label", np.where(image[..., 0] > 99, 255, 0))):
            (root / "data/LEVIRCD" / split / folder).mkdir(parents=True)
            cv2.imwrite(str(root / "data/LEVIRCD" / split / folder / "1.png"), content)
    (root / "data/dior/JPEGImages").mkdir(parents=True)
    cv2.imwrite(str(root / "data/dior/JPEGImages/1.png"), image)
    classes = Config.fromfile(FOLDER / "rs_vheat/faster-rcnn_rs-vheat-b_fpn_1x_dior.py").metainfo.classes
    for split in ("trainval", "test"):
        annotated = [("1.png", Annotation(160, 120, (Box("ship", 10, 20, 70, 70),)))]
        (root / f"data/dior/{split}.json").write_text(json.dumps(coco_record(annotated, classes)))
    shutil.copytree(digit_scenes, root / "data/digit_scenes")
    shutil.copytree(rs_scenes, root / "data/rs_scenes")
    return root


def test_there_are_configs():
    families = {"itpn", "moppa", "rs_vheat", "vheat", "vwave", "vtail", "vpoisson", "vmix"}
    assert {*SMALL[:4], *families} == {name.split("/")[0] for name in CONFIGS}


@pytest.mark.parametrize("name", ["bccd/retinanet_vheat-n_fpn.py", "rs_vheat/faster-rcnn_rs-vheat-b_fpn_1x_dior.py"])
def test_classes_are_in_the_order_of_the_converter(name):
    """mmdet numbers labels in the order of the file, and names them in that of the config."""
    classes = Config.fromfile(FOLDER / name).metainfo.classes
    assert classes == tuple(sorted(classes))


@pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore``:UserWarning")  # mmseg's own base leaves it open
@pytest.mark.filterwarnings("ignore:`reduce_zero_label` will be deprecated:UserWarning")  # likewise
@pytest.mark.parametrize("name", CONFIGS)
def test_config_builds(name, data, monkeypatch):
    monkeypatch.chdir(data)
    config = Config.fromfile(FOLDER / name)
    init_default_scope(config.default_scope)
    with QuickDraws():
        model = MODELS.build(config.model)
    adapted = isinstance(model.backbone, adapters.openmmlab.AdaptedBackbone)
    paired = isinstance(model.backbone, backbones.openmmlab.Siamese)
    network = model.backbone.backbone if paired else model.backbone
    known = ("DenseSpectralNet", "ITPN", "RSVHeat")
    assert adapted or isinstance(network, tuple(getattr(backbones.openmmlab, each) for each in known))
    channels = getattr(network, "in_chans", 3) * (1 + paired)

    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        settings = {**config[loader], "batch_size": 1, "num_workers": 0, "persistent_workers": False}
        batch = next(iter(Runner.build_dataloader(settings)))
        prepared = model.data_preprocessor(batch, training=loader == "train_dataloader")
        assert prepared["inputs"].shape[:2] == (1, channels) and prepared["inputs"].isfinite().all()

    optimizer = build_optim_wrapper(model, config.optim_wrapper).optimizer
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert set(decay) == {id(p) for p in model.parameters() if p.requires_grad}
    base = config.optim_wrapper.optimizer.weight_decay
    routers = (".router.logits",) if adapted else tuple(network.no_weight_decay()) or ("-",)
    trained = {key: p for key, p in model.backbone.named_parameters() if p.requires_grad}
    assert trained and all("moppa_" in key for key in trained) == adapted
    for key, parameter in trained.items():
        undecayed = parameter.ndim == 1 or key.endswith(routers)
        assert decay[id(parameter)] == (0 if undecayed else base), key

    # The neck or heads take what the backbone gives.
    with torch.no_grad():
        features = model.eval().extract_feat(torch.zeros(1, channels, 64, 96))
    assert len(features) >= 4 and all(f.isfinite().all() for f in features)


@pytest.mark.filterwarnings("ignore:.*OneDL")
@pytest.mark.parametrize("name", PRETRAINING)
def test_pretraining_config_builds(name, tmp_path, monkeypatch):
    (tmp_path / "optical").mkdir()
    for i in range(8):
        noise = np.random.default_rng(i).integers(0, 255, (230, 240, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"optical/{i}.png"), noise)
        if "rs_vheat" in name:
            bands = Config.fromfile(FOLDER / name).modalities[1].bands
            (tmp_path / "sar").mkdir(exist_ok=True)
            np.save(tmp_path / f"sar/{i}.npy", -noise.astype(np.float32)[..., : len(bands)].transpose(2, 0, 1) / 10)
    config = Config.fromfile(FOLDER / name)
    init_default_scope(config.default_scope)
    if "clip" in name:
        assert config.model.teacher.pretrained is True
        config.model.teacher.pretrained = False  # nothing is downloaded here
    with torch.device("meta" if "large" in name else "cpu"):
        model = MODELS.build(config.model)
    wrapper = {**config.optim_wrapper, "type": "OptimWrapper"}
    wrapper.pop("loss_scale", None)
    optimizer = build_optim_wrapper(model, wrapper).optimizer
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:
            undecayed = parameter.ndim == 1 or "token" in key or key.endswith("positions.weight")
            assert decay[id(parameter)] == (0 if undecayed else 0.05), key
    assert {hook.type for hook in config.custom_hooks} == {"PretrainingHook", "ReconstructionHook"}
    for loader in ("train_dataloader", "val_dataloader"):
        settings = {**config[loader], "batch_size": 2, "num_workers": 0, "persistent_workers": False}
        settings["dataset"] = {**settings["dataset"], "data_root": str(tmp_path), "held_out": 0.3}
        batch = next(iter(Runner.build_dataloader(settings)))
        if "large" not in name:
            size = config.model.get("img_size", config.model.get("backbone", {}).get("img_size"))
            channels = getattr(model, "in_chans", 3)
            assert model.data_preprocessor(batch, False)["inputs"].shape[1:] == (channels, size, size)


@pytest.mark.parametrize("name", ALL)
def test_config_says_what_it_is(name):
    head = (FOLDER / name).read_text().splitlines()[:6]
    assert head[0].startswith("# ")
    comment = "\n".join(line for line in head if line.startswith("#"))
    assert ("minutes" if any(small in name for small in SMALL) else "Published") in comment
    config = Config.fromfile(FOLDER / name)
    assert config.runner_type == "SafeRunner"
    assert config.data_help


@pytest.mark.filterwarnings("ignore:`reduce_zero_label` will be deprecated:UserWarning")  # of mmseg's own bases
@pytest.mark.parametrize("name", CONFIGS)
def test_config_has_what_the_frameworks_tools_read(name):
    config = Config.fromfile(FOLDER / name)
    init_default_scope(config.default_scope)
    tested = config.test_dataloader.dataset
    for part in tested.get("datasets", [tested]):
        for pipeline in (config.test_pipeline, part.pipeline, config.tta_pipeline):
            Compose(pipeline)
            assert pipeline[0].type in ("LoadImageFromFile", "LoadModalities", "LoadPair")
        assert [t.type for t in config.test_pipeline] == [t.type for t in part.pipeline]
    for registry, kinds in ((MODELS, (config.tta_model, config.model)), (VISUALIZERS, (config.visualizer,))):
        with registry.switch_scope_and_registry(config.default_scope) as scoped:
            assert all(scoped.get(kind.type) for kind in kinds)
    assert config.default_hooks.visualization and config.vis_backends and config.test_evaluator and config.log_level


@pytest.fixture
def image(tmp_path):
    """A file of random pixels, and the array."""
    pixels = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "image.png"), pixels)
    return str(tmp_path / "image.png"), pixels


def checkpoint(folder, model, **meta):
    torch.save({"state_dict": model.state_dict(), "meta": {"dataset_meta": meta}}, folder / "weights.pth")
    return str(folder / "weights.pth")


@pytest.mark.filterwarnings("ignore")  # of the frameworks
def test_mmdets_inferencers_run_with_the_demos_detector(image, tmp_path):
    from mmdet.apis import DetInferencer, inference_detector, init_detector

    file = str(FOLDER / "digit_scenes/mask-rcnn_vheat-n_fpn.py")
    config = Config.fromfile(file)
    config.model.test_cfg.rcnn.score_thr = 0.0
    model = init_detector(config, device="cpu")
    for given in image:
        result = inference_detector(model, given)
        assert result.ori_shape == (70, 90) and result.pred_instances.masks.shape[1:] == (70, 90)
    found = DetInferencer(file, checkpoint(tmp_path, model, classes=tuple("0123456789")), device="cpu")(
        image[0], out_dir=str(tmp_path / "out"), show=False
    )
    assert len(found["predictions"]) == 1 and (tmp_path / "out/vis/image.png").is_file()


@pytest.mark.filterwarnings("ignore")
def test_mmdets_augmentation_merges_boxes(image):
    config = Config.fromfile(FOLDER / "digit_scenes/mask-rcnn_vheat-n_fpn.py")
    config.model.roi_head.mask_head = None
    config.model.test_cfg.rcnn.score_thr = 0.0
    init_default_scope(config.default_scope)
    augment(config)
    model = MODELS.build(config.model).eval()
    with torch.no_grad():
        (result,) = model.test_step(pseudo_collate([Compose(config.tta_pipeline)({"img_path": image[0], "img_id": 0})]))
    assert len(result.pred_instances) and result.ori_shape == (70, 90)


@pytest.mark.filterwarnings("ignore")
def test_mmsegs_inferencers_run_with_the_demos_segmentor(image, tmp_path):
    from mmseg.apis import MMSegInferencer, inference_model, init_model

    file = str(FOLDER / "digit_scenes/upernet_vheat-n.py")
    model = init_model(file, device="cpu")
    for given in image:
        assert inference_model(model, given).pred_sem_seg.shape == (70, 90)
    meta = {name: Config.fromfile(file).metainfo[name] for name in ("classes", "palette")}
    found = MMSegInferencer(file, checkpoint(tmp_path, model, **meta), device="cpu")(
        image[0], out_dir=str(tmp_path / "out"), show=False
    )
    assert found["predictions"].shape == (70, 90) and (tmp_path / "out/vis/image.png").is_file()


@pytest.mark.parametrize(
    ("size", "arch", "one", "three", "dense"),
    [("t", "tiny", 0.1, 0.2, 0.3), ("s", "small", 0.3, 0.4, 0.4), ("b", "base", 0.5, 0.5, 0.5)],
)
def test_sizes_and_schedules(size, arch, one, three, dense):
    for name, drop_path in (
        (f"mask-rcnn_vheat-{size}_fpn_1x_coco.py", one),
        (f"mask-rcnn_vheat-{size}_fpn_3x_coco.py", three),
        (f"upernet_vheat-{size}_160k_ade20k-512x512.py", dense),
    ):
        config = Config.fromfile(FOLDER / "vheat" / name)
        assert config.model.backbone.arch == arch and config.model.backbone.drop_path_rate == drop_path
        assert config.auto_scale_lr.base_batch_size == 16 and config.train_dataloader.batch_size == 2
    three = Config.fromfile(FOLDER / f"vheat/mask-rcnn_vheat-{size}_fpn_3x_coco.py")
    assert three.train_cfg.max_epochs == 36 and three.param_scheduler[1].milestones == [27, 33]
    assert three.train_dataloader.dataset.pipeline[3].type == "RandomChoice"


def test_published_recipes():
    det = Config.fromfile(FOLDER / "vheat/mask-rcnn_vheat-t_fpn_1x_coco.py")
    assert det.optim_wrapper.optimizer == {"type": "AdamW", "lr": 1e-4, "betas": (0.9, 0.999), "weight_decay": 0.05}
    assert det.train_cfg.max_epochs == 12 and det.param_scheduler[1].milestones == [8, 11]
    assert det.param_scheduler[0].end == 1000 and det.param_scheduler[0].start_factor == 0.001
    assert det.model.backbone.drop_path_rate == 0.1 and det.model.backbone.img_size == 512
    seg = Config.fromfile(FOLDER / "vheat/upernet_vheat-t_160k_ade20k-512x512.py")
    assert seg.optim_wrapper.optimizer == {"type": "AdamW", "lr": 6e-5, "betas": (0.9, 0.999), "weight_decay": 0.01}
    assert seg.train_cfg.max_iters == 160000 and seg.param_scheduler[0].end == 1500
    assert seg.model.backbone.drop_path_rate == 0.3
    assert seg.model.test_cfg == {"mode": "slide", "crop_size": (512, 512), "stride": (341, 341)}
    assert seg.model.decode_head.channels == 512 and seg.model.auxiliary_head.channels == 256
