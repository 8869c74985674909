"""Facades, fences, guard rails and hedges: vertical planes along the street, shaded per pixel."""

from __future__ import annotations

import numpy as np

from tessera.datasets.street.canvas import NEAR, Camera, Canvas, Float, lookup
from tessera.datasets.street.layout import VIEW, Wall
from tessera.datasets.street.params import BUILDING, FENCE, VEGETATION
from tessera.datasets.street.style import Style

_LABEL = {"building": BUILDING, "fence": FENCE, "rail": FENCE, "hedge": VEGETATION}


def paint_wall(canvas: Canvas, camera: Camera, style: Style, wall: Wall, tile: Float) -> None:
    """Paint the side that faces the street and, for houses and hedges, the end that faces the camera."""
    near, far = max(wall.z0 - camera.z, NEAR), min(wall.z1 - camera.z, VIEW)
    if far <= near:
        return
    if wall.depth and wall.z0 - camera.z > NEAR:
        _paint_end(canvas, camera, style, wall, tile)
    offset = wall.x - camera.x
    edges = sorted(camera.u0 + camera.focal * offset / depth for depth in (near, far))
    left, right = max(0, int(np.ceil(edges[0]))), min(camera.width, int(np.ceil(edges[1])))
    if left >= right:
        return
    bearing = np.arange(left, right, dtype=np.float32) - camera.u0
    depth = np.asarray(camera.focal * offset / bearing, np.float32)
    along = np.asarray(depth + camera.z, np.float32)
    light = 1.0 if style.sun * wall.x < 0 else (0.9 if style.sun == 0 else 0.66)
    _paint(canvas, camera, style, wall, tile, left, depth, along, light)


def _paint_end(canvas: Canvas, camera: Camera, style: Style, wall: Wall, tile: Float) -> None:
    depth = wall.z0 - camera.z
    outer = wall.x + np.sign(wall.x) * wall.depth
    edges = sorted(camera.project(float(x), 0, depth)[0] for x in (wall.x, outer))
    left, right = max(0, int(np.ceil(edges[0]))), min(camera.width, int(np.ceil(edges[1])))
    if left < right:
        columns = np.arange(left, right, dtype=np.float32)
        along = np.asarray((columns - camera.u0) * (depth / camera.focal) + camera.x + 500, np.float32)
        _paint(canvas, camera, style, wall, tile, left, np.full_like(columns, depth), along, 0.82)


def _paint(
    canvas: Canvas, camera: Camera, style: Style, wall: Wall, tile: Float, left: int,
    depth: Float, along: Float, light: float,
) -> None:  # fmt: skip
    tallest = wall.height * 1.15
    top = max(0, int(camera.v0 + (camera.height - tallest) * camera.focal / float(depth.min())))
    bottom = min(
        canvas.labels.shape[0], int(np.ceil(camera.v0 + camera.height * camera.focal / float(depth.min()))) + 1
    )
    if top >= bottom:
        return
    v = np.arange(top, bottom, dtype=np.float32)[:, None]
    up = np.asarray(camera.height - (v - camera.v0) * depth / camera.focal, np.float32)
    s = np.broadcast_to(along, up.shape)
    height: Float | float = wall.height
    if wall.what == "hedge":
        height = wall.height * (1 + 0.08 * lookup(tile, s * 12, s * 3))
    mask = (up >= 0) & (up < height)
    if not mask.any():
        return
    # Only the covered pixels are shaded.
    up_in, s_in = up[mask], s[mask]
    near = np.asarray(np.minimum(1, 14 / np.broadcast_to(depth, up.shape)[mask]), np.float32)
    shade = {"building": _facade, "fence": _slats, "rail": _rail, "hedge": _hedge}[wall.what]
    colour, cover = shade(style, wall, tile, s_in, up_in, near)
    colour *= light
    region = (slice(top, bottom), slice(left, left + len(depth)))
    under = canvas.rgb[region][mask].astype(np.float32)
    canvas.rgb[region][mask] = np.clip(under + (colour - under) * cover[:, None], 0, 255)
    canvas.labels[region][mask] = _LABEL[wall.what]
    canvas.depth[region][mask] = np.broadcast_to(depth, up.shape)[mask]


