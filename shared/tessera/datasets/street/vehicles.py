"""Cars, poles and contact shadows: solids drawn by projecting their corners."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from tessera.datasets.street.canvas import NEAR, Camera, Canvas, UInt8
from tessera.datasets.street.layout import Thing
from tessera.datasets.street.params import CAR, POLE
from tessera.datasets.street.style import Colour, Style

# Sub-pixel corners for cv2, in 1/16 pixels.
_SHIFT = 4
_BOTTOM = 0.28
_CIRCLE = [(float(np.cos(a)), float(np.sin(a))) for a in np.linspace(0, 2 * np.pi, 12, endpoint=False)]

Points = list[tuple[float, float]]


def _corners(points: Points) -> npt.NDArray[np.int32]:
    scaled = np.array(points) * (1 << _SHIFT)
    return np.asarray(np.rint(np.minimum(np.maximum(scaled, -(1 << 20)), 1 << 20)), np.int32)


def _fill(canvas: Canvas, points: Points, colour: Colour, label: int | None = None, depth: float = 0.0) -> None:
    """Fill a polygon; with a ``label`` it also takes the pixels' class and distance."""
    corners = [_corners(points)]
    cv2.fillPoly(canvas.rgb, corners, colour, cv2.LINE_AA, _SHIFT)
    if label is not None:
        cv2.fillPoly(canvas.labels, corners, label, cv2.LINE_8, _SHIFT)
        cv2.fillPoly(canvas.depth, corners, depth, cv2.LINE_8, _SHIFT)


def _scaled(colour: Colour, by: float) -> Colour:
    red, green, blue = (min(255.0, c * by) for c in colour)
    return red, green, blue


def paint_shadow(
    canvas: Canvas, camera: Camera, style: Style, x: float, depth: float, half: float, deep: float
) -> None:
    """Darken an ellipse of ground (``half`` wide, ``deep`` long to each side, in metres) under an object."""
    u, v = camera.project(x, 0, depth)
    a = half * camera.focal / depth
    if a < 1.5:
        return
    b = max(1.0, camera.height * camera.focal * (1 / max(depth - deep, NEAR) - 1 / (depth + deep)) / 2)
    top, bottom = max(0, int(v - b)), min(canvas.labels.shape[0], int(v + b) + 1)
    left, right = max(0, int(u - a)), min(camera.width, int(u + a) + 1)
    if top >= bottom or left >= right:
        return
    rows = (np.arange(top, bottom, dtype=np.float32)[:, None] - v) / b
    columns = (np.arange(left, right, dtype=np.float32) - u) / a
    strength = 0.55 if style.sun else 0.35
    factor = 1 - strength * np.minimum(np.maximum(1.2 - rows * rows - columns * columns, 0), 1)
    canvas.rgb[top:bottom, left:right] = canvas.rgb[top:bottom, left:right] * factor[..., None]


@dataclass(frozen=True)
class _Shape:
    """Measures of a car in metres and the colour of its glass."""

    length: float
    half: float
    belt: float
    roof: float
    glass: Colour
    van: bool


def paint_car(canvas: Canvas, camera: Camera, style: Style, car: Thing, x: float, depth: float) -> None:
    """Paint a car, van or lorry: its visible side, its near end, glass, lights and wheels."""
    rng = np.random.default_rng([car.seed, 5])
    length, half = (rng.uniform(3.8, 4.8), 0.88) if car.height < 2.2 else (rng.uniform(5, 7), 1.05)
    if depth + length / 2 <= NEAR * 2:
        return
    glass = _scaled(style.sky_low, 0.42) if rng.random() < 0.5 else (40.0, 44.0, 50.0)
    shape = _Shape(length, half, car.height * 0.56, car.height, glass, car.height > 1.75)
    paint_shadow(canvas, camera, style, x, max(depth, NEAR * 2), half * 1.25, length * 0.55)
    # Details of a few pixels are not worth their time.
    detailed = car.height * camera.focal / depth > 7
    if abs(x - camera.x) > half:
        _paint_side(canvas, camera, style, car, shape, x, depth, detailed)
    if depth - length / 2 > NEAR:
        _paint_end(canvas, camera, car, shape, x, depth - length / 2, detailed)


