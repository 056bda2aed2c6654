"""The gallery renders, and its blended picture is a Poisson solution."""

import re

import pytest
import torch
from reports import gallery


def test_every_family_is_rendered_and_shown(tmp_path):
    page = gallery.write_gallery(tmp_path)
    pictures = {path.stem for path in tmp_path.glob("*.png")}
    assert pictures == {family.__name__ for family in gallery.FAMILIES}
    assert len(re.findall(r'<img src="data:image/png;base64,', page.read_text())) == len(gallery.FAMILIES)


@pytest.mark.parametrize("family", [gallery.wave, gallery.damped_wave, gallery.plate])
def test_waves_can_be_seen_to_the_last_picture(family):
    for axes in family().axes:
        (image,) = axes.get_images()
        assert abs(image.get_array()).max() > 0.15 * image.get_clim()[1]


def test_blending_takes_gradients_from_the_source_and_level_from_the_target():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 20, 24, generator=generator, dtype=torch.float64)
    mask = torch.zeros(20, 24, dtype=torch.bool)
    mask[6:14, 8:18] = True
    # nothing to blend: a constant added to the source has no gradient
    torch.testing.assert_close(gallery.blend(target + 0.7, target, mask), target)
    # the divergence inside is the source's
    source = torch.rand(3, 20, 24, generator=generator, dtype=torch.float64)
    blended = gallery.blend(source, target, mask)
    inside = (slice(None), slice(6, 12), slice(8, 16))  # cells whose four neighbours are in the mask
    torch.testing.assert_close(laplacian(blended)[inside], laplacian(source)[inside], rtol=0, atol=1e-10)


def laplacian(u):
    return u[:, 2:, 1:-1] + u[:, :-2, 1:-1] + u[:, 1:-1, 2:] + u[:, 1:-1, :-2] - 4 * u[:, 1:-1, 1:-1]
