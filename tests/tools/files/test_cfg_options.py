"""Values of --cfg-options: mmengine's, and spaces are kept."""

import argparse

import pytest
from files.cfg_options import add_cfg_options
from mmengine.config import DictAction


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/data/my scenes", "/data/my scenes"),
        ("'/data/my scenes/'", "/data/my scenes/"),
        ("[my scenes, other]", ["my scenes", "other"]),
        ("[( 1, 2), (a b , 3.5)]", [(1, 2), ("a b", 3.5)]),
        ("a copy (2)/x", "a copy (2)/x"),
        ("a (b) c, d", ["a (b) c", "d"]),
        ("[ [ a b ], [c ] ]", [["a b"], ["c"]]),
        ("", ""),
    ],
)
def test_spaces_are_kept(text, value):
    assert _parsed(text) == value


@pytest.mark.parametrize("text", ["3", "1e-3", "true", "None", "1,2", "(1, 2)", "[(1, 2), [a, b], c]", "1,", "[]", "x"])
def test_all_else_is_as_in_mmengine(text):
    assert _parsed(text) == DictAction._parse_iterable(text)


def _parsed(text):
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    return parser.parse_args(["--cfg-options", f"a.b={text}"]).cfg_options["a.b"]
