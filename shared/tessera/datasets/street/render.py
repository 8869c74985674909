"""Compose the frames of a sequence, back to front, and pass them through an imperfect camera."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from tessera.datasets.street import sprites
from tessera.datasets.street.canvas import NEAR, Camera, Canvas, UInt8, noise_tile
from tessera.datasets.street.ground import paint_ground, paint_sky
from tessera.datasets.street.layout import VIEW, Street, Thing, Wall, invent_street
from tessera.datasets.street.params import (
    CYCLIST,
    FRAME_RATE,
    PEDESTRIAN,
    SIGN,
    SPLITS,
    VEGETATION,
    VOID,
    StreetParams,
)
from tessera.datasets.street.style import Style, invent_style, weather_of
from tessera.datasets.street.vehicles import paint_car, paint_pole, paint_shadow
from tessera.datasets.street.walls import paint_wall

# A view of 46°, so that people a street away are more than a few pixels.
_FOCAL_OF_WIDTH = 1.18
_HORIZON = 0.47
_WIDTH_OF_HEIGHT = {"tree": 84 / 96, "person": 0.5, "cyclist": 0.75, "sign": 1.0}
_LABEL = {"tree": VEGETATION, "person": PEDESTRIAN, "cyclist": CYCLIST, "sign": SIGN}


@dataclass(frozen=True)
class Frame:
    """One frame: uint8 (H, W, 3) RGB, uint8 (H, W) class indices with 255 for void, and seconds in its sequence."""

    rgb: UInt8
    labels: UInt8
    time: float


def render_sequence(params: StreetParams, split: str, number: int) -> Iterator[Frame]:
    """Yield the frames of sequence ``number`` of a split; equal arguments give equal pixels."""
    key = [params.seed, SPLITS.index(split), number]
    rng = np.random.default_rng(key)
    style = invent_style(rng, split, number, weather_of(params.seed, SPLITS.index(split), number))
    street = invent_street(rng, style, params.frames)
    for frame in range(params.frames):
        yield _render(params, style, street, frame, np.random.default_rng([*key, frame + 1]))


def _render(params: StreetParams, style: Style, street: Street, frame: int, rng: np.random.Generator) -> Frame:
    height, width, time = params.height, params.width, frame / FRAME_RATE
    sway = np.sin(time * 2.1 + street.backdrop)
    camera = Camera(
        width=width,
        rows=height,
        focal=_FOCAL_OF_WIDTH * width,
        u0=width * (0.5 + street.yaw * _FOCAL_OF_WIDTH + 0.004 * sway),
        v0=height * (_HORIZON + 0.006 * np.sin(time * 5.3)),
        x=street.camera_x + 0.12 * sway,
        z=street.speed * time,
        height=street.camera_height,
    )
    canvas = Canvas.empty(height, width)
    tile = noise_tile(0)
    paint_sky(canvas, camera, style, street, tile, time)
    paint_ground(canvas, camera, style, street, tile)
    _paint_objects(canvas, camera, style, street, time)
    rgb = _expose(canvas, style, time, street, rng)
    _paint_hood(rgb, canvas.labels, street, style)
    return Frame(rgb, canvas.labels, time)


def _paint_objects(canvas: Canvas, camera: Camera, style: Style, street: Street, time: float) -> None:
    """Paint houses and trees behind the sidewalk, then fences along it, then what is on it and the road.

    Each layer goes far to near. Between layers no depth is compared: seen from the road, what stands nearer to its
    middle is in front.
    """
    tile = noise_tile(0)
    behind: list[tuple[float, Wall | Thing]] = []
    fences: list[tuple[float, Wall | Thing]] = []
    front: list[tuple[float, Wall | Thing]] = []
    edge = street.half_road + street.sidewalk
    for wall in street.walls:
        if wall.z1 - camera.z > NEAR and wall.z0 - camera.z < VIEW:
            (behind if wall.what == "building" else fences).append((wall.z0 - camera.z, wall))
    for thing in street.things:
        depth = thing.z + thing.vz * time - camera.z
        if NEAR * 1.5 < depth < VIEW and thing.height * camera.focal / depth > 3:
            (behind if abs(thing.x) > edge + 1 else front).append((depth, thing))
    for layer in (behind, fences, front):
        for depth, item in sorted(layer, key=lambda pair: -pair[0]):
            if isinstance(item, Thing):
                _paint_thing(canvas, camera, style, item, time, depth)
            else:
                paint_wall(canvas, camera, style, item, tile)


def _paint_thing(canvas: Canvas, camera: Camera, style: Style, thing: Thing, time: float, depth: float) -> None:
    x = thing.x + thing.vx * time
    if thing.what == "car":
        paint_car(canvas, camera, style, thing, x, depth)
        return
    if thing.what in ("lamp", "post"):
        paint_pole(canvas, camera, thing, x, depth)
        return
    half = thing.height * _WIDTH_OF_HEIGHT[thing.what] / 2
    if thing.base == 0:
        paint_shadow(canvas, camera, style, x, depth, half * 0.9, half * 0.5)
    phase = int(time * 4 + thing.seed) % 4
    if thing.what == "person":
        picture = sprites.person(thing.seed, thing.colour, phase)
    elif thing.what == "cyclist":
        picture = sprites.cyclist(thing.seed, thing.colour, phase)
    else:
        picture = (sprites.tree if thing.what == "tree" else sprites.sign)(thing.seed, thing.colour)
    if thing.vz < 0 and thing.what == "cyclist":
        picture = np.ascontiguousarray(picture[:, ::-1])
    left, bottom = camera.project(x - half, thing.base, depth)
    right, top = camera.project(x + half, thing.base + thing.height, depth)
    canvas.paste(picture, (left, top, right, bottom), _LABEL[thing.what], depth)


def _expose(canvas: Canvas, style: Style, time: float, street: Street, rng: np.random.Generator) -> UInt8:
    """Add haze by distance, slowly changing exposure, vignette, lens blur and sensor noise."""
    height, width = canvas.labels.shape
    image = canvas.rgb.astype(np.float32)
    haze = 1 - np.exp(np.float32(-style.haze_density) * np.minimum(canvas.depth, VIEW * 1.5))
    haze[np.isinf(canvas.depth)] = 0
    image += (np.array(style.haze, np.float32) - image) * haze[..., None]
    gain = style.gain * (1 + 0.06 * np.sin(time * 0.9 + street.backdrop))
    v, u = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    vignette = (1 - 0.13 * (u * u + v * v)).astype(np.float32)
    image *= vignette[..., None] * (np.array(style.tint, np.float32) * np.float32(gain))
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), style.blur * height / 144), np.float32)
    image += rng.standard_normal((height, width, 3), np.float32) * np.float32(style.noise)
    result: UInt8 = np.clip(image + np.float32(0.5), 0, 255).astype(np.uint8)
    return result


def _paint_hood(rgb: UInt8, labels: UInt8, street: Street, style: Style) -> None:
    """Paint the filming car's bonnet at the bottom edge, with label void."""
    height, width = labels.shape
    u = np.linspace(-1, 1, width, dtype=np.float32)
    edge = height * (1 - street.hood * np.sqrt(np.maximum(0, 1 - u * u / 0.9)))
    mask = np.arange(height)[:, None] >= edge
    labels[mask] = VOID
    shade = 26 + 50 * np.broadcast_to((1 - u * u)[None, :], mask.shape)[mask] * style.gain
    rgb[mask] = shade[:, None].astype(np.uint8)
