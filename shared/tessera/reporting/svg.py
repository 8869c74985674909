"""Charts as inline SVG: they follow the page's colours, need no script, and every mark says its value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tessera.reporting.markup import Markup, el
from tessera.reporting.numbers import nice_ticks

COLORS = 6
"""Series colours in the page's style sheet: --s0 (the neutral baseline) to --s6."""

MARKERS = 4
_DIAMOND = ((1.3, 1.3), (-1.3, 1.3), (-1.3, -1.3))
DASHES = ("5 4", "", "9 4", "2 4")


@dataclass(frozen=True)
class Scale:
    """A linear map from data [low, high] to pixels [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Map a value."""
        width = self.high - self.low
        return self.start + (self.end - self.start) * ((value - self.low) / width if width else 0.5)


@dataclass(frozen=True)
class Line:
    """One series of a line chart: the mean over seeds with the seeds behind it."""

    name: str
    color: int
    x: Sequence[float]
    y: Sequence[float]
    seeds: Sequence[tuple[str, Sequence[float], Sequence[float]]] = ()


@dataclass(frozen=True)
class Level:
    """A horizontal line to compare with."""

    name: str
    color: int
    y: float


def ink(color: int) -> str:
    """Return the CSS colour of a series; 0 is the neutral baseline."""
    return f"var(--s{color if color == 0 else (color - 1) % COLORS + 1})"


def marker(shape: int, x: float, y: float, size: float, color: str, title: str | None = None) -> Markup:
    """Draw a circle, square, triangle or diamond, so that series differ by more than colour."""
    r = size
    label = el("title", title) if title else None
    paths = (
        f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z",
        f"M{x - r * 0.9:.1f} {y - r * 0.9:.1f}h{1.8 * r:.1f}v{1.8 * r:.1f}h{-1.8 * r:.1f}Z",
        f"M{x:.1f} {y - 1.15 * r:.1f}l{1.1 * r:.1f} {2 * r:.1f}h{-2.2 * r:.1f}Z",
        f"M{x:.1f} {y - 1.3 * r:.1f}" + "".join(f"l{a * r:.1f} {b * r:.1f}" for a, b in _DIAMOND) + "Z",
    )
    return el("path", label, d=paths[shape % MARKERS], fill=color, class_="mark")


def line_chart(
    title: str,
    description: str,
    lines: Sequence[Line],
    levels: Sequence[Level],
    axes: tuple[str, str],
    formats: tuple[Callable[[float], str], Callable[[float], str]],
    size: tuple[int, int] = (560, 340),
) -> Markup:
    """Draw lines with markers, the seeds faint behind them, and labels at the right-hand ends."""
    width, height = size
    xs = [x for line in lines for x in line.x]
    ys = [y for line in lines for _, _, values in line.seeds for y in values]
    ys += [y for line in lines for y in line.y] + [level.y for level in levels]
    x = _scale(min(xs, default=0.0), max(xs, default=1.0), 0.0, 56, width - (100 if len(lines) > 1 else 16))
    y = _scale(min(ys, default=0.0), max(ys, default=1.0), 0.06, height - 44, 14)
    parts = [el("title", title), el("desc", description), *_frame(x, y, axes, formats)]
    for level in levels:
        at = y(level.y)
        parts.append(el("line", x1=x.start, x2=x.end, y1=at, y2=at, stroke=ink(level.color), class_="level"))
        text = f"{level.name} {formats[1](level.y)}"
        parts.append(el("text", text, x=x.start + 6, y=at - 5, class_="tick", style=f"fill:{ink(level.color)}"))
    for line in lines:
        for label, seed_x, seed_y in line.seeds:
            points = _points(seed_x, seed_y, x, y)
            parts.append(el("polyline", el("title", label), points=points, stroke=ink(line.color), class_="seed"))
    for line in lines:
        dash = DASHES[line.color % len(DASHES)] or None
        points = _points(line.x, line.y, x, y)
        parts.append(el("polyline", points=points, stroke=ink(line.color), stroke_dasharray=dash, class_="line"))
        for a, b in zip(line.x, line.y, strict=True):
            text = f"{line.name}: {formats[1](b)} at {formats[0](a)}"
            parts.append(marker(line.color, x(a), y(b), 4, ink(line.color), text))
    # A single line needs no name: the legend has it.
    named = lines if len(lines) > 1 else ()
    parts += _end_labels([(line, y(line.y[-1])) for line in named if len(line.y)], x.end + 9, (14, height - 44))
    return el("svg", parts, viewBox=f"0 0 {width} {height}", role="img", class_="chart")


def scatter_chart(
    title: str,
    description: str,
    others: Sequence[tuple[float, float]],
    chosen: Sequence[tuple[float, float, int]],
    before: Sequence[tuple[float, float]] = (),
    pool: Sequence[tuple[float, float]] = (),
) -> Markup:
    """Draw points of a plane over the faint pool; the chosen (x, y, rank from 0) stand out, earlier ones are rings."""
    size = 240
    everything = [*others, *before, *pool, *[(a, b) for a, b, _ in chosen]]
    low_x, high_x = min(a for a, _ in everything), max(a for a, _ in everything)
    low_y, high_y = min(b for _, b in everything), max(b for _, b in everything)
    x, y = Scale(low_x, high_x, 10, size - 10), Scale(low_y, high_y, size - 10, 10)
    parts = [el("title", title), el("desc", description)]
    parts += [el("circle", cx=x(a), cy=y(b), r=1.2, class_="pool") for a, b in pool]
    parts += [el("circle", cx=x(a), cy=y(b), r=2, class_="other") for a, b in others]
    parts += [el("circle", cx=x(a), cy=y(b), r=2.6, class_="before") for a, b in before]
    parts += [marker(3, x(a), y(b), 3, "var(--s1)", f"chosen, rank {rank + 1}") for a, b, rank in chosen]
    return el("svg", parts, viewBox=f"0 0 {size} {size}", role="img", class_="chart scatter")


