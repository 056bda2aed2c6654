"""Write the generated tables of docs/models.md: sizes and work of all models, sources of vHeat's k, published figures.

    python tools/model_table.py

Multiply-accumulates are torch's count of one 224 px image: convolutions, linear layers and the products of the cosine
transforms, and as trained also the layers that predict diffusivities; norms and gains are not counted.
"""

from __future__ import annotations

from reports.models import DOCUMENT, TABLES, updated


def main() -> None:
    DOCUMENT.write_text(updated(DOCUMENT.read_text()))
    print(f"wrote {', '.join(TABLES)} to {DOCUMENT}")


if __name__ == "__main__":
    main()
