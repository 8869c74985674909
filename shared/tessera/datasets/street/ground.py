"""Sky, skyline and ground: everything painted per pixel behind the objects."""

from __future__ import annotations

import numpy as np

from tessera.datasets.street.canvas import Camera, Canvas, Float, lookup
from tessera.datasets.street.layout import CROSSING_WIDTH, VIEW, Street
from tessera.datasets.street.params import BUILDING, ROAD, SIDEWALK, SKY, VEGETATION
from tessera.datasets.street.style import Style


def paint_sky(canvas: Canvas, camera: Camera, style: Style, street: Street, tile: Float, time: float) -> None:
    """Paint the sky with drifting clouds, then the far skyline of houses or trees on the horizon."""
    rows = min(canvas.labels.shape[0], int(camera.v0) + 2)
    v, u = np.mgrid[0:rows, 0 : camera.width].astype(np.float32)
    up = np.clip((camera.v0 - v) / max(camera.v0, 1), 0, 1)
    colour = np.array(style.sky_low, np.float32) + up[..., None] * np.subtract(style.sky_top, style.sky_low).astype(
        np.float32
    )
    # Clouds flatten towards the horizon.
    far = 12 / (up + 0.12)
    cloud = np.clip(
        lookup(tile, far * 2 + 300, (u - camera.u0) / camera.focal * far * 5 + 200 + time * 3) * 0.5 + 0.1, 0, 1
    )
    cloud *= style.clouds
    colour += (np.array(style.sky_low, np.float32) * 1.12 - colour) * cloud[..., None]
    canvas.rgb[:rows] = np.clip(colour, 0, 255)
    canvas.labels[:rows] = SKY
    _skyline(canvas, camera, style, street, tile)


def _skyline(canvas: Canvas, camera: Camera, style: Style, street: Street, tile: Float) -> None:
    built = style.kind.name == "downtown"
    bearing = (np.arange(camera.width, dtype=np.float32) - camera.u0) / camera.focal
    where = (bearing + 4) * (40 if built else 160) + street.backdrop
    rough = tile[where.astype(np.int32) & 255, int(street.backdrop) & 255]
    tall = np.clip((0.075 if built else 0.055) + rough * 0.022, 0.006, 0.3) * camera.focal
    v = np.arange(canvas.labels.shape[0], dtype=np.float32)[:, None]
    mask = (v > camera.v0 - tall) & (v <= camera.v0 + 1)
    texture = lookup(tile, np.broadcast_to(v * 3, mask.shape), np.broadcast_to(where * 2, mask.shape))[mask]
    base = np.array((126, 122, 120) if built else style.leaves, np.float32) * 0.8
    canvas.rgb[mask] = np.clip(base * (1 + 0.16 * texture[:, None]), 0, 255)
    canvas.labels[mask] = BUILDING if built else VEGETATION
    canvas.depth[mask] = VIEW


def paint_ground(canvas: Canvas, camera: Camera, style: Style, street: Street, tile: Float) -> None:
    """Paint road with markings and wear, kerb, paving, grass, crossings, and the shadow of the sunny side's houses."""
    first = int(np.ceil(camera.v0 + 1))
    rows = canvas.labels.shape[0]
    if first >= rows:
        return
    v = np.arange(first, rows, dtype=np.float32)[:, None]
    depth = camera.focal * camera.height / (v - camera.v0)
    columns = np.arange(camera.width, dtype=np.float32)[None, :]
    x = ((columns - camera.u0) * depth / camera.focal + camera.x).astype(np.float32)
    z = np.broadcast_to((depth + camera.z).astype(np.float32), x.shape)
    # Detail smaller than a pixel averages out.
    near = np.minimum(1, 9 / depth).astype(np.float32)
    side = np.abs(x)
    crossing = np.zeros(len(v), bool)
    for start in street.crossings:
        crossing |= (z[:, 0] > start) & (z[:, 0] < start + CROSSING_WIDTH)
    road = (side < street.half_road) | crossing[:, None]
    paved = ~road & ((side < street.half_road + street.sidewalk) | (style.plaza & (style.kind.gap < 0.5)))
    fine, coarse = lookup(tile, z * 40, x * 40), lookup(tile, z * 5, x * 14 + 90)
    value = np.where(road, style.road[0], style.paving[0]).astype(np.float32)
    value += np.where(road, 7, 5) * fine * near + 7 * coarse
    value += _road_marks(style, street, x, z, near, crossing) * road
    tiles = (np.mod(x, style.tile) < 0.08) | (np.mod(z, style.tile) < 0.08)
    value -= 22 * near * (tiles & paved)
    kerb = paved & (side < street.half_road + 0.16)
    value += 18 * kerb
    colour = np.repeat(value[..., None], 3, axis=2)
    colour[..., 2] += np.where(paved, style.paving[2] - style.paving[0], style.road[2] - style.road[0])
    grass = ~road & ~paved
    blades = 1 + 0.22 * fine * near + 0.14 * coarse
    colour[grass] = (np.array(style.grass, np.float32) * blades[..., None])[grass]
    colour *= _shadow(style, street, x, z, tile)[..., None]
    canvas.rgb[first:] = np.clip(colour, 0, 255)
    canvas.labels[first:] = np.where(road, ROAD, np.where(paved, SIDEWALK, VEGETATION))
    canvas.depth[first:] = depth


def _road_marks(style: Style, street: Street, x: Float, z: Float, near: Float, crossing: np.ndarray) -> Float:
    """Return the change of brightness by lane lines, zebra stripes and edge lines, tracks, joints and covers."""
    marks = np.zeros_like(x)
    lane = 2 * street.half_road / street.lanes
    offset = np.mod(x + street.half_road, lane)
    if street.markings:
        dash = np.mod(z, 9) < 4
        line = (np.minimum(offset, lane - offset) < 0.08) & dash
        line |= np.abs(np.abs(x) - street.half_road + 0.3) < 0.07
        marks += 75 * (line & ~crossing[:, None])
    for start in street.crossings:
        stripe = (z > start - 3) & (z < start - 0.6) & (np.mod(x, 1.0) < 0.5) & (np.abs(x) < street.half_road)
        marks += 80 * stripe
    tracks = np.exp(-(((np.abs(offset - lane / 2) - 0.75) / 0.35) ** 2))
    marks -= 9 * tracks
    if style.weather == "rain":
        # Wet asphalt mirrors the sky at grazing angles.
        marks += 34 * (1 - near) * (0.6 + 0.4 * tracks)
    patch = (np.mod(z * 0.13 + np.floor(x / lane) * 0.37, 1) < 0.12) & (offset > 0.4) & (offset < lane * 0.8)
    marks -= 16 * patch
    manhole = (np.mod(z, 23) - 11) ** 2 + (offset - lane / 2) ** 2 < 0.12
    return np.asarray(marks - 26 * manhole * near, np.float32)


def _shadow(style: Style, street: Street, x: Float, z: Float, tile: Float) -> Float:
    if not style.sun:
        return np.full_like(x, 0.97)
    # Houses or trees along the street throw a ragged edge of shadow onto it.
    reach = lookup(tile, z * 1.5, np.full_like(z, 31)) * (2.2 if style.kind.gap < 0.5 else 1.0)
    edge = street.half_road * (0.35 if style.kind.gap < 0.5 else 0.95) + reach
    return np.where(x * style.sun > edge, 0.62, 1.0).astype(np.float32)
