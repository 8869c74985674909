"""Style of a sequence: kind of street, weather, light and palette.

Palettes overlap on purpose. Overcast sky, asphalt, paving and concrete are the same grays, paint and cloth share one
list of colours, so a pixel's colour alone does not tell its class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]

# Shared by paint, cloth, plates and shop fronts.
SHARED_COLOURS: tuple[Colour, ...] = (
    (200, 200, 198), (60, 62, 66), (120, 124, 128), (150, 40, 38), (40, 70, 130), (52, 92, 60), (196, 160, 60),
    (96, 74, 58), (226, 226, 222), (30, 32, 36), (160, 120, 96), (90, 120, 150), (180, 90, 50), (110, 60, 90),
)  # fmt: skip
_SIGNAL: tuple[Colour, ...] = ((222, 226, 60), (240, 130, 30), (214, 40, 40), (30, 90, 200))
FACADES: tuple[Colour, ...] = (
    (150, 120, 100), (170, 164, 154), (128, 128, 130), (140, 84, 68), (188, 176, 146), (112, 122, 110), (100, 104, 114),
    (200, 192, 184), (120, 96, 80), (156, 150, 120),
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """Densities of a kind of street, in objects per 100 m of one side unless said otherwise."""

    name: str
    half_road: tuple[float, float]  # metres
    sidewalk: tuple[float, float]  # metres, 0 for a grass verge
    setback: tuple[float, float]  # metres from the sidewalk to the facades
    floors: tuple[int, int]
    gap: float  # chance that a plot is empty
    trees: float
    poles: float
    signs: float
    parked: float
    moving: float  # cars in traffic, both directions
    people: float
    cyclists: float
    fence: float  # chance that a plot has a fence or a hedge
    crossings: float  # per 100 m


KINDS = {
    "highway": Kind("highway", (4.6, 6), (0, 0), (11, 18), (1, 2), 0.8, 6, 2.4, 1.8, 0, 5, 0, 0, 0.6, 0),
    "suburb": Kind("suburb", (2.8, 3.6), (1.8, 2.8), (2, 6), (1, 3), 0.25, 5, 2, 1.5, 3, 1.5, 1.5, 0.5, 0.6, 0.6),
    "park": Kind("park", (2.8, 3.8), (2, 3.4), (8, 14), (1, 3), 0.8, 11, 1.6, 1.2, 2.5, 1.5, 6, 3, 0.5, 0.3),
    "downtown": Kind("downtown", (3.6, 5), (2.8, 4.4), (0, 1), (4, 9), 0.08, 1.6, 4, 8, 5, 3, 34, 10, 0.12, 1.4),
}

# Most frames that a car films are dull, and so are training pools; val and test have every kind.
TRAIN_KINDS = ("suburb", "highway", "park", "suburb", "highway", "downtown")
MEASURE_KINDS = ("downtown", "suburb", "park", "highway")


@dataclass(frozen=True)
class Style:
    """Everything about a sequence that is not an object."""

    kind: Kind
    weather: str
    sky_top: Colour
    sky_low: Colour
    haze: Colour
    haze_density: float  # per metre
    gain: float
    tint: Colour
    sun: float  # -1 left, 1 right, 0 none
    clouds: float
    road: Colour
    paving: Colour
    grass: Colour
    leaves: Colour
    tile: float  # paving tile side in metres
    plaza: bool  # paved up to the facades
    noise: float  # sensor noise, gray levels
    blur: float  # lens blur, pixels at 144 lines


WEATHERS = ("clear", "overcast", "clear", "dusk", "rain", "fog")
_WEATHER = {
    # top, low, haze colour, density, gain, tint, clouds
    "clear": ((70, 120, 190), (176, 202, 224), (190, 204, 216), 0.003, 1.05, (1.02, 1.0, 0.97), 0.35),
    "overcast": ((150, 154, 160), (186, 188, 190), (180, 182, 184), 0.006, 0.88, (0.98, 1.0, 1.02), 0.25),
    "dusk": ((70, 76, 120), (214, 150, 110), (170, 130, 116), 0.007, 0.76, (1.12, 0.96, 0.84), 0.5),
    "fog": ((176, 178, 178), (190, 190, 188), (188, 188, 186), 0.022, 0.92, (1.0, 1.0, 1.0), 0.05),
    "rain": ((106, 112, 120), (150, 154, 158), (146, 150, 156), 0.010, 0.84, (0.94, 1.0, 1.06), 0.4),
}


def weather_of(seed: int, split: int, number: int) -> str:
    """Return the weather of a sequence; the kinds take turns, so that a small split does not have only rain."""
    deck = np.random.default_rng([seed, split, 1 << 20]).permutation(WEATHERS)
    # Shifted by one in each cycle, so that two streets of a kind have different weather.
    return str(deck[(number + number // len(WEATHERS)) % len(WEATHERS)])


def invent_style(rng: np.random.Generator, split: str, number: int, weather: str) -> Style:
    """Choose the look of a sequence; the kind follows from its number, so that no split lacks one by chance."""
    kinds = TRAIN_KINDS if split == "train" else MEASURE_KINDS
    top, low, haze, density, gain, tint, clouds = _WEATHER[weather]
    gray = rng.uniform(78, 128)
    # Paving is darker than the road about as often as it is lighter.
    pave = gray + rng.uniform(12, 45) * (1 if rng.random() < 0.6 else -0.7)
    warm = rng.uniform(-4, 10)
    return Style(
        kind=KINDS[kinds[number % len(kinds)]],
        weather=weather,
        sky_top=_vary(rng, top, 12),
        sky_low=_vary(rng, low, 10),
        haze=haze,
        haze_density=density * rng.uniform(0.7, 1.3),
        gain=gain * rng.uniform(0.9, 1.1),
        tint=tint,
        sun=0.0 if weather in ("overcast", "fog", "rain") else float(rng.choice((-1.0, 1.0))),
        clouds=clouds,
        road=(gray, gray, gray + rng.uniform(-2, 5)),
        paving=(pave + warm, pave, pave - warm),
        grass=_vary(rng, (96, 108, 60), 16),
        leaves=_vary(rng, (74, 98, 46) if rng.random() < 0.75 else (150, 104, 48), 14),
        tile=float(rng.choice((0.4, 0.6, 1.0, 1.5))),
        plaza=bool(rng.random() < 0.5) or kinds[number % len(kinds)] == "downtown",
        noise=rng.uniform(1.5, 3.5) / (gain**0.5),
        blur=rng.uniform(0.3, 0.6),
    )


def shared_colour(rng: np.random.Generator, spread: float = 14) -> Colour:
    """Return one of the colours that cars, clothes, signs and shop fronts have in common, a little varied."""
    return _vary(rng, SHARED_COLOURS[int(rng.integers(len(SHARED_COLOURS)))], spread)


def signal_colour(rng: np.random.Generator) -> Colour:
    """Return a colour made to be seen: most plates and most cyclists' jackets, but shop fronts and cars have it too."""
    if rng.random() < 0.25:
        return shared_colour(rng)
    return _vary(rng, _SIGNAL[int(rng.integers(len(_SIGNAL)))], 14)


def facade_colour(rng: np.random.Generator) -> Colour:
    """Return a wall colour."""
    return _vary(rng, FACADES[int(rng.integers(len(FACADES)))], 14)


def _vary(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    shift = rng.uniform(-spread, spread)
    red, green, blue = (float(np.clip(c + shift + rng.uniform(-spread, spread) / 3, 4, 250)) for c in colour)
    return red, green, blue
