"""Progress of a run: bars on a terminal, one line every few seconds elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from tessera.cli.output import note
from tessera.runtime.redaction import one_line, redacted, shown

if TYPE_CHECKING:
    from tessera.pb.runs_pb2 import RoundView, WatchRunResponse

LINE_SECONDS = 5.0


class ProgressBar:
    """Shows one long task: ``update(done, total, text)``; a context manager, silent while nothing changes."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._lines = _Lines()
        self._bars = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars

            columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn())
            self._bars = Bars(
                *columns,
                TimeElapsedColumn(),
                TextColumn("{task.fields[text]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bars.add_task(title, total=None, text="")

    def __enter__(self) -> ProgressBar:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._lines.end()

    def update(self, done: float, total: float, text: str, title: str | None = None) -> None:
        """Show ``done`` of ``total``; without a terminal at most one line in five seconds, the newest."""
        # Names of classes and steps: kept on one line, and square brackets escaped, which are markup to rich.
        name, text = (one_line(redacted(each)) for each in (title or self._title, text))
        if self._bars is not None:
            self._bars.update(
                self._task, description=name.replace("[", "("), completed=done, total=total, text=text.replace("[", "(")
            )
            return
        self._lines.show(f"{name}: {done:g}/{total:g} {text}".rstrip())

    def line(self, text: str) -> None:
        """Print one lasting line above the bar."""
        if self._bars is not None:
            self._bars.console.print(shown(text), markup=False, highlight=False)
        else:
            note(text)


class _Lines:
    """Prints the newest line ``LINE_SECONDS`` after the one before: also where nothing follows, as in an outage."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest = self._printed = ""
        self._next = 0.0
        self._later: threading.Timer | None = None

    def show(self, line: str) -> None:
        with self._lock:
            self._newest = line
            left = self._next - time.monotonic()
            if left <= 0:
                self._print()
            elif self._later is None:
                self._later = threading.Timer(left, self._due)
                self._later.daemon = True
                self._later.start()

    def end(self) -> None:
        """Print no more."""
        with self._lock:
            self._newest = self._printed
            if self._later is not None:
                self._later.cancel()

    def _due(self) -> None:
        with self._lock:
            self._later = None
            self._print()

    def _print(self) -> None:
        if self._newest != self._printed:
            self._printed, self._next = self._newest, time.monotonic() + LINE_SECONDS
            note(self._newest)


def show(progress: ProgressBar, response: WatchRunResponse) -> None:
    """Show the state of a run."""
    view = response.run
    last = next((entry for entry in reversed(view.rounds) if entry.splits), None)
    text = f"{100 * response.fraction:.0f}%" if 0 < response.fraction < 1 else ""
    if response.note:
        text = f"{text} {response.note}".strip()
    if last is not None:
        text = f"{text}  {measured(last)}".strip()
    rounds = f"/{view.planned_rounds}" if view.planned_rounds else ""
    title = f"round {view.round}{rounds} {view.step}".rstrip()
    progress.update(view.jobs_done, max(view.jobs_total, 1), text, title)


def measured(entry: RoundView) -> str:
    """Return the mIoU of a round in words, or its accuracy, from its confusion counts."""
    from tessera.loop.summary import headline, quality

    values = ((counts.split, counts.counts_images, headline(quality(counts))) for counts in entry.splits)
    return ", ".join(
        f"{split} {'accuracy' if images else 'mIoU'} {'–' if value is None else f'{value:.3f}'}"
        for split, images, value in values
    )
