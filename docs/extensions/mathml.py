"""Mathematics as MathML, which browsers typeset by themselves: no script is loaded.

docutils converts LaTeX. The few commands that it does not know are replaced by ones that it does.
"""

import re

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.errors import ExtensionError

REPLACED = {r"\\dots\b": r"\\ldots", r"\\(big|Big)(?![a-zA-Z])": r"\\\1l"}


def typeset(text, as_block):
    for pattern, replacement in REPLACED.items():
        text = re.sub(pattern, replacement, text)
    try:
        return tex2mathml(text, as_block=as_block)
    except Exception as error:
        raise ExtensionError(f"docutils cannot typeset {text!r}: {error}") from error


def visit_inline(writer, node):
    writer.body.append(typeset(node.astext(), as_block=False))
    raise SkipNode


def visit_block(writer, node):
    writer.body.append(f'<div class="equation">{typeset(node.astext(), as_block=True)}</div>')
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