def _paint_side(
    canvas: Canvas, camera: Camera, style: Style, car: Thing, shape: _Shape, x: float, depth: float, detailed: bool
) -> None:
    inner = float(x - np.sign(x - camera.x) * shape.half)
    light = 0.72 if style.sun * (x - camera.x) > 0 else 1.0
    # Where along the car the cabin starts and ends: at the belt and at the roof.
    low0, low1, high0, high1 = (0.02, 0.98, 0.04, 0.96) if shape.van else (0.06, 0.78, 0.2, 0.62)

    def at(points: Points) -> Points:
        rear = depth - shape.length / 2
        return [camera.project(inner, y, max(rear + t * shape.length, NEAR)) for t, y in points]

    belt, roof = shape.belt, shape.roof
    body = [(0, _BOTTOM), (1, _BOTTOM), (1, belt * 0.9), (low1, belt), (high1, roof), (high0, roof), (low0, belt)]
    _fill(canvas, at([*body, (0, belt)]), _scaled(car.colour, light * 0.86), CAR, depth)
    for t in (0.2, 0.8):
        _fill(canvas, at([(t + 0.085 * a, 0.32 + 0.32 * b) for a, b in _CIRCLE]), (26, 26, 28), CAR, depth)
    if detailed:
        top = roof * 0.95
        panes = [(low0 + 0.06, belt), (low1 - 0.06, belt), (high1 - 0.03, top), (high0 + 0.02, top)]
        _fill(canvas, at(panes), shape.glass)
        _fill(canvas, at([(0.46, belt), (0.5, belt), (0.49, top), (0.46, top)]), _scaled(car.colour, light))


def _paint_end(
    canvas: Canvas, camera: Camera, car: Thing, shape: _Shape, x: float, near: float, detailed: bool
) -> None:
    def at(points: Points) -> Points:
        return [camera.project(x + s * shape.half, y, near) for s, y in points]

    def bar(left: float, right: float, low: float, high: float) -> Points:
        return at([(left, low), (right, low), (right, high), (left, high)])

    belt, roof = shape.belt, shape.roof
    top = 0.96 if shape.van else 0.76
    for s in (-0.8, 0.8):
        _fill(canvas, bar(s - 0.13, s + 0.13, 0, 0.35), (24, 24, 26), CAR, near)
    upper = [(1, belt), (top, roof * 0.97), (top - 0.1, roof), (0.1 - top, roof), (-top, roof * 0.97), (-1, belt)]
    _fill(canvas, at([(-1, _BOTTOM), (1, _BOTTOM), *upper]), car.colour, CAR, near)
    pane, edge = top * 0.95, top * 0.82
    _fill(
        canvas, at([(-pane, belt * 1.04), (pane, belt * 1.04), (edge, roof * 0.94), (-edge, roof * 0.94)]), shape.glass
    )
    if detailed:
        _fill(canvas, bar(-1, 1, _BOTTOM, _BOTTOM + 0.3), _scaled(car.colour, 0.6))
        # We see the tail of those ahead and the face of those coming.
        lamp = (200.0, 30.0, 28.0) if car.vz >= 0 else (244.0, 240.0, 214.0)
        for s in (-0.82, 0.82):
            _fill(canvas, bar(s - 0.14, s + 0.14, belt * 0.72, belt * 0.92), lamp)
        _fill(canvas, bar(-0.24, 0.24, _BOTTOM + 0.16, _BOTTOM + 0.3), (222, 222, 200))


def paint_pole(canvas: Canvas, camera: Camera, thing: Thing, x: float, depth: float) -> None:
    """Paint a lamp post with its arm over the road, or the post of a sign."""
    half = 0.12 if thing.what == "lamp" else 0.06
    # Thinner than a pixel would leave gaps in the labels.
    half = max(half, 0.75 * depth / camera.focal)
    box = [
        camera.project(x + dx, y, depth)
        for dx, y in ((-half, 0), (half, 0), (half * 0.8, thing.height), (-half * 0.8, thing.height))
    ]
    shapes = [box]
    if thing.what == "lamp":
        inward = -np.sign(x)
        shapes.append([
            camera.project(float(x + inward * dx), thing.height + y, depth)
            for dx, y in ((0, 0), (1.5, 0.25), (1.5, 0.08), (0, -0.2))
        ])  # fmt: skip
    for shape in shapes:
        _fill(canvas, shape, thing.colour, POLE, depth)
    u, top = box[3]
    lit: UInt8 = canvas.rgb
    if half * camera.focal / depth > 1.5:
        # A highlight down one edge makes a near post round.
        cv2.line(
            lit,
            (round(u + 1), max(round(top), 0)),
            (round(box[0][0] + 1), round(box[0][1])),
            _scaled(thing.colour, 1.3),
            1,
        )
