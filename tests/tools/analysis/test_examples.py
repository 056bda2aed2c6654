"""Examples in docstrings run, and give what they say."""

import doctest
import importlib
import pkgutil

import analysis
import pytest


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(analysis.__path__)])
def test_examples(name):
    assert doctest.testmod(importlib.import_module(f"analysis.{name}")).failed == 0