@dataclass(frozen=True)
class Bars:
    """One row of a bar chart: a class, its reference share, and one share per series (fractions)."""

    name: str
    color: str | None
    reference: float | None
    values: Sequence[float | None]


def bar_chart(title: str, description: str, rows: Sequence[Bars], series: Sequence[tuple[str, int]]) -> Markup:
    """Draw grouped horizontal bars with the reference as a tick, and the ratio to it in figures."""
    thick, gap, left, right, width = 11, 12, 130, 116, 720
    row_height = thick * len(series) + gap
    height = row_height * len(rows) + 40
    top = max([v for row in rows for v in (*row.values, row.reference) if v is not None], default=1.0) or 1.0
    x = Scale(0.0, top * 1.02, left, width - right)
    parts = [el("title", title), el("desc", description)]
    for tick in nice_ticks(0.0, x.high, 6):
        parts.append(el("line", x1=x(tick), x2=x(tick), y1=8, y2=height - 30, class_="grid"))
        parts.append(el("text", f"{100 * tick:g} %", x=x(tick), y=height - 14, class_="tick", text_anchor="middle"))
    for index, row in enumerate(rows):
        y = 10 + index * row_height
        middle = y + thick * len(series) / 2
        if row.color:
            parts.append(el("rect", x=6, y=middle - 5, width=10, height=10, rx=2, fill=row.color, class_="swatch"))
        parts.append(el("text", row.name, x=22, y=middle + 4, class_="name"))
        for place, ((name, color), value) in enumerate(zip(series, row.values, strict=True)):
            parts += _bar(x, y + place * thick, thick, name, color, value, row)
        if row.reference is not None:
            at = x(row.reference)
            tip = el("title", f"{row.name}: {100 * row.reference:.2f} % of a random draw")
            end = y + thick * len(series) + 1
            parts.append(el("line", tip, x1=at, x2=at, y1=y - 3, y2=end, class_="reference"))
    return el("svg", parts, viewBox=f"0 0 {width} {height}", role="img", class_="chart bars")


def _bar(x: Scale, y: float, thick: int, name: str, color: int, value: float | None, row: Bars) -> list[Markup]:
    if value is None:
        return []
    tip = el("title", f"{row.name}, {name}: {100 * value:.2f} %")
    length = max(x(value) - x.start, 1.0)
    # The random arm is the reference itself.
    ratio = f" · ×{value / row.reference:.2f}" if row.reference and color else ""
    figures = f"{100 * value:.1f} %{ratio}"
    # Past the end of the bar and of the reference tick, whichever is longer.
    beyond = max(x(value), x(row.reference) if row.reference is not None else 0.0) + 6
    return [
        el("rect", tip, x=x.start, y=y, width=length, height=thick - 2, rx=1.5, fill=ink(color)),
        el("text", figures, x=beyond, y=y + thick - 2.5, class_="figure"),
    ]


def _scale(low: float, high: float, margin: float, start: float, end: float) -> Scale:
    room = (high - low) * margin or (0.0 if margin == 0 and high > low else 0.02)
    return Scale(low - room, high + room, start, end)


def _frame(
    x: Scale, y: Scale, axes: tuple[str, str], formats: tuple[Callable[[float], str], Callable[[float], str]]
) -> list[Markup]:
    parts = []
    for tick in nice_ticks(y.low, y.high, 5):
        parts.append(el("line", x1=x.start, x2=x.end, y1=y(tick), y2=y(tick), class_="grid"))
        label = formats[1](tick)
        parts.append(el("text", label, x=x.start - 8, y=y(tick) + 4, class_="tick", text_anchor="end"))
    for tick in nice_ticks(x.low, x.high, 6):
        parts.append(el("line", x1=x(tick), x2=x(tick), y1=y.start, y2=y.start + 4, class_="axis"))
        label = formats[0](tick)
        parts.append(el("text", label, x=x(tick), y=y.start + 17, class_="tick", text_anchor="middle"))
    parts.append(el("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis"))
    middle = (x.start + x.end) / 2
    parts.append(el("text", axes[0], x=middle, y=y.start + 36, class_="label", text_anchor="middle"))
    parts.append(
        el("text", axes[1], x=10, y=(y.start + y.end) / 2, class_="label", text_anchor="middle",
           transform=f"rotate(-90 10 {(y.start + y.end) / 2:.1f})")
    )  # fmt: skip
    return parts


def _points(xs: Sequence[float], ys: Sequence[float], x: Scale, y: Scale) -> str:
    return " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(xs, ys, strict=True))


def _end_labels(ends: list[tuple[Line, float]], x: float, room: tuple[float, float]) -> list[Markup]:
    """Name the lines at their ends, pushed apart so that no two names overlap."""
    step = 15.0
    placed: list[float] = []
    ordered = sorted(ends, key=lambda end: end[1])
    for _, at in ordered:
        placed.append(max(at, placed[-1] + step if placed else room[0]))
    overflow = max(placed[-1] - room[1], 0.0) if placed else 0.0
    return [
        el("text", _clip(line.name, 15), x=x, y=at - overflow + 4, class_="end", style=f"fill:{ink(line.color)}")
        for (line, _), at in zip(ordered, placed, strict=True)
    ]


def _clip(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
