"""A folder of images of several sensors."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from backbones.pretraining import PairFolder
from backbones.remote_sensing import ModalitySpec

OPTICAL = ModalitySpec("optical", ("R", "G", "B"), "uint8", mean=120.0, std=60.0)
SAR = ModalitySpec("sar", ("VH", "VV"), "dB", mean=-12.0, std=5.0)


def put(folder, name, size=(40, 52), seed=0, sar=True, optical=True):
    """A place whose radar, -band 0 / 10, can be told from its pictures."""
    pixels = np.random.default_rng(seed).integers(1, 255, (*size, 3), np.uint8)
    for modality in ("optical", "sar"):
        (folder / modality).mkdir(exist_ok=True)
    if optical:
        Image.fromarray(pixels).save(folder / "optical" / f"{name}.png")
    if sar:
        bands = np.stack([pixels[..., 1], pixels[..., 0]]).astype(np.float32) / -10
        tifffile.imwrite(folder / "sar" / f"{name}.tif", bands, planarconfig="separate", photometric="minisblack")


@pytest.fixture
def folder(tmp_path):
    for i in range(12):
        put(tmp_path, f"{i:02d}", seed=i)
    return tmp_path


@pytest.mark.parametrize("scale", [None, (0.3, 0.9)])
@pytest.mark.parametrize("train", [True, False])
def test_modalities_are_cut_and_flipped_alike(folder, scale, train):
    data = PairFolder(folder, [OPTICAL, SAR], 32, scale=scale, train=train)
    torch.manual_seed(0)
    every = torch.stack([data[i] for i in range(12)])
    assert every.shape == (12, 5, 32, 32) and every.dtype == torch.float32
    torch.testing.assert_close(every[:, 3], every[:, 1] / -10, atol=1e-4, rtol=1e-4)  # bands in the order of the file
    torch.testing.assert_close(every[:, 4], every[:, 0] / -10, atol=1e-4, rtol=1e-4)
    torch.manual_seed(0)
    assert torch.equal(torch.stack([data[i] for i in range(12)]), every)
    torch.manual_seed(1)
    assert torch.equal(data[0], every[0]) != train


def test_crops_keep_pixels_as_they_are(folder):
    data = PairFolder(folder, [OPTICAL, SAR], 32)
    whole = torch.from_numpy(np.array(Image.open(folder / "optical" / "00.png"))).permute(2, 0, 1).float()
    windows = whole.unfold(1, 32, 1).unfold(2, 32, 1)
    found = set()
    for seed in range(12):
        torch.manual_seed(seed)
        crop = data[0][:3]
        for flips in ([], [1], [2], [1, 2]):
            same = (windows == crop.flip(flips)[:, None, None]).all(-1).all(-1).all(0)
            found |= {(tuple(flips), *place) for place in same.nonzero().tolist()}
    assert len(found) == 12 or len({each[0] for each in found}) == 4
    middle = PairFolder(folder, [OPTICAL, SAR], 32, train=False)[0][:3]
    assert torch.equal(middle, whole[:, 4:36, 10:42])


def test_bands_of_files_by_name(folder):
    data = PairFolder(folder, [SAR], 32, train=False, bands={"sar": ("VV", "VH")})
    plain = PairFolder(folder, [SAR], 32, train=False)
    assert torch.equal(data[3], plain[3].flip(0))
    with pytest.raises(ValueError, match=r"bands must be of \['sar'\], got \['radar'\]"):
        PairFolder(folder, [SAR], 32, bands={"radar": ("VV", "VH")})


def test_places_without_a_partner(folder):
    put(folder, "20", sar=False)
    with pytest.raises(FileNotFoundError, match=r"1 of 13 places lack a partner: .*20\.png \(no sar\)"):
        PairFolder(folder, [OPTICAL, SAR], 32)
    data = PairFolder(folder, [OPTICAL, SAR], 32, partnerless="keep")
    lonely = data[data.places.index("20")]
    assert lonely[3:].isnan().all() and lonely[:3].isfinite().all() and data[0].isfinite().all()
    resized = PairFolder(folder, [OPTICAL, SAR], 32, scale=(0.5, 1.0), partnerless="keep")
    assert resized[12][3:].isnan().all() and resized[12][:3].isfinite().all()


def test_held_out_places_stay_together(folder):
    train = PairFolder(folder, [OPTICAL, SAR], 32, held_out=0.3)
    held = PairFolder(folder, [OPTICAL, SAR], 32, held_out=0.3, train=False)
    assert len(held) and not set(train.places) & set(held.places) and len(train) + len(held) == 12
    put(folder, "30", seed=30)
    more = PairFolder(folder, [OPTICAL, SAR], 32, held_out=0.3)
    assert set(train.places) <= set(more.places)


def test_files_that_do_not_fit_are_named_before_any_training(folder):
    put(folder, "20", size=(40, 52), sar=False)
    put(folder, "20", size=(40, 50), optical=False)
    with pytest.raises(
        ValueError, match=r"1 of 13 places .*one size, but .*20\.png is 40 x 52 and .*20\.tif is 40 x 50"
    ):
        PairFolder(folder, [OPTICAL, SAR], 32)
    put(folder, "20", size=(40, 52))
    with pytest.raises(
        ValueError, match=r"13 of 13 .*00\.png is 40 x 52 px, smaller than the crops of 48 px.*and 8 more"
    ):
        PairFolder(folder, [OPTICAL, SAR], 48)
    wide = ModalitySpec("sar", ("VV", "VH", "HH"), "dB", mean=-12.0, std=5.0)
    with pytest.raises(ValueError, match=r"00\.tif has 2 bands and does not name them, and modality 'sar' has 3 bands"):
        PairFolder(folder, [OPTICAL, wide], 32)
    (folder / "optical" / "20.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"1 of 13 .*20\.png cannot be read as a picture"):
        PairFolder(folder, [OPTICAL, SAR], 32)
    np.save(folder / "sar" / "30.npy", np.full((2, 40, 52), -9.0))
    Image.new("RGB", (52, 40)).save(folder / "optical" / "30.png")
    (folder / "optical" / "20.png").unlink()
    (folder / "sar" / "20.tif").unlink()
    with pytest.raises(
        ValueError, match=r"30\.png: band 'R' of modality 'optical' \(uint8, 0 to 255\) is 0 everywhere"
    ):
        PairFolder(folder, [OPTICAL, SAR], 32)[12]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"size": 0}, "size must be a positive int"),
        ({"scale": (0.5, 2.0)}, "scale must be two ascending"),
        ({"flip": 2}, "flip must be a probability"),
        ({"held_out": 1.0}, "held_out must be a share"),
        ({"modalities": [OPTICAL, OPTICAL]}, "of different names"),
        ({"modalities": []}, "at least one"),
    ],
)
def test_bad_arguments(folder, given, message):
    with pytest.raises(ValueError, match=message):
        PairFolder(folder, **{"modalities": [OPTICAL, SAR], "size": 32, **given})
