"""What the names of images say: image id, video and time; or a CSV that says it instead."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tessera.datasets.files import read_text
from tessera.datasets.samples import IMAGE_SUFFIXES, Problems, video_place
from tessera.errors import BadInput

COLUMNS: Final = ("image", "sequence", "time")

_OTHER: Final = re.compile(r"[^A-Za-z0-9._-]")
_ID_LENGTH: Final = 128
_MARK: Final = 8

Place = tuple[str, float]
"""Sequence ("" for stills) and seconds within it."""


def stem(name: str) -> str:
    """Return a name without the extension of an image."""
    base, dot, suffix = name.rpartition(".")
    return base if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else name


def image_id(name: str) -> str:
    """Return the id of an image by its name below the source, such as ``cam1/000120.jpg``: ``cam1_000120``.

    It depends on the name alone. Folders are joined by ``_``; a name with other characters than ids may have, or one
    that is too long, is told apart by the start of its SHA-256.
    """
    wanted = stem(name).replace("/", "_")
    usable = _OTHER.sub("-", wanted).lstrip("._-") or "image"
    if usable == wanted and len(usable) <= _ID_LENGTH:
        return usable
    mark = hashlib.sha256(stem(name).encode()).hexdigest()[:_MARK]
    return f"{usable[: _ID_LENGTH - _MARK - 1]}-{mark}"


class NamePattern:
    """Videos and times from names: by default ``SEQUENCE_FRAME``, or by a regular expression of the user's."""

    def __init__(self, pattern: str | None, frame_rate: float) -> None:
        """``pattern`` is searched in the name below the source and has the groups ``sequence`` and ``time`` (seconds)
        or ``frame`` (divided by ``frame_rate``, Hz). BadInput when it is none."""
        self._rate, self._given = frame_rate, pattern
        self._pattern: re.Pattern[str] | None = None
        if pattern is None:
            return
        try:
            self._pattern = re.compile(pattern)
        except re.error as error:
            raise BadInput(f"--names {pattern!r}: no regular expression ({error}); check it") from None
        groups = set(self._pattern.groupindex)
        if "sequence" not in groups or not groups & {"time", "frame"}:
            raise BadInput(
                f"--names {pattern!r}: needs the groups (?P<sequence>…) and (?P<frame>…) or (?P<time>…); "
                r"for example (?P<sequence>cam\d)/(?P<frame>\d+)"
            )

    def place(self, name: str) -> Place | None:
        """Return sequence and seconds of an image; None where a pattern of the user's does not fit the name."""
        if self._pattern is None:
            return video_place(stem(name).replace("/", "_"), self._rate)
        found = self._pattern.search(name)
        if found is None:
            return None
        groups = found.groupdict()
        number = groups.get("time") or groups.get("frame") or ""
        try:
            seconds = float(number) / (1.0 if groups.get("time") else self._rate)
        except ValueError:
            raise BadInput(f"--names {self._given!r}: finds {number!r} in {name!r}, which is no number") from None
        if not math.isfinite(seconds):
            raise BadInput(f"--names {self._given!r}: finds {number!r} in {name!r}, which is no finite number")
        return groups["sequence"] or "", seconds


def read_times(path: Path, names: Iterable[str]) -> Mapping[str, Place]:
    """Return sequence and seconds by name, from a CSV with the columns image, sequence and time (seconds).

    ``image`` is a name below the source, with or without its extension. BadInput names every bad row by its line: an
    image that is not there or named twice, a time that is no finite number.
    """
    try:
        text = read_text(path).removeprefix("\ufeff")
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({error}); write it as UTF-8 text") from None
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        header = [column.strip().lower() for column in next(rows, [])]
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            raise BadInput(f"{path}: line 1: no column {', '.join(missing)}; begin with {','.join(COLUMNS)}")
        return _read_rows(path, header, rows, names)
    except csv.Error as error:
        raise BadInput(f"{path}: line {rows.line_num}: {error}; write it as comma-separated text") from None


def _read_rows(path: Path, header: list[str], rows: Iterable[list[str]], names: Iterable[str]) -> Mapping[str, Place]:
    known: dict[str, str] = {}
    for name in names:
        known[stem(name)] = known[name] = name
    problems = Problems(str(path))
    places: dict[str, Place] = {}
    for row in rows:
        line = f"{path}: line {rows.line_num}"  # type: ignore[attr-defined]  # rows is a csv reader
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            problems.add(f"{line}: {len(row)} values, the header has {len(header)}; quote values with commas")
            continue
        image, sequence, time = (row[header.index(column)].strip() for column in COLUMNS)
        if image not in known:
            problems.add(f"{line}: no image {image!r} in the source; correct the name or remove the row")
            continue
        try:
            seconds = float(time)
        except ValueError:
            seconds = math.nan
        if not math.isfinite(seconds):
            problems.add(f"{line}: time {time!r} of {image!r} is no number of seconds; correct it")
        elif known[image] in places:
            problems.add(f"{line}: {image!r} was named before; keep one of the rows")
        else:
            places[known[image]] = sequence, seconds
    problems.check()
    return places
