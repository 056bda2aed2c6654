"""What can be wrong with a data set, how bad it is and how it is cured, and what was found of it."""

from __future__ import annotations

from typing import NamedTuple

#: How many of each kind are shown.
EXAMPLES = 3


class Kind(NamedTuple):
    """One thing that can be wrong: an error breaks training or falsifies its figures, a warning may be meant."""

    error: bool
    what: str
    cure: str


KINDS = {
    "place-missing": Kind(True, "a folder or a list is not there", "correct data_root, ann_file or data_prefix"),
    "annotations-broken": Kind(True, "the annotation file is not what it should be", "write it again, as COCO JSON"),
    "images-none": Kind(True, "there is no image", "correct data_prefix, img_suffix or ann_file"),
    "image-missing": Kind(True, "an annotated image is not there", "restore it, or take its entry out"),
    "image-unreadable": Kind(True, "a file is no image", "write it again, or take its entry out"),
    "image-truncated": Kind(True, "an image ends too early", "copy or download it again"),
    "image-16-bit": Kind(False, "more than 8 bits a channel, which loading cuts off", "scale it to 8 bits yourself"),
    "image-cmyk": Kind(False, "CMYK, whose colours change in loading", "convert it to RGB"),
    "image-palette": Kind(False, "a palette, which not every way of loading resolves", "convert it to RGB"),
    "image-rotated": Kind(False, "EXIF turns the image in loading, its annotation perhaps not", "turn the pixels"),
    "partner-missing": Kind(
        True, "a place has no file, or several, of a modality or a date", "add it, or take its partners out"
    ),
    "bands-unfit": Kind(
        True, "files that are not of the modality, by bands, unit or values, or of one size", "write them again, or "
        "correct modalities and bands in the config",
    ),
    "size-differs": Kind(True, "an image has another size than its annotation", "annotate the image that is there"),
    "entry-incomplete": Kind(True, "an entry lacks what mmdet reads, or holds another type", "complete it"),
    "id-repeated": Kind(True, "an id stands twice, and one entry hides the other", "give every entry its own id"),
    "image-unknown": Kind(True, "an annotation of an image that is not listed", "list the image, or remove it"),
    "category-unknown": Kind(True, "an annotation of a category that is not listed", "list the category"),
    "class-missing": Kind(
        True, "a class that is no category of the file; mmdet then shifts all labels", "correct metainfo.classes"
    ),
    "class-order": Kind(
        True, "mmdet numbers labels in the order of the file, and names them in that of the config",
        "write metainfo.classes in the order of the file",
    ),
    "class-count": Kind(True, "a head of the model has another number of classes", "correct num_classes, or metainfo"),
    "truth-differs": Kind(
        True, "the metric reads another annotation file than the data set", "name the same ann_file in both"
    ),
    "category-unused": Kind(
        False, "annotations of a category that is no class are passed over", "name it in metainfo.classes"
    ),
    "class-empty": Kind(False, "a class has no example in the split", "expect no figure of it, or split again"),
    "box-empty": Kind(True, "a box is less than a pixel wide or high", "remove it"),
    "box-inverted": Kind(True, "a width or height is negative", "write [left, top, width, height]"),
    "box-outside": Kind(True, "a box is outside its image", "remove it; are the coordinates of this image?"),
    "box-over-edge": Kind(False, "a box reaches over the edge by more than a pixel", "clip it"),
    "mask-broken": Kind(True, "a mask is neither polygons nor run lengths of the image", "write it again"),
    "mask-disagrees": Kind(True, "a mask lies elsewhere than its box", "make the box from the mask"),
    "label-missing": Kind(True, "an image has no label map", "add it; correct seg_map_path or seg_map_suffix"),
    "label-unreadable": Kind(True, "a label map cannot be loaded", "write it again"),
    "label-no-indices": Kind(
        True, "a label map holds colours, or more than 8 bits", "write numbers of classes in one channel of 8 bits"
    ),
    "label-outside": Kind(
        True, "a value of a label map is no class and not ignored", "correct classes, or map it with MapLabels"
    ),
    "label-empty": Kind(False, "every pixel of a label map is ignored", "label it, or leave the image out"),
    "label-without-image": Kind(False, "a label map without an image is never read", "add the image; correct suffixes"),
    "image-shared": Kind(True, "the same file is in two splits", "take it out of one"),
}  # fmt: skip


class Finding(NamedTuple):
    """How often something was found in a split, and where first."""

    kind: str
    split: str
    count: int
    examples: tuple[str, ...]

    @property
    def error(self) -> bool:
        """Whether it breaks something."""
        return KINDS[self.kind].error


class Findings:
    """Collects what is found, by kind and split."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}

    def add(self, kind: str, split: str, example: str, count: int = 1) -> None:
        """Count one more of a kind; the first few examples that differ are kept.

        Raises:
            KeyError: There is no such kind.
        """
        if kind not in KINDS:
            raise KeyError(kind)
        before, examples = self._found.get((kind, split), (0, ()))
        self._found[kind, split] = before + count, tuple(dict.fromkeys([*examples, example]))[:EXAMPLES]

    def all(self) -> list[Finding]:
        """All of them, errors first, then in the order of :data:`KINDS`."""
        order = list(KINDS)
        found = [Finding(kind, split, *rest) for (kind, split), rest in self._found.items()]
        return sorted(found, key=lambda f: (not f.error, order.index(f.kind)))
