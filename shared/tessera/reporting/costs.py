"""Learning curves over any cost that a summary records, and curves read at equal cost."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tessera import evaluation
from tessera.errors import BadInput
from tessera.reporting.numbers import count, duration, percent, split_quality
from tessera.units import Unit, unit

Points = Sequence[tuple[float, float]]
"""(cost, mIoU) of each measured round, costs rising."""


_FORMS: dict[str, Callable[[float], str]] = {"count": count, "share": percent, "seconds": duration}


def cost(name: str) -> Unit:
    """Find a cost by name; BadInput with the known ones."""
    return unit(name, "over")


def form(name: str) -> Callable[[float], str]:
    """Return how values of a cost are written, as its column holds them."""
    return _FORMS[cost(name).form]


def with_measured(group: Any, column: str, measured: str, write: Callable[[float], str]) -> str:
    """Return the mean modelled cost of a group's runs, with the measured one beside it where people answered."""
    text = write(group.spent(column))
    if any(one.get(measured) is None for run in group.runs for one in run["rounds"]):
        return text
    return f"{text} ({write(group.spent(measured))} measured)"


def clicks_and_time(group: Any) -> tuple[str, str]:
    """Return clicks and labelling time of a group's runs in words: modelled, and measured where people answered."""
    return (
        with_measured(group, "clicks", "measured_clicks", count),
        with_measured(group, "labelling_seconds", "measured_seconds", duration),
    )


def points(run: Mapping[str, Any], split: str, name: str) -> Points:
    """Return the learning curve of a run over a cost; of several rounds at one cost (no new image) the last counts."""
    column = cost(name).column
    found: dict[float, float] = {}
    for one in run["rounds"]:
        value = split_quality(one, split)
        if value is not None:
            if one.get(column) is None:
                if column.startswith("measured_"):
                    raise BadInput(
                        f"over {name}: nobody measured the answers of {run['recipe']}, whose oracle is simulated; "
                        f"compare over {column.removeprefix('measured_')}, which is modelled"
                    )
                raise BadInput(
                    f"over {name}: the summary of {run['recipe']} has no {column}, since an older version "
                    "wrote it; run the recipe again"
                )
            found[float(one[column])] = value
    return sorted(found.items())


def shared_span(curves: Sequence[Points]) -> tuple[float, float] | None:
    """Return the range of costs that every curve covers; None where there is none."""
    if not curves or not all(curves):
        return None
    low, high = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    return (low, high) if low < high or (low == high and all(len(curve) == 1 for curve in curves)) else None


def height_at(curve: Points, at: float) -> float:
    """Return the mIoU at a cost, linear between rounds; the cost must lie within the curve."""
    return evaluation.miou_at([x for x, _ in curve], [y for _, y in curve], at)


def mean_height(curve: Points, span: tuple[float, float]) -> float:
    """Return the area under the curve over ``span``, by the trapezoid rule, divided by the width of ``span``."""
    low, high = span
    if low == high:
        return height_at(curve, low)
    places = [low, *[x for x, _ in curve if low < x < high], high]
    heights = np.interp(places, [x for x, _ in curve], [y for _, y in curve])
    return evaluation.auc(places, heights.tolist()) / (high - low)


def spans(name: str, found: Mapping[str, tuple[float, float] | None], quality: str) -> str:
    """Write where values over a cost are read: "test mIoU at 9,000 clicks, AUC from 1,000 to 9,000"."""
    write = form(name)
    return "; ".join(
        f"{split} {quality} at {write(span[1])}, AUC from {write(span[0])} to {write(span[1])}"
        for split, span in found.items()
        if span is not None
    )


_NEAR = 0.002
"""By how much a round may miss a published budget: this share of the pool, as budgets are whole images, or of the
clicks, as answers are whole."""


def at_budget(run: Mapping[str, Any], split: str, measure: str) -> float | None:
    """Return ``miou_at_P``, ``accuracy_at_P`` or ``auc_P`` of a run, with P in percent of the pool (``7_5`` is 7.5).

    The first two are the curve's height at P %, the third the area under it to P % (Best Practices, Eq. 1, budgets as
    fractions). ``miou_at_N_clicks`` and its like are the same over clicks. None for any other measure, and where the
    curve does not reach the budget.
    """
    found = re.fullmatch(r"(miou_at|accuracy_at|auc)_(\d+(?:_\d+)?)(_clicks)?", measure)
    over = "clicks" if found and found[3] else "percent"
    curve = points(run, split, over) if found else []
    if not found or not curve:
        return None
    amount = float(found[2].replace("_", "."))
    budget, near = (amount, _NEAR * amount) if over == "clicks" else (amount / 100, _NEAR)
    if not curve[0][0] <= budget + near or curve[-1][0] < budget - near:
        return None
    end = min(max(budget, curve[0][0]), curve[-1][0])
    if found[1] != "auc":
        return height_at(curve, end)
    inside = [*((x, y) for x, y in curve if x < end), (end, height_at(curve, end))]
    return evaluation.auc([x for x, _ in inside], [y for _, y in inside])
