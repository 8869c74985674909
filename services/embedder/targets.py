"""Read the regions that a table of any kind names."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from tessera.errors import BadInput
from tessera.formats import schemas, tables

_KEYS = ("image_id", "region_id")
"""The columns that are read; no answers of a ledger."""


def read_targets(data: bytes) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the columns image_id (object) and region_id (int32) of a region, selection or target table or a ledger."""
    for schema in (schemas.TARGETS, schemas.REGIONS, schemas.SELECTION, schemas.LEDGER):
        try:
            table = tables.read(schema, data, "targets", _KEYS)
        except BadInput:
            continue
        return table["image_id"], table["region_id"]
    raise BadInput("targets: neither a region table nor a selection nor a target table nor a ledger; name one of these")
