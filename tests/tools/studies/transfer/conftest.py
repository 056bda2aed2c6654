"""Night scenes in the place of the real ones."""

import pytest
from scenes.data_set import make_digit_scenes
from studies.transfer import configs


@pytest.fixture(scope="session")
def night(tmp_path_factory):
    """A small data set in the place of the real one, of which 3 scenes train and 2 choose."""
    folder = tmp_path_factory.mktemp("data") / "night"
    make_digit_scenes(folder, style="night", size=96, train=6, val=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configs, "NIGHT", folder)
        patch.setattr(configs, "TRAINED", 3)
        patch.setattr(configs, "CHOOSING", 2)
        configs.write_choosing(folder / "choosing.json")
        yield folder
