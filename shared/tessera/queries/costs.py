"""Costs of answers: sums of ledger rows, and the part of a ranking that a budget pays for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tessera.errors import BadInput
from tessera.pb.oracle_pb2 import Cost
from tessera.queries.question import Answer
from tessera.units import UNITS


def reach(answers: Sequence[Answer], unit: str, amount: float) -> int:
    """Return how many questions of a ranking are asked: up to the first answer with which ``amount`` is reached.

    The last one may overshoot; it is always asked. All of them where they do not reach the amount. BadInput: a unit
    without a price, an amount that is not positive.
    """
    price = UNITS[unit].price if unit in UNITS else None
    if price is None:
        known = ", ".join(name for name, one in sorted(UNITS.items()) if one.price)
        raise BadInput(f"budget.unit: {unit!r} is not priced per answer; give one of {known}")
    if not (math.isfinite(amount) and amount > 0):
        raise BadInput(f"budget: {amount:g} {unit} cannot be asked for; give a positive number")
    spent = np.cumsum([price(answer) for answer in answers])
    # The margin keeps rounding of the sum from asking one question more than 36.4 s / 7.28 s = 5.
    return min(len(answers), int(np.searchsorted(spent, amount * (1 - 1e-9), side="left")) + 1)


def total(ledger: Mapping[str, Any]) -> Cost:
    """Sum the columns of a ledger table: ``formats.schemas.LEDGER``, or ``PEOPLE_LEDGER`` with what was measured.

    Regions are counted once for each event id, so a row that was recorded twice is paid once; images are distinct
    image ids. Seconds are summed exactly, so the order of the rows does not matter.
    """
    rows, measured = list(_first_of_each(ledger["event_id"])), "measured_clicks" in ledger
    return Cost(
        regions=len(rows),
        images=len({str(ledger["image_id"][row]) for row in rows}),
        pixels=sum(int(ledger["pixels"][row]) for row in rows),
        clicks=sum(int(ledger["clicks"][row]) for row in rows),
        clicks_without_undefined=sum(int(ledger["clicks_without_undefined"][row]) for row in rows),
        labelling_seconds=math.fsum(float(ledger["seconds"][row]) for row in rows),
        measured_clicks=sum(int(ledger["measured_clicks"][row]) for row in rows) if measured else 0,
        measured_seconds=math.fsum(float(ledger["measured_seconds"][row]) for row in rows) if measured else 0.0,
    )


def _first_of_each(event_ids: Iterable[Any]) -> Iterable[int]:
    seen: set[str] = set()
    for row, event in enumerate(event_ids):
        if str(event) not in seen:
            seen.add(str(event))
            yield row
