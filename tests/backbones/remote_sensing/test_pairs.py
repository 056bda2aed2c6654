"""Files of one place, by their names."""

import pytest

from backbones.remote_sensing import paired_files


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_pairs_by_name_whatever_the_format(tmp_path):
    put(tmp_path, "optical/b.png", "optical/x/a.jpg", "sar/x/a.tif", "sar/b.npy", "sar/.hidden.tif", "sar/read.me")
    pairs = paired_files(tmp_path, ("optical", "sar"))
    assert list(pairs) == ["b", "x/a"]
    assert pairs["x/a"] == {"optical": tmp_path / "optical/x/a.jpg", "sar": tmp_path / "sar/x/a.tif"}


def test_without_partner(tmp_path):
    put(tmp_path, *(f"optical/{i}.png" for i in range(8)), "sar/7.tif", "sar/9.tif")
    with pytest.raises(FileNotFoundError, match=r"8 of 9 places lack a partner: .*0\.png \(no sar\).* and 3 more"):
        paired_files(tmp_path, ("optical", "sar"))
    kept = paired_files(tmp_path, ("optical", "sar"), "keep")
    assert [list(kept[name]) for name in ("0", "7", "9")] == [["optical"], ["optical", "sar"], ["sar"]]
    with pytest.raises(ValueError, match="partnerless must be one of"):
        paired_files(tmp_path, ("optical", "sar"), "drop")


def test_folders_and_names(tmp_path):
    with pytest.raises(FileNotFoundError, match="data_root is no folder"):
        paired_files(tmp_path / "none", ("optical",))
    put(tmp_path, "S2/a.tif", "optical/a.tif")
    with pytest.raises(FileNotFoundError, match=r"optical, sar: sar is not among \['S2', 'optical'\]"):
        paired_files(tmp_path, ("optical", "sar"))
    (tmp_path / "sar").mkdir()
    with pytest.raises(FileNotFoundError, match="the folder of modality 'sar' has no images"):
        paired_files(tmp_path, ("optical", "sar"))
    put(tmp_path, "optical/a.png")
    with pytest.raises(ValueError, match=r"a\.png and .*a\.tif have the same name"):
        paired_files(tmp_path, ("optical",))


def test_no_picture_is_passed_over_without_a_word(tmp_path):
    put(tmp_path, "optical/a.tif", "optical/a.tif.aux.xml", "optical/notes.txt", "optical/x/b.JP2", "optical/x/c.jp2")
    with pytest.raises(ValueError, match=r"cannot be read: .*x/b\.JP2 and 1 more\. Convert them to one of \.tif"):
        paired_files(tmp_path, ("optical",))
