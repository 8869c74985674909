"""Learning curves and results as text, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from tessera.reporting import costs
from tessera.reporting.compare import Comparison, Group, Summary, compare
from tessera.reporting.numbers import miou, nice_ticks, percent, signed
from tessera.reporting.tables import interval

MARKS = "o*x+#@"


def curve(
    runs: Sequence[Summary], split: str = "test", width: int = 72, height: int = 16, over: str | None = None
) -> str:
    """Plot mIoU over the labelled share of the pool or over a cost, one mark per recipe, mean over seeds; ASCII marks.

    Returns lines of at most ``width`` characters. BadInput for runs that must not be compared and unknown costs.
    """
    comparison, unit = compare(runs, over), over or "percent"
    write = costs.form(unit)
    series = [
        (group, points)
        for group in comparison.groups
        if not group.reference and (points := _mean(group, split, over or "percent"))
    ]
    if not series:
        return f"no {split} measurement yet"
    xs = [x for _, points in series for x, _ in points]
    ys = [y for _, points in series for _, y in points]
    low_x, high_x = min(xs), max(xs)
    room = max((max(ys) - min(ys)) * 0.08, 0.005)
    low_y, high_y = min(ys) - room, max(ys) + room
    columns = max(width - 9, 8)
    canvas = [[" "] * columns for _ in range(height)]

    def place(x: float, y: float) -> tuple[int, int]:
        column = round((x - low_x) / (high_x - low_x) * (columns - 1)) if high_x > low_x else 0
        return height - 1 - round((y - low_y) / (high_y - low_y) * (height - 1)), column

    for _, points in series:
        for (xa, ya), (xb, yb) in pairwise(points):
            for t in np.linspace(0, 1, columns):
                row, column = place(xa + t * (xb - xa), ya + t * (yb - ya))
                canvas[row][column] = "." if canvas[row][column] == " " else canvas[row][column]
    for index, (_, points) in enumerate(series):
        for x, y in points:
            row, column = place(x, y)
            canvas[row][column] = MARKS[index % len(MARKS)]
    ticks = {place(low_x, value)[0]: value for value in nice_ticks(low_y, high_y, 5)}
    lines = [f"{split} {comparison.quality}"]
    for row, cells in enumerate(canvas):
        label = f"{ticks[row]:6.3f} ┤" if row in ticks else "       │"
        lines.append(label + "".join(cells).rstrip())
    lines.append("       └" + "─" * columns)
    what = "of the pool labelled" if over in (None, "percent") else costs.cost(unit).title
    left, right = write(low_x), f"{write(high_x)} {what}"
    lines.append("        " + left + right.rjust(columns - len(left)))
    lines += [f"        {MARKS[i % len(MARKS)]} {_legend(group)}" for i, (group, _) in enumerate(series)]
    return "\n".join(lines)


def table(runs: Sequence[Summary], over: str | None = None) -> str:
    """Tabulate final mIoU, AUC and cost by recipe (means over seeds), then paired differences with their intervals.

    With ``over`` mIoU and AUC are read at equal cost, and a line says where.
    """
    comparison = compare(runs, over)
    head = ["recipe", "seeds", "labelled"]
    head += [f"{split} {measure}" for split in comparison.splits for measure in (comparison.quality, "AUC")]
    rows = [[*head, "clicks", "labelling"], *[_row(group, comparison) for group in comparison.groups]]
    text = _align(rows)
    if comparison.differences:
        pairs = [["paired difference", "measure", "mean", "95 % interval", "seeds"]]
        for one in comparison.differences:
            measure = f"{one.split} {comparison.quality if one.measure == 'final' else 'AUC'}"
            seeds = ", ".join(map(str, one.seeds))
            pairs.append([f"{one.recipe} − {one.baseline}", measure, signed(one.mean), interval(one), seeds])
        text += "\n\n" + _align(pairs)
    if over is not None:
        text += f"\n\nat equal {costs.cost(over).title}: {costs.spans(over, comparison.spans, comparison.quality)}"
    return text


def _mean(group: Group, split: str, over: str) -> list[tuple[float, float]]:
    curves = [points for run in group.runs if (points := costs.points(run, split, over))]
    if not curves:
        return []
    rounds = min(map(len, curves))
    return [(float(x), float(y)) for x, y in np.mean([points[:rounds] for points in curves], axis=0)]


def _legend(group: Group) -> str:
    return f"{group.recipe} (mean of {len(group.runs)} seeds)" if len(group.runs) > 1 else group.recipe


def _row(group: Group, comparison: Comparison) -> list[str]:
    row = [group.recipe, ",".join(str(run["seed"]) for run in group.runs), percent(group.spent("regions_fraction"))]
    for split in comparison.splits:
        for measure in ("final", "auc"):
            values = list(group.values(split, measure).values())
            row.append(miou(float(np.mean(values)) if values else None))
    return [*row, *costs.clicks_and_time(group)]


def _align(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(w) if column == 0 else cell.rjust(w)
            for column, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])
