"""Sums of ledger rows: what a set of answers cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tessera.pb.oracle_pb2 import Cost


def total(ledger: Mapping[str, Any]) -> Cost:
    """Sum the columns of a ledger table (``formats.schemas.LEDGER``).

    Regions are counted once for each event id, so a row that was recorded twice is paid once; images are distinct
    image ids. Seconds are summed exactly, so the order of the rows does not matter.
    """
    rows = list(_first_of_each(ledger["event_id"]))
    return Cost(
        regions=len(rows),
        images=len({str(ledger["image_id"][row]) for row in rows}),
        pixels=sum(int(ledger["pixels"][row]) for row in rows),
        clicks=sum(int(ledger["clicks"][row]) for row in rows),
        clicks_without_undefined=sum(int(ledger["clicks_without_undefined"][row]) for row in rows),
        labelling_seconds=math.fsum(float(ledger["seconds"][row]) for row in rows),
    )


def _first_of_each(event_ids: Iterable[Any]) -> Iterable[int]:
    seen: set[str] = set()
    for row, event in enumerate(event_ids):
        if str(event) not in seen:
            seen.add(str(event))
            yield row
