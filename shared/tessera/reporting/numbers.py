"""Numbers as text, in tables and on axes; absent values are an en dash."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

ABSENT = "–"


def miou(value: float | None) -> str:
    """Write an IoU in 0..1 with three decimals."""
    return ABSENT if value is None or math.isnan(value) else f"{value:.3f}"


def signed(value: float | None) -> str:
    """Write a difference with its sign, three decimals."""
    return ABSENT if value is None or math.isnan(value) else f"{value:+.3f}".replace("-", "−")


def percent(fraction: float | None, digits: int = 1) -> str:
    """Write a fraction as per cent."""
    return ABSENT if fraction is None else f"{100 * fraction:.{digits}f} %"


def count(value: float | None) -> str:
    """Write a count with thousands separators, shortened from a hundred thousand up."""
    if value is None:
        return ABSENT
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e5, "k")):
        if abs(value) >= limit:
            scale = 1e3 if unit == "k" else limit
            return f"{value / scale:.3g} {unit}"
    return f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Write seconds as the two largest units."""
    if seconds is None:
        return ABSENT
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return (
        f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
        if minutes < 60
        else f"{minutes // 60} h {minutes % 60:02d} min"
    )


def qualities(one: Mapping[str, Any], split: str) -> list[tuple[str, float | None]]:
    """Read what one round of a summary measured on a split, by name: accuracy (classification), then mIoU.

    Empty where the split was not measured. The first is what curves, comparisons and targets are about.
    """
    found = one.get(split) or {}
    keys = [(name, key) for name, key in (("accuracy", "accuracy"), ("mIoU", "miou")) if key in found]
    return [(name, None if found[key] is None else float(found[key])) for name, key in keys]


def split_quality(one: Mapping[str, Any], split: str) -> float | None:
    """Read the mIoU of one round of a summary, or its accuracy; None where the split was not measured."""
    found = qualities(one, split)
    return found[0][1] if found else None


def measure_of(runs: Iterable[Mapping[str, Any]]) -> str:
    """Name what `split_quality` reads in runs of one data set: accuracy or mIoU."""
    rounds = (one for run in runs for one in run["rounds"])
    names = (found[0][0] for one in rounds for split in ("val", "test") if (found := qualities(one, split)))
    return next(names, "mIoU")


def published(run: Mapping[str, Any]) -> dict[str, float]:
    """Return the published values of a run's recipe, such as ``val_miou``; none where they are for other data."""
    # Older summaries lack it: all published values were for CamVid then.
    target = run.get("target_dataset") or {"name": "camvid", "classes": 11}
    dataset = run.get("dataset")
    if not isinstance(dataset, Mapping):
        return {}
    # An import names a data set by its name and its content.
    name = re.sub(r"-[0-9a-f]{12}$", "", str(dataset.get("name")))
    same = name == target["name"] and len(dataset.get("classes") or ()) == target["classes"]
    return dict(run.get("targets") or {}) if same else {}


def nice_ticks(low: float, high: float, target: int = 5) -> list[float]:
    """Choose round tick values inside [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / target
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(math.log(power * factor / raw)))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]
