"""Move the logs of ended runs into the store, so that neither NATS nor the time of a start grows with history."""

from __future__ import annotations

import asyncio
import logging
import time

from services.coordinator.book import Book
from tessera.errors import Conflict, TesseraError
from tessera.loop.entry import RunEntry
from tessera.loop.reducer import CANCELLED, DONE, FAILED
from tessera.pb.runs_pb2 import RunView
from tessera.runtime.events import EventLog

_log = logging.getLogger(__name__)
_ENDED = (DONE, FAILED, CANCELLED)


class Archivist:
    """Background work of a coordinator; ``run`` never returns. Several may run at once."""

    def __init__(self, log: EventLog, book: Book, after: float, period: float) -> None:
        """``after``: seconds from a run's last event until its log moves; ``period``: seconds between two searches."""
        self._log, self._book = log, book
        self._after, self._period = after, period

    async def run(self) -> None:
        """Search all runs, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(self._period)

    async def look(self) -> None:
        """Archive every run that is due, and delete what was told of archived ones since."""
        due = time.time() - self._after
        for entry in list(self._book.entries.values()):
            ended = entry.sequence and entry.ended <= due and entry.status in _ENDED
            if ended and entry.archive is None and not entry.trouble:
                await self._archive(entry)
            elif entry.archive is not None and entry.strays:
                await self._tidy(entry)

    async def _archive(self, entry: RunEntry) -> None:
        sequence, head = entry.log_sequence, RunView()
        head.CopyFrom(await self._book.view(entry))
        head.ClearField("rounds")
        try:
            await self._log.archive(entry.run_id, head, sequence)
        except Conflict:
            # The run was resumed, or another coordinator was faster; the log shows which.
            return
        except TesseraError as error:
            _log.warning("a run could not be archived", extra={"run": entry.run_id, "error": str(error)})
        else:
            _log.info("archived", extra={"run": entry.run_id})

    async def _tidy(self, entry: RunEntry) -> None:
        entry.strays = False
        try:
            await self._log.drop_archived(entry.run_id, entry.log_sequence)
        except TesseraError as error:
            entry.strays = True
            _log.warning("an archived run is not tidied", extra={"run": entry.run_id, "error": str(error)})
