"""The two ends of what setup.cfg states, as `make bounds` installs them."""

import configparser

import pytest
from bounds import LEFT_OUT, ROOT, stated, wanted
from packaging.requirements import Requirement

SETUP = """
[options]
install_requires =
    torch>=2.6
[options.extras_require]
one =
    numpy>=1.26
    optuna>=5.0,<6
    six~=1.16
two =
    # the newer of the two counts
    numpy>=1.9,!=2.0
    fixed==0.2.0
dev =
    ruff>=0.17
"""


def test_both_ends():
    assert wanted("lowest", stated(SETUP)) == ["fixed==0.2.0", "numpy==1.26", "optuna==5.0", "six==1.16", "torch==2.6"]
    assert wanted("highest", stated(SETUP)) == ["fixed==0.2.0", "numpy!=2.0", "optuna<6", "six~=1.16", "torch"]


def test_a_requirement_without_a_lowest_version():
    with pytest.raises(ValueError, match="no lowest version of six: six<2"):
        wanted("lowest", stated(SETUP.replace("six~=1.16", "six<2")))


def test_every_extra_is_proven_or_left_out_by_name():
    text = (ROOT / "setup.cfg").read_text()
    config = configparser.ConfigParser()
    config.read_string(text)
    extras = config["options.extras_require"]
    assert set(extras) >= LEFT_OUT
    names = {Requirement(line).name for extra in set(extras) - LEFT_OUT for line in extras[extra].split("\n") if line}
    assert {requirement.name for requirement in stated(text)} == names | {"torch"}
    for requirement, lowest in zip(stated(text), wanted("lowest", stated(text)), strict=True):
        assert requirement.specifier.contains(lowest.partition("==")[2])
