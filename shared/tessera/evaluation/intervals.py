"""The mean of a few values with its confidence interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Two-sided 95 % quantiles of Student's t by degrees of freedom; between entries, the next smaller one gives a wider
# interval.
_T95 = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228,
    11: 2.201, 12: 2.179, 13: 2.160, 14: 2.145, 15: 2.131, 16: 2.120, 17: 2.110, 18: 2.101, 19: 2.093, 20: 2.086,
    30: 2.042, 60: 2.000, 120: 1.980,
}  # fmt: skip


def mean_and_interval(values: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Return the mean of at least one value, with its 95 % interval, mean ± t · s / √n; None for a single value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    degrees = max(entry for entry in _T95 if entry <= len(values) - 1)
    half = _T95[degrees] * deviation / math.sqrt(len(values))
    return mean, (mean - half, mean + half)
