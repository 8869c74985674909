"""Look into every image of a source once: hash, size in pixels, and whether it can be decoded at all.

What was found is kept in a journal on this machine, so that an import which was interrupted goes on where it stopped.
An entry counts while the image has the stamp (ETag, or size and time) that it had then.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from tessera.errors import BadInput, Unavailable
from tessera.formats import images
from tessera.runtime.importing import in_order
from tessera.runtime.references import Seen
from tessera.runtime.sources import ImageSource, SourceRefused

_FLUSH: Final = 64


@dataclass(frozen=True)
class Examined:
    """An image that can be decoded; sizes in bytes and pixels."""

    name: str
    sha256: str
    size: int
    width: int
    height: int
    media_type: str


@dataclass(frozen=True)
class LeftOut:
    """A file or object that is not imported, and why, with the remedy."""

    address: str
    why: str


class Journal:
    """What an earlier, interrupted import of the same source found; a context manager."""

    def __init__(self, folder: Path, source: str) -> None:
        self._path = folder / f"{hashlib.sha256(source.encode()).hexdigest()[:32]}.jsonl"
        self._known: dict[tuple[str, str], Examined] = {}
        self._unsaved: list[str] = []

    def __enter__(self) -> Journal:
        with suppress(FileNotFoundError):
            for line in self._path.read_text("utf-8", "replace").splitlines():
                # The last line may be torn.
                with suppress(ValueError, TypeError, KeyError):
                    entry = json.loads(line)
                    stamp = entry.pop("stamp")
                    self._known[entry["name"], stamp] = Examined(**entry)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()

    def find(self, seen: Seen) -> Examined | None:
        """Return what is known of an image; None where nothing is, or where it changed."""
        return self._known.get((seen.name, seen.stamp)) if seen.stamp else None

    def keep(self, seen: Seen, found: Examined) -> None:
        """Remember an image; written a few at a time."""
        self._unsaved.append(json.dumps({**asdict(found), "stamp": seen.stamp}))
        if len(self._unsaved) >= _FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write what was found."""
        if not self._unsaved:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in self._unsaved))
        except OSError as error:
            raise Unavailable(f"{self._path}: cannot be written ({error.strerror}); set TESSERA_CACHE_DIR") from None
        self._unsaved.clear()

    def remove(self) -> None:
        """Drop it: the import is complete."""
        self._unsaved.clear()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


async def examine(
    source: ImageSource, listed: Sequence[Seen], journal: Journal, progress: Callable[[int, int, str], None] | None
) -> AsyncIterator[Examined | LeftOut]:
    """Yield what every file is, in order: an image, or why it is none. A few are in memory at a time."""

    async def one(seen: Seen) -> Examined | LeftOut:
        known = journal.find(seen)
        if known is not None:
            return known
        try:
            data = await source.read(seen.name)
            found = await asyncio.to_thread(_look, seen.name, data, source.address(seen.name))
        except SourceRefused:
            raise
        except BadInput as error:
            return LeftOut(source.address(seen.name), str(error))
        journal.keep(seen, found)
        return found

    async for done, found in in_order(listed, one):
        if progress is not None:
            progress(done, len(listed), "read")
        yield found


def _look(name: str, data: bytes, address: str) -> Examined:
    """Decode an image; BadInput names what is wrong with it."""
    info = images.check_rgb(data, address)
    return Examined(name, hashlib.sha256(data).hexdigest(), len(data), info.width, info.height, info.media_type)
