"""Layout of the street of one sequence, in metres.

World axes: x to the right from the middle of the road, z forward, heights up from the ground.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tessera.datasets.street.params import FRAME_RATE
from tessera.datasets.street.style import Colour, Kind, Style, facade_colour, shared_colour, signal_colour

# Objects beyond this are not drawn; the backdrop replaces them.
VIEW = 130.0


@dataclass(frozen=True)
class Wall:
    """A facade, fence or hedge: a vertical plane at ``x`` from ``z0`` to ``z1``, with an end face ``depth`` deep."""

    what: str  # building, fence, rail, hedge
    x: float
    z0: float
    z1: float
    height: float
    depth: float
    colour: Colour
    bay: float
    floor: float
    window: float  # share of a bay that is window
    shop: Colour | None
    phase: float


@dataclass(frozen=True)
class Thing:
    """A sprite at (x, z) at time 0 moving at (vx, vz) m/s; ``height`` in metres, ``base`` metres above ground."""

    what: str
    x: float
    z: float
    height: float
    colour: Colour
    seed: int
    base: float = 0.0
    vx: float = 0.0
    vz: float = 0.0


@dataclass(frozen=True)
class Street:
    """Everything in one sequence."""

    half_road: float
    sidewalk: float
    lanes: int
    camera_x: float
    camera_height: float
    speed: float
    yaw: float
    walls: tuple[Wall, ...]
    things: tuple[Thing, ...]
    crossings: tuple[float, ...]  # z where a side street starts
    markings: bool
    backdrop: float  # seed of the skyline
    hood: float


CROSSING_WIDTH = 9.0


def invent_street(rng: np.random.Generator, style: Style, frames: int) -> Street:
    """Lay out a street long enough for ``frames`` frames."""
    kind = style.kind
    half = rng.uniform(*kind.half_road)
    sidewalk = rng.uniform(*kind.sidewalk)
    speed = {"highway": 11.0, "downtown": 3.0}.get(kind.name, 5.0) * rng.uniform(0.7, 1.2)
    length = speed * frames / FRAME_RATE + VIEW + 20
    crossings = tuple(sorted(rng.uniform(15, length, rng.poisson(kind.crossings * length / 100))))
    walls = [wall for side in (-1, 1) for wall in _plots(rng, style, side, half + sidewalk, length, crossings)]
    things = [thing for side in (-1, 1) for thing in _side(rng, style, side, half, sidewalk, length)]
    things += _traffic(rng, kind, half, length, speed)
    things += _in_view(rng, kind, half, speed)
    kept = [thing for thing in things if thing.vz or not _in_crossing(thing.z, crossings)]
    return Street(
        half_road=half,
        sidewalk=sidewalk,
        lanes=max(2, round(2 * half / 3.4)),
        camera_x=half * (rng.uniform(0.14, 0.3) if kind.parked else rng.uniform(0.3, 0.5)),
        camera_height=rng.uniform(1.35, 1.8),
        speed=speed,
        yaw=rng.uniform(-0.06, 0.06),
        walls=tuple(walls),
        things=tuple(kept),
        crossings=crossings,
        markings=bool(rng.random() < 0.8),
        backdrop=rng.uniform(0, 1000),
        hood=rng.uniform(0.03, 0.07),
    )


def _in_crossing(z: float, crossings: tuple[float, ...]) -> bool:
    return any(start - 1 < z < start + CROSSING_WIDTH + 1 for start in crossings)


def _plots(
    rng: np.random.Generator, style: Style, side: int, edge: float, length: float, crossings: tuple[float, ...]
) -> Iterator[Wall]:
    kind = style.kind
    z = rng.uniform(-15, 0)
    while z < length:
        deep = rng.uniform(8, 18) if kind.name != "downtown" else rng.uniform(9, 24)
        end = z + deep
        if not any(z - 1 < start + CROSSING_WIDTH and start < end + 1 for start in crossings):
            yield from _plot(rng, kind, side, edge, z, end)
        z = end + (0.0 if kind.name == "downtown" else rng.uniform(1, 6))


def _plot(rng: np.random.Generator, kind: Kind, side: int, edge: float, z0: float, z1: float) -> Iterator[Wall]:
    if rng.random() > kind.gap:
        floor = rng.uniform(2.8, 3.6)
        yield Wall(
            "building", side * (edge + rng.uniform(*kind.setback)), z0, z1,
            floor * int(rng.integers(kind.floors[0], kind.floors[1] + 1)) + rng.uniform(0.3, 1.4), rng.uniform(7, 14),
            facade_colour(rng), rng.uniform(1.8, 4.0), floor, rng.uniform(0.3, 0.75),
            signal_colour(rng) if rng.random() < (0.7 if kind.name == "downtown" else 0.1) else None, rng.uniform(0, 9),
        )  # fmt: skip
    if rng.random() < kind.fence:
        what = "rail" if kind.name == "highway" else ("fence", "hedge")[int(rng.random() < 0.35)]
        height = {"rail": 0.9, "fence": rng.uniform(1.0, 1.9), "hedge": rng.uniform(0.9, 2.0)}[what]
        colour = shared_colour(rng) if what == "fence" else (168.0, 170.0, 172.0)
        yield Wall(
            what, side * (edge + rng.uniform(0.3, 0.8)), z0, z1, height, 0.0, colour,
            rng.uniform(0.12, 0.35), 1.0, 0.5, None, rng.uniform(0, 9),
        )  # fmt: skip


def _spots(rng: np.random.Generator, per_100_m: float, length: float) -> list[float]:
    return [float(z) for z in rng.uniform(3, length, rng.poisson(per_100_m * length / 100))]


def _side(
    rng: np.random.Generator, style: Style, side: int, half: float, sidewalk: float, length: float
) -> Iterator[Thing]:
    kind = style.kind

    def thing(what: str, x: float, z: float, height: float, colour: Colour, **more: float) -> Thing:
        return Thing(what, side * x, z, height, colour, int(rng.integers(1 << 30)), **more)

    edge = half + sidewalk
    for z in _spots(rng, kind.trees, length):
        street_tree = sidewalk > 1.5 and rng.random() < 0.35
        x = half + 0.7 if street_tree else edge + rng.uniform(1.2, 9)
        yield thing("tree", x, z, rng.uniform(3.5, 8.5), style.leaves)
    metal = shared_colour(rng) if rng.random() < 0.5 else (110.0, 112.0, 112.0)
    step = 100 / max(kind.poles, 0.1)
    for z in np.arange(rng.uniform(2, step), length, step):
        yield thing("lamp", half + 0.5, float(z), rng.uniform(5, 7), metal)
    for z in _spots(rng, kind.signs, length):
        base = rng.uniform(1.7, 2.6)
        yield thing("post", half + 0.45, z, base + 0.6, (130.0, 130.0, 128.0))
        yield thing("sign", half + 0.45, z - 0.05, rng.uniform(0.9, 1.4), signal_colour(rng), base=base)
    for z in _spots(rng, kind.parked, length):
        yield thing("car", half - 0.7, z, rng.uniform(1.4, 2.0), shared_colour(rng))
    # People come in groups, so most patches have none and a few have many.
    for z in _spots(rng, kind.people / 2.5, length):
        for _ in range(1 + rng.poisson(1.5)):
            walk = rng.uniform(0.7, 1.5) * rng.choice((-1, 1))
            x = half + 0.4 + rng.uniform(0, max(sidewalk - 0.6, 0.8))
            yield thing("person", x, z + rng.normal(0, 1.2), rng.uniform(1.45, 1.9), shared_colour(rng), vz=walk)
    for z in _spots(rng, kind.people / 12, length):
        cross = -rng.uniform(0.6, 1.4)
        yield thing("person", half + 0.5, z, rng.uniform(1.5, 1.9), shared_colour(rng), vx=side * cross, vz=1e-3)


def _in_view(rng: np.random.Generator, kind: Kind, half: float, speed: float) -> list[Thing]:
    """Return the objects that a busy street shows from its first frame, so that no split lacks a rare class."""
    if kind.cyclists < 1:
        return []
    ride = Thing(
        "cyclist", half - rng.uniform(0.6, 1.2), rng.uniform(9, 13), rng.uniform(1.75, 2.0), signal_colour(rng),
        int(rng.integers(1 << 30)), vz=speed * rng.uniform(0.9, 1.1),
    )  # fmt: skip
    side = float(rng.choice((-1, 1)))
    group = [
        Thing(
            "person", side * (half + 0.5 + 0.6 * at), rng.uniform(10, 15), rng.uniform(1.6, 1.95), shared_colour(rng),
            int(rng.integers(1 << 30)), vz=rng.uniform(0.7, 1.5),
        )
        for at in range(3)
    ]  # fmt: skip
    return [ride, *group]


def _traffic(rng: np.random.Generator, kind: Kind, half: float, length: float, speed: float) -> list[Thing]:
    things = []
    for z in _spots(rng, kind.moving, length):
        # Nobody ahead is slower than the camera, which would drive through them.
        same = rng.random() < 0.6
        velocity = speed * rng.uniform(1.0, 1.3) if same else -speed * rng.uniform(0.7, 1.2)
        x = (half * rng.uniform(0.3, 0.6)) * (1 if same else -1)
        height = rng.uniform(1.4, 1.9) if rng.random() < 0.8 else rng.uniform(2.3, 3.2)
        things.append(
            Thing("car", x, z + 7, height, shared_colour(rng), int(rng.integers(1 << 30)), vz=float(velocity))
        )
    for z in _spots(rng, kind.cyclists, length):
        side = rng.choice((-1, 1))
        velocity = rng.uniform(1.0, 1.25) * speed if side > 0 else -rng.uniform(2.5, 5)
        x = side * (half - (2.0 if kind.parked else 0.7))
        things.append(
            Thing(
                "cyclist", x, z + 3, rng.uniform(1.75, 2.0), signal_colour(rng), int(rng.integers(1 << 30)), vz=velocity
            )
        )
    return things
