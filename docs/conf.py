"""The documentation site: `make docs` builds it into work_dirs/docs and fails on a broken link or an unknown name."""

import importlib.util
import subprocess
import sys
import typing
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "extensions")]

# Annotations name what only type checkers import, so our packages import that too; others must be imported before.
for name in ("matplotlib.axes", "mmengine.runner", "peft", "timm", "torch"):
    importlib.import_module(name)
typing.TYPE_CHECKING = True
for name in (
    "spectral_ops.plot",
    "backbones.pretraining",
    "backbones.openmmlab",
    "backbones.openmmlab.export",
    "adapters.openmmlab",
):
    importlib.import_module(name)
typing.TYPE_CHECKING = False

project = "Spectral operators"
author = "the maintainers"
release = sys.modules["spectral_ops"].__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml", "names"]
exclude_patterns = ["extensions"]
nitpicky = True

# Docstrings: Google's style with types in the signatures, and two sections of our own.
autodoc_default_options = {"members": True, "show-inheritance": True, "member-order": "bysource"}
autodoc_inherit_docstrings = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Source", "Shape"]
python_use_unqualified_type_names = True

myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3

html_math_renderer = "mathml"
html_theme = "furo"
html_title = project
# STIX Two Math comes with ziamath: without a font for mathematics no browser stretches parentheses.
math_font = Path(importlib.util.find_spec("ziamath").origin).parent / "fonts"
html_static_path = ["_static", str(math_font)]
html_css_files = ["site.css"]
html_show_sphinx = html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False


def draw_gallery(app):
    """The gallery's pictures are drawn whenever the site is built; docs/gallery.md shows them."""
    subprocess.run([sys.executable, str(ROOT / "tools" / "gallery.py")], check=True, stdout=subprocess.DEVNULL)


def setup(app):
    app.connect("builder-inited", draw_gallery)
