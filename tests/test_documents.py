"""The Python in README.md and docs/ runs as it stands."""

import re

import pytest
import torch


@pytest.mark.parametrize("name", ["README.md", "docs/from-pde-to-code.md", "docs/adapters.md"])
def test_python_blocks_run_in_order(root, name):
    blocks = re.findall(r"```python\n(.*?)```", (root / name).read_text(), re.DOTALL)
    assert blocks
    torch.manual_seed(0)
    names: dict = {}
    for block in blocks:
        exec(compile(block, name, "exec"), names)
