"""Learning curves, class shares and embeddings of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tessera.reporting.compare import Comparison, Group
from tessera.reporting.costs import cost, form, points
from tessera.reporting.data import ReportData, RoundReport, RunReport
from tessera.reporting.markup import Markup, el
from tessera.reporting.numbers import published
from tessera.reporting.palette import colors
from tessera.reporting.svg import Bars, Level, Line, bar_chart, line_chart, scatter_chart


def learning_curve(comparison: Comparison, split: str, budget: str) -> Markup:
    """Chart mIoU of one split over one unit (``tessera.units``): one line per recipe, its seeds faint behind it."""
    inks = colors(comparison)
    lines = [line for group in comparison.groups if not group.reference and (line := _line(group, split, budget, inks))]
    levels = []
    for group in comparison.groups:
        who = f"{group.short}, " if len(comparison.groups) > 1 else ""
        values = list(group.values(split, "final").values())
        if group.reference and values:
            levels.append(Level(f"{who}whole pool:", inks[group.recipe], float(np.mean(values))))
        target = published(group.runs[0]).get(f"{split}_{comparison.quality.lower()}")
        if target is not None:
            levels.append(Level(f"{who}published:", inks[group.recipe], float(target)))
    name, write = cost(budget).title, form(budget)
    if budget == "percent":
        write = _percent
    ends = "; ".join(f"{line.name} ends at {line.y[-1]:.3f}" for line in lines)
    return line_chart(
        f"{split} {comparison.quality} over {name}",
        f"One line per recipe, mean over seeds; {ends}.",
        lines,
        levels,
        (name, f"{split} {comparison.quality}"),
        (write, _iou),
    )


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def _iou(value: float) -> str:
    return f"{value:.2f}" if abs(value * 100 - round(value * 100)) < 1e-9 else f"{value:.3f}"


def _line(group: Group, split: str, budget: str, inks: Mapping[str, int]) -> Line | None:
    curves = []
    for run in group.runs:
        measured = points(run, split, budget)
        if measured:
            curves.append((f"seed {run['seed']}", [x for x, _ in measured], [y for _, y in measured]))
    if not curves:
        return None
    # The mean is taken where every seed has been measured.
    rounds = min(len(x) for _, x, _ in curves)
    mean_x = np.mean([x[:rounds] for _, x, _ in curves], axis=0).tolist()
    mean_y = np.mean([y[:rounds] for _, _, y in curves], axis=0).tolist()
    return Line(group.short, inks[group.recipe], mean_x, mean_y, curves if len(curves) > 1 else ())


def class_shares(data: ReportData, comparison: Comparison) -> Markup | None:
    """Chart what each strategy chose, by class, against what random drawing found; None without class counts."""
    chosen: dict[str, NDArray[np.int64]] = {}
    drawn: NDArray[np.int64] | None = None
    for group in comparison.groups:
        if group.reference:
            continue
        for run in (run for run in data.runs if run.recipe == group.recipe):
            for one in (one for one in run.rounds if one.class_pixels is not None):
                counts = np.asarray(one.class_pixels, dtype=np.int64)
                if group.random or (one.round == 0 and _starts_at_random(run)):
                    drawn = counts if drawn is None else drawn + counts
                if one.round > 0:
                    chosen[group.recipe] = chosen.get(group.recipe, np.zeros_like(counts)) + counts
    if not chosen:
        return None
    inks, shorts = colors(comparison), {group.recipe: group.short for group in comparison.groups}
    shares = {recipe: counts / max(int(counts.sum()), 1) for recipe, counts in chosen.items()}
    reference = drawn / drawn.sum() if drawn is not None and drawn.sum() > 0 else None
    order = np.argsort(-(reference if reference is not None else next(iter(shares.values()))), kind="stable")
    names = class_names(data)
    rows = [
        Bars(
            names[index],
            _css(data.runs[0].class_colors, index),
            None if reference is None else float(reference[index]),
            [float(share[index]) for share in shares.values()],
        )
        for index in order.tolist()
    ]
    return bar_chart(
        "Classes of the chosen pixels",
        "Share of each class in the pixels that each strategy chose after the first round, with its ratio to the share "
        "in regions that were drawn at random.",
        rows,
        [(shorts[recipe], inks[recipe]) for recipe in shares],
    )


def class_names(data: ReportData) -> list[str]:
    """Return the class names of the data set, else their indices."""
    dataset = data.runs[0].summary.get("dataset")
    names = list(dataset.get("classes", ())) if isinstance(dataset, Mapping) else []
    need = max(
        [
            len(one.get(split, {}).get("iou") or ())
            for run in data.runs
            for one in run.measured
            for split in ("val", "test")
        ]
        + [len(one.class_pixels) for run in data.runs for one in run.rounds if one.class_pixels is not None],
        default=0,
    )
    return [*names, *[f"class {index}" for index in range(len(names), need)]]


def _css(palette: Sequence[tuple[int, int, int]], index: int) -> str | None:
    return "rgb({},{},{})".format(*palette[index]) if index < len(palette) else None


def _starts_at_random(run: RunReport) -> bool:
    axes: Mapping[str, Any] = run.summary.get("axes") or {}
    initial = axes.get("selection", {}).get("initial") or [{}]
    return str(initial[0].get("name", "")).startswith("random")


POINTS_SHOWN = 1500
"""Candidates drawn in one plane, evenly over the table; the chosen ones are drawn always."""


def embeddings(run: RunReport, limit: int = 8) -> list[Markup]:
    """Chart the candidates of each round in a plane, the chosen ones marked."""
    figures = []
    for one in run.rounds:
        if one.scatter is None or len(one.scatter.points) == 0 or one.scatter.points.shape[1] != 2:
            continue
        distance = _crowding(run, one.round)
        words = [part for part in (one.scatter.note, distance) if part]
        caption = el("figcaption", el("b", f"Round {one.round}"), "".join(f" · {part}" for part in words))
        figures.append(el("figure", _embedding(one), caption, class_="small"))
    return figures[:limit]


def _crowding(run: RunReport, round_: int) -> str:
    found = next((one.get("batch") or {} for one in run.measured if one["round"] == round_), {})
    ratio = (found.get("distance") or {}).get("ratio")
    return "" if ratio is None else f"distance ×{ratio:.2f} of random"


def _embedding(one: RoundReport) -> Markup:
    assert one.scatter is not None  # noqa: S101 - the caller checked
    points, ranks = np.asarray(one.scatter.points, dtype=float), np.asarray(one.scatter.ranks)
    others, before = _some(points[ranks == -1]), _some(points[ranks == -2])
    chosen = [(float(x), float(y), int(r)) for (x, y), r in zip(points[ranks >= 0], ranks[ranks >= 0], strict=True)]
    description = f"{int((ranks > -2).sum())} candidates in a plane, {len(chosen)} of them chosen."
    pool = _some(np.asarray(one.scatter.pool, dtype=float))
    return scatter_chart(f"Embedding of round {one.round}", description, others, chosen, before, pool)


def _some(points: NDArray[np.floating[Any]]) -> list[tuple[float, float]]:
    if len(points) > POINTS_SHOWN:
        points = points[np.linspace(0, len(points) - 1, POINTS_SHOWN).astype(np.int64)]
    return [(float(x), float(y)) for x, y in points]