def _facade(style: Style, wall: Wall, tile: Float, s: Float, up: Float, near: Float) -> tuple[Float, Float]:
    grain = lookup(tile, up * 22 + wall.phase * 50, s * 22)
    stain = lookup(tile, up * 2 + wall.phase * 90, s * 5)
    courses = (np.mod(up, 0.32) < 0.07) * near
    base = np.array(wall.colour, np.float32)
    colour = base * (1 + 0.06 * grain * near + 0.06 * stain - 0.10 * courses)[:, None]
    bay = np.mod(s + wall.phase, wall.bay) / wall.bay
    level = np.mod(up, wall.floor) / wall.floor
    inside = (np.abs(bay - 0.5) < wall.window / 2) & (level > 0.3) & (level < 0.82) & (up < wall.height - 0.4)
    ground = up < wall.floor
    number = np.floor((s + wall.phase) / wall.bay) * 7.0 + np.floor(up / wall.floor) * 13.0
    kind = np.mod(number * 0.618 + wall.phase, 1.0)
    # Panes mirror the sky, are dark, or are lit from inside.
    pane = np.where((kind < 0.45)[:, None], np.array(style.sky_low, np.float32) * 0.8, np.float32(46))
    pane = np.where(
        (kind > (0.75 if style.weather == "dusk" else 0.94))[:, None], np.array((226, 190, 120), np.float32), pane
    )
    pane = pane * (0.8 + 0.35 * level)[:, None]
    frame = inside & ((np.abs(bay - 0.5) > wall.window / 2 - 0.04) | (np.abs(bay - 0.5) < 0.02))
    colour = np.where(inside[:, None], pane, colour)
    colour[frame] = base * 1.2
    if wall.shop is not None:
        glass = ground & (bay > 0.1) & (bay < 0.9) & (up > 0.5) & (up < wall.floor - 0.9)
        colour[ground] = np.array(wall.shop, np.float32) * (1 + 0.05 * grain[ground])[:, None]
        colour[glass] = np.array((58, 62, 66), np.float32) + 30 * kind[glass][:, None]
    colour[up > wall.height - 0.35] *= 0.72
    return colour.astype(np.float32), np.ones_like(up)


def _slats(style: Style, wall: Wall, tile: Float, s: Float, up: Float, near: Float) -> tuple[Float, Float]:
    """Return colour and cover of upright bars with gaps between them; far away both blend."""
    bar = (np.mod(s + wall.phase, wall.bay) < wall.bay * 0.55) | (up > wall.height - 0.1) | (np.abs(up - 0.2) < 0.06)
    cover = near * bar + (1 - near) * 0.65
    grain = lookup(tile, up * 9, s * 60)
    return np.array(wall.colour, np.float32) * (1 + 0.12 * grain)[:, None], cover.astype(np.float32)


def _rail(style: Style, wall: Wall, tile: Float, s: Float, up: Float, near: Float) -> tuple[Float, Float]:
    """Return colour and cover of a guard rail, a shiny band on posts."""
    band = up > wall.height * 0.45
    post = np.mod(s, 2.0) < 0.16
    glint = 1 + 0.25 * np.sin(up * 22) + 0.05 * lookup(tile, up * 20, s * 8)
    return np.array(wall.colour, np.float32) * glint[:, None].astype(np.float32), (band | post).astype(np.float32)


def _hedge(style: Style, wall: Wall, tile: Float, s: Float, up: Float, near: Float) -> tuple[Float, Float]:
    clumps = lookup(tile, up * 16 + wall.phase * 30, s * 16)
    value = 0.62 + 0.3 * up / wall.height + 0.24 * clumps * near
    return np.array(style.leaves, np.float32) * value[:, None], np.ones_like(up)
