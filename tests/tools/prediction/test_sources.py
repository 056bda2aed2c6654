"""Which files are meant, and what their predictions are called."""

import pytest
from prediction.sources import find_sources


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Make empty files in an empty folder, which is where the user is."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()

    return make


def named(*given):
    return {source.file_name: source.name for source in find_sources(given)}


def test_a_folder_is_read_at_any_depth(files):
    files("f/b.JPG", "f/deep/er/a.png", "f/.hidden.png", "f/notes.txt", "f/c.tiff")
    assert list(named("f")) == ["b.JPG", "c.tiff", "deep/er/a.png"]


def test_names_of_different_images_differ(files):
    files("f/a/x.png", "f/b/x.png", "f/b/x.jpg", "f/b/X.bmp", "f/b/x.png.bmp")
    names = named("f")
    assert names["a/x.png"] == "a/x"
    assert len({name.casefold() for name in names.values()}) == len(names) == 5


def test_of_several_arguments_names_lie_below_what_they_have_in_common(files):
    files("f/one/x.png", "f/two/x.png")
    assert named("f/one", "f/two/x.png") == {"one/x.png": "one/x", "two/x.png": "two/x"}
    assert named("f/one/x.png", "f/one/x.png", "f/one") == {"x.png": "x"}


def test_patterns(files):
    files("f/x1.png", "f/x2.png", "f/y.png", "f/x.txt", "f/g/x3.png", "f/[odd].png")
    assert list(named("f/x*")) == ["x1.png", "x2.png"]
    assert list(named("f/**/x*.png")) == ["g/x3.png", "x1.png", "x2.png"]
    assert named("f/[odd].png") == {"[odd].png": "[odd]"}  # a file comes before a pattern


def test_a_named_file_is_read_whatever_its_suffix(files):
    files("scan.dat", "clip.mp4")
    assert named("scan.dat") == {"scan.dat": "scan"}
    (clip,) = find_sources(["clip.mp4"])
    assert clip.is_video and clip.name == "clip.mp4"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere", "no such image, folder or video: nowhere"),
        ("f", "no image or video in f or its folders; suffixes read: .avi .bmp"),
        ("f/*.png", r"no image or video matches f/\*.png"),
    ],
)
def test_nothing_to_read_is_an_error(files, given, message):
    files("f/notes.txt")
    with pytest.raises(ValueError, match=f"^{message}"):
        find_sources([given])
