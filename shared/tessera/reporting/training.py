"""How each round's training went: its speed, and the parts of its losses over the epochs."""

from __future__ import annotations

from collections.abc import Sequence

from tessera.reporting.data import ReportData, RoundReport
from tessera.reporting.markup import Markup, el
from tessera.reporting.numbers import ABSENT
from tessera.reporting.svg import Line, line_chart
from tessera.reporting.tables import table

_POINTS = 40
_SIZE = (360, 220)


def losses(report: ReportData) -> Markup | None:
    """One small chart a round and run: a line for each part that the training logged; None where none did."""
    charts = [
        el("figure", el("figcaption", _caption(report, name, one)), _chart(one), class_="card")
        for run in report.runs
        for name, one in ((f"{run.recipe}, seed {run.seed}, ", entry) for entry in run.rounds)
        if one.losses
    ]
    return el("div", charts, class_="pair") if charts else None


def speeds(report: ReportData) -> Markup | None:
    """Tabulate each round's training: epochs, the highest learning rate and the last, images a second, seconds."""
    rows = []
    for run in report.runs:
        measured = {one["round"]: one for one in run.measured}
        for one in run.rounds:
            if not one.rates:
                continue
            known = measured.get(one.round, {})
            speed, seconds = known.get("images_per_second"), (known.get("timings") or {}).get("train")
            rows.append(
                [
                    _caption(report, f"{run.recipe}, seed {run.seed}, ", one),
                    f"{len(one.rates):,}",
                    f"{max(one.rates):.2g} to {one.rates[-1]:.2g}",
                    ABSENT if speed is None else f"{speed:.1f}",
                    ABSENT if seconds is None else f"{seconds:.1f}",
                ]
            )
    head = ["training", "epochs", "learning rate", "images a second", "seconds"]
    return table(head, rows, "Every training: its steps' speed, and how long the whole of it took") if rows else None


def _caption(report: ReportData, run: str, one: RoundReport) -> str:
    return f"{run if len(report.runs) > 1 else ''}round {one.round}"


def _chart(one: RoundReport) -> Markup:
    lines = []
    for color, (name, points) in enumerate(one.losses.items(), start=1):
        kept = points[:: max(1, -(-len(points) // _POINTS))]
        kept = kept if kept[-1] == points[-1] else (*kept, points[-1])
        lines.append(Line(name, color, [epoch for epoch, _ in kept], [value for _, value in kept]))
    ends = "; ".join(f"{line.name} ends at {line.y[-1]:.3g}" for line in lines)
    return line_chart(
        f"Training of round {one.round}",
        f"Means over an epoch; {ends}.",
        lines,
        (),
        ("epoch", "mean over the epoch"),
        (_whole, _short),
        _SIZE,
    )


def _whole(value: float) -> str:
    return f"{value:.0f}" if value == round(value) else f"{value:.1f}"


def _short(value: float) -> str:
    return f"{value:.3g}"


def by_part(epochs: Sequence[int], phases: Sequence[str], parts: Sequence[str], values: Sequence[float]) -> Parts:
    """Rows of a table of losses as lines: part → (epoch, value); a part's name begins with its phase where several are.

    Numbers of another kind than losses, such as counts of thousands, would flatten the rest: only what stays below 100
    is drawn.
    """
    several = len(set(phases)) > 1
    found: dict[str, list[tuple[float, float]]] = {}
    for epoch, phase, part, value in zip(epochs, phases, parts, values, strict=True):
        found.setdefault(f"{phase} {part}" if several else part, []).append((float(epoch), float(value)))
    return {name: tuple(points) for name, points in found.items() if max(abs(value) for _, value in points) < 100}


Parts = dict[str, tuple[tuple[float, float], ...]]
