"""Files of exported models: written, compared with the model at sizes they have not seen, or not there."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbones.openmmlab.export.comparing import Differing, compare
from backbones.openmmlab.export.models import exportable, reference
from backbones.training.files import write_whole

__all__ = ["Exported", "export", "read_torch", "verified"]

#: From an image to outputs by name.
Run = Callable[[Tensor], dict[str, Tensor]]
#: Traced with; every map of a detector (stride 128) has more than one cell.
TRACED = (320, 448)
#: Compared at: twice that, neither square nor a multiple of anything, and square.
UNSEEN = ((640, 896), (203, 331), (256, 256))


class Exported(NamedTuple):
    """What was written: its outputs, the sizes it was compared at, the largest difference, and the objects compared.

    The difference is relative to the largest value of maps and scores, and in pixels of boxes.
    """

    outputs: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    difference: float
    objects: int


def export(
    model: nn.Module,
    path: Path,
    *,
    metadata: Mapping[str, str],
    format: str = "onnx",
    part: str = "model",
    image: Tensor | None = None,
) -> Exported:
    """Write a model as a program of its own that takes images of any height and width.

    The file is compared with the framework's own prediction at three sizes that it was not traced with before it gets
    its name.

    Args:
        model: As in :func:`~backbones.openmmlab.export.exportable`, on the CPU.
        path: The file, which is replaced.
        metadata: Texts to keep in it, see :func:`~backbones.openmmlab.export.describe`.
        format: ``"onnx"``, or ``"torch"`` for a program of ``torch.export`` (``.pt2``).
        part: ``"model"`` or ``"backbone"``.
        image: ``(3, H, W)``, uint8, to compare on, at the three sizes; else random colours. A detector must find
            something in it.

    Raises:
        ValueError: The model or an argument is not accepted, or what was exported differs from the model; no file is
            left.
        RuntimeError: PyTorch cannot trace or translate the model.
    """
    if format not in ("onnx", "torch"):
        raise ValueError(f'format must be "onnx" or "torch", got {format!r}')
    model = model.eval()
    module = exportable(model, part)
    example = torch.zeros(1, 3, *TRACED, dtype=torch.uint8)
    sizes = {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch's exporter about itself
        program = torch.export.export(module, (example,), dynamic_shapes=(sizes,))
    result: list[Exported] = []

    def check(part_file: Path) -> None:
        runner = _onnx_runner if format == "onnx" else _torch_runner
        images = [_test_image(image, size) for size in UNSEEN]
        result.append(verified(runner(part_file, module.outputs), model, images, part))

    def write(part_file: Path) -> None:
        if format == "onnx":
            _write_onnx(program, part_file, module.outputs, metadata)
        else:
            with part_file.open("wb") as file:
                torch.export.save(program, file, extra_files={"metadata.json": json.dumps(dict(metadata))})

    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, write, check)
    return result[0]


def verified(run: Run, model: nn.Module, images: Sequence[Tensor], part: str = "model") -> Exported:
    """Compare what ``run`` makes of images ``(1, 3, H, W)``, uint8, with what the framework's model does.

    Raises:
        ValueError: They differ, or a detector finds nothing in any of the images.
    """
    worst, objects = 0.0, 0
    for x in images:
        size, expected = tuple(x.shape[-2:]), reference(model, x, part)
        try:
            difference, count = compare(run(x), expected, size)
        except Differing as error:
            raise ValueError(f"what was exported is not the model at {size[0]} x {size[1]} px: {error}") from None
        worst, objects = max(worst, difference), objects + count
    if "boxes" in expected and not objects:
        raise ValueError(
            "the detector finds nothing in random colours, so that its boxes cannot be compared: give an image in "
            "which it finds something"
        )
    return Exported(tuple(expected), tuple(tuple(x.shape[-2:]) for x in images), worst, objects)


def _test_image(image: Tensor | None, size: tuple[int, int]) -> Tensor:
    if image is None:
        generator = torch.Generator().manual_seed(0)
        image = 255 * torch.rand(3, size[0] // 16, size[1] // 16, generator=generator)
    x = F.interpolate(image[None].float(), size, mode="bilinear", align_corners=False)
    return x.round().clamp(0, 255).to(torch.uint8)


def _write_onnx(
    program: torch.export.ExportedProgram, path: Path, outputs: tuple[str, ...], metadata: Mapping[str, str]
) -> None:
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            onnx_program = torch.onnx.export(
                program, dynamo=True, verbose=False, input_names=["image"], output_names=list(outputs)
            )
        finally:
            logger.setLevel(level)
    proto = onnx_program.model_proto
    height, width = (d.dim_param for d in proto.graph.input[0].type.tensor_type.shape.dim[2:])
    for value in (*proto.graph.input, *proto.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in (height, width):
                dim.dim_param = "height" if dim.dim_param == height else "width"
    for key, text in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, text
    path.write_bytes(proto.SerializeToString())


def _onnx_runner(path: Path, outputs: tuple[str, ...]) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])

    def run(x: Tensor) -> dict[str, Tensor]:
        return dict(zip(outputs, map(torch.from_numpy, session.run(None, {"image": x.numpy()})), strict=True))

    return run


def _torch_runner(path: Path, outputs: tuple[str, ...]) -> Run:
    module = read_torch(path)[0].module()
    return lambda x: dict(zip(outputs, module(x), strict=True))


def read_torch(path: str | Path) -> tuple[torch.export.ExportedProgram, dict[str, str]]:
    """The program of a ``.pt2`` file, and its metadata."""
    import torchvision  # noqa: F401 (its operators are in programs of detectors)

    extra = {"metadata.json": ""}
    with Path(path).open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own buffers
        program = torch.export.load(file, extra_files=extra)
    return program, json.loads(extra["metadata.json"])
