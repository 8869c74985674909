"""The versions of a data set that grows, as the store has them: immutable entries, one per version, numbered from 1.

The newest is the one with the highest number. Nothing is ever changed, and no request is conditional: whoever adds a
version writes its entry, lists, and takes it back where somebody else has added one with that number meanwhile.
"""

from __future__ import annotations

import asyncio
import math
import re
from typing import Final, Protocol

from tessera.errors import BadInput
from tessera.formats import keys
from tessera.formats.versions import DatasetVersion, version_from_json, version_to_json
from tessera.pb.common_pb2 import ObjectRef

PREFIX: Final = "dataset:"
"""Begins a data set that is in the store, where a folder could be named as well (`named`)."""
MAX_BYTES: Final = 1 << 20

_NUMBER: Final = re.compile(r"(\d{6})-[0-9a-f]{12}\.json")


class VersionStore(Protocol):
    """The part of the object store that versions need."""

    bucket: str

    async def put(self, key: str, data: bytes, media_type: str) -> ObjectRef:
        """Store bytes under a key."""

    async def list(self, prefix: str) -> list[str]:
        """Return the keys that begin with the prefix, sorted."""

    async def read_key(self, key: str, max_bytes: int) -> bytes | None:
        """Return the bytes under a key, or None."""


class Erasing(VersionStore, Protocol):
    """A store in which an entry can also be taken back."""

    async def delete(self, key: str, before: float) -> bool:
        """Remove the object under the key if it was last written before a time."""


async def numbers(store: VersionStore, name: str) -> dict[int, list[str]]:
    """Return the keys of the versions' entries by number; none where the data set is unknown."""
    prefix = keys.dataset_versions(name)
    found: dict[int, list[str]] = {}
    for key in await store.list(prefix):
        if match := _NUMBER.fullmatch(key.removeprefix(prefix)):
            found.setdefault(int(match[1]), []).append(key)
    return found


async def version(store: VersionStore, name: str, number: int | None = None) -> DatasetVersion | None:
    """Return a version of a data set, by default the newest; None where there is none.

    Two entries of one number were added at the same moment: neither counts until one is taken back.
    """
    entries = {at: of for at, of in (await numbers(store, name)).items() if len(of) == 1}
    wanted = max(entries, default=0) if number is None else number
    if wanted not in entries:
        return None
    (key,) = entries[wanted]
    data = await store.read_key(key, MAX_BYTES)
    return None if data is None else version_from_json(data, key)


async def named(store: VersionStore, text: str) -> tuple[DatasetVersion, bool]:
    """Return the version that a name of a data set means, and whether a run on it stays with that version.

    ``dataset:NAME`` is the newest version, and ``dataset:NAME@2+`` the second; runs take up those that come later.
    ``dataset:NAME@2`` is the second, and stays.
    """
    name, at, number = text.removeprefix(PREFIX).partition("@")
    keys.check_series(name, f"--data {text}")
    follows = not at or number.endswith("+")
    number = number.removesuffix("+")
    if at and not (number.isdecimal() and 0 < int(number) < 10**6):
        raise BadInput(f"--data {text}: {number!r} is no version; write {PREFIX}{name}@1, or leave it out")
    found = await version(store, name, int(number) if at else None)
    if found is None:
        known = ", ".join(map(str, sorted(await numbers(store, name)))) or "none"
        raise BadInput(
            f"--data {text}: not in the store (versions of {name}: {known}); import it with tessera data import "
            "images, or give the --store that it was imported into"
        )
    return found, not follows


async def add(store: Erasing, made: DatasetVersion) -> None:
    """Write the entry of a new version; BadInput where somebody else adds one at the same time."""
    key = keys.dataset_version(made.name, made.number, made.dataset.manifest.sha256)
    await store.put(key, version_to_json(made), "application/json")
    if (await numbers(store, made.name)).get(made.number) == [key]:
        return
    await asyncio.shield(store.delete(key, math.inf))
    raise BadInput(
        f"data set {made.name}: somebody else adds version {made.number} at this moment, so nothing was added; run the "
        "command again"
    )
