"""Pascal VOC's annotations: one XML file for each picture.

Coordinates are indices of pixels, the first is 1 and the last belongs to the box, so that a box of a whole picture is
(1, 1, width, height); here they become edges: that box is (0, 0, width, height).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree


class Box(NamedTuple):
    """A box by its edges, in pixels, from the upper left corner of the picture."""

    name: str
    left: float
    top: float
    right: float
    bottom: float
    difficult: bool = False


class Annotation(NamedTuple):
    """What an XML file says: the size of its picture in pixels, and the boxes."""

    width: int
    height: int
    boxes: tuple[Box, ...]


def read_voc(path: Path) -> Annotation:
    """The annotation in an XML file.

    Raises:
        ValueError: It is no XML, or lacks the size, a name or a coordinate, or one of them is no number.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not an XML file: {error}") from error

    def text(node: ElementTree.Element, name: str) -> str:
        found = (node.findtext(name) or "").strip()
        if not found:
            raise ValueError(f"{path}: <{node.tag}> has no <{name.replace('/', '><')}>")
        return found

    def number(node: ElementTree.Element, name: str) -> float:
        found = text(node, name)
        try:
            return float(found)
        except ValueError as error:
            raise ValueError(f"{path}: <{name.replace('/', '><')}> must be a number, got {found!r}") from error

    def box(node: ElementTree.Element) -> Box:
        left, top, right, bottom = (number(node, f"bndbox/{name}") for name in ("xmin", "ymin", "xmax", "ymax"))
        difficult = (node.findtext("difficult") or "0").strip() == "1"
        return Box(text(node, "name"), left - 1, top - 1, right, bottom, difficult)

    size = int(number(root, "size/width")), int(number(root, "size/height"))
    return Annotation(*size, tuple(map(box, root.findall("object"))))
