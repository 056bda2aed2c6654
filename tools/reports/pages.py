"""Self-contained HTML pages with pictures inside."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def picture(figure: Figure, caption: str) -> str:
    """A figure inside a page, with its caption; the figure is closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    plt.close(figure)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<figure><img src="data:image/png;base64,{data}"><figcaption>{html.escape(caption)}</figcaption></figure>'


def page(title: str, style: str, body: Iterable[str]) -> str:
    """A page of a heading and parts of HTML."""
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{style}</style><h1>{html.escape(title)}</h1>{''.join(body)}</html>"
    )
