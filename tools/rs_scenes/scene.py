"""One scene whole: its land cover, objects, and the pictures of both kinds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rs_scenes.clouds import COVER, DISTANCE, cloud_opacity, put_clouds
from rs_scenes.layout import Layout, lay_out
from rs_scenes.objects import Target, place_objects
from rs_scenes.optical import Light, expose, reflectance
from rs_scenes.plan import draw_plan
from rs_scenes.radar import radar_picture


@dataclass(frozen=True)
class Scene:
    """A place seen once by each instrument.

    Attributes:
        scene_class: What the whole is, one of ``plan.SCENE_CLASSES``.
        layout: Land cover.
        targets: Ships and aircraft.
        clear: Optical, (size, size, 3) uint8, red, green, blue.
        cloudy: The same under clouds.
        cover: Share of the picture that they cover.
        sar: VV and VH in dB, (size, size, 2) float32.
    """

    scene_class: str
    layout: Layout
    targets: tuple[Target, ...]
    clear: np.ndarray
    cloudy: np.ndarray
    cover: float
    sar: np.ndarray


def draw_scene(rng: np.random.Generator, size: int, scene_class: str | None = None) -> Scene:
    """A scene of ``size`` px, of the given class or of any."""
    plan = draw_plan(rng, size, scene_class)
    layout = lay_out(plan)
    targets = place_objects(rng, layout)
    light = Light()
    surface = reflectance(rng, layout, plan.dryness, targets, light)
    clear = expose(rng, surface, light)
    opacity = cloud_opacity(rng, size, rng.uniform(*COVER))
    cloudy = expose(rng, put_clouds(rng, surface, opacity, light, rng.uniform(*DISTANCE)), light)
    look = int(rng.choice([-1, 1]))
    sar = radar_picture(rng, layout, plan.moisture, targets, look)
    return Scene(plan.scene_class, layout, targets, clear, cloudy, float((opacity > 0.5).mean()), sar)
