"""Versions of a data set that grows: which manifest is which version, as JSON ↔ frozen values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from tessera.errors import BadInput
from tessera.formats.keys import check_series
from tessera.pb.common_pb2 import Dataset
from tessera.registry import canonical_json

VERSION: Final = 1
_KIND: Final = "data set version"


@dataclass(frozen=True)
class DatasetVersion:
    """One version: the series' name, the number from 1 on, and the data set, with images per split and class names."""

    name: str
    number: int
    dataset: Dataset
    split_sizes: Mapping[str, int]
    class_names: tuple[str, ...]
    source: str = ""
    """Where its new images are, as it was given: a folder or ``s3://bucket/prefix``."""
    frame_rate: float = 30.0
    """Of names that count frames, Hz."""


def version_to_json(version: DatasetVersion) -> bytes:
    """Return the canonical JSON: equal versions give equal bytes."""
    return canonical_json(
        {
            "kind": _KIND,
            "version": VERSION,
            "name": version.name,
            "number": version.number,
            "dataset": MessageToDict(version.dataset),
            "split_sizes": dict(version.split_sizes),
            "class_names": list(version.class_names),
            "source": version.source,
            "frame_rate": version.frame_rate,
        }
    ).encode()


def version_from_json(data: bytes, where: str) -> DatasetVersion:
    """Parse and check the entry of a version; BadInput naming ``where``."""
    try:
        top: dict[str, Any] = json.loads(data)
        if top["kind"] != _KIND or top["version"] != VERSION:
            raise ValueError(f"not a {_KIND} of version {VERSION}")
        sizes = {str(split): int(size) for split, size in top["split_sizes"].items()}
        made = DatasetVersion(
            check_series(str(top["name"]), where),
            int(top["number"]),
            ParseDict(top["dataset"], Dataset()),
            sizes,
            tuple(str(name) for name in top["class_names"]),
            str(top["source"]),
            float(top.get("frame_rate", 30.0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError, ParseError, RecursionError) as error:
        raise BadInput(f"{where}: no entry of a version ({type(error).__name__}: {error}); restore it") from None
    return made
