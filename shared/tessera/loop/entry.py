"""A run as read from its log so far: the state, and the sequences in the log that decisions refer to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tessera.loop.reducer import RunState, fold
from tessera.loop.view import Kept
from tessera.loop.view import view as picture
from tessera.pb.runs_pb2 import (
    RUN_STATUS_DONE,
    RUN_STATUS_FAILED,
    RUN_STATUS_RUNNING,
    RunArchived,
    RunEvent,
    RunStatus,
    RunView,
)

FROM_WORKERS = ("job_done", "job_failed")
_APPENDING = ("submitted", "step_started", "job_done", "job_failed", "finished", "failed")
"""Kinds of events that do not change complete rounds."""
_LOST = "the start of its log is lost or damaged; tessera doctor --rebuild {run} starts it again from the store"
Events = list[tuple[int, RunEvent]]


@dataclass(frozen=True)
class Folded:
    """The result of folding events into an entry: computed in any thread, applied by ``RunEntry.settle``."""

    events: Events
    state: RunState | None
    view: RunView | None
    broken: str = ""


@dataclass
class RunEntry:
    """One run as read so far."""

    run_id: str
    # None once the run is done for ever or its log is archived: its picture is enough.
    state: RunState | None = field(default_factory=RunState)
    # Sequence of the last event, and of the last one that a coordinator wrote.
    sequence: int = 0
    log_sequence: int = 0
    # Why this version cannot read the run: then nothing is decided, and no other run is affected.
    broken: str = ""
    # Sequence of the last RunResumed or JobsRedone: a job that is queued again must not count as a duplicate.
    resumed: int = 0
    # Set while the run is archived: the data of its picture is in the store.
    archive: RunArchived | None = None
    # Whether the log may hold more than its archive: what is not deleted yet, or ends of jobs that came late.
    strays: bool = False
    # When the last event happened, in seconds since 1970.
    ended: float = 0.0
    # What the run waits for beside its jobs; set by the driver, not by the log.
    waiting: str = ""
    # How far people are who answer its questions; set by the desk.
    people: str = ""
    _view: RunView | None = None
    _kept: Kept = field(default_factory=Kept)

    @property
    def trouble(self) -> str:
        """Return why nothing can be decided or shown of this run, or an empty text."""
        lost = self.state is not None and self.state.spec is None and self.sequence > 0
        return self.broken or (_LOST.format(run=self.run_id) if lost else "")

    @property
    def status(self) -> RunStatus:
        """Return the run's status."""
        if self.trouble:
            return RUN_STATUS_FAILED
        if self.state is not None:
            return self.state.status
        assert self._view is not None  # noqa: S101  # the state is dropped only when the picture is kept
        return self._view.status

    @property
    def running(self) -> bool:
        """Return whether there is anything to decide."""
        return not self.broken and self.state is not None and self.state.status == RUN_STATUS_RUNNING

    def wakes(self, events: Events) -> bool:
        """Return whether a run whose state was dropped goes on, so that the whole log must be read again."""
        if self.state is not None:
            return False
        idle = (*FROM_WORKERS, "archived")
        return any(
            sequence > self.sequence and (event.HasField("redone") or event.WhichOneof("kind") not in idle)
            for sequence, event in events
            if self.archive is not None or event.HasField("redone")
        )

    def fold(self, events: Events) -> Folded | None:
        """Fold events that are new to this entry, without changing it; None when there are none."""
        fresh = [(sequence, event) for sequence, event in events if sequence > self.sequence]
        if not fresh:
            return None
        state, view, broken = self.state, self._view, self.broken
        if state is not None and not broken:
            # While a result is computed again, later rounds either stay or are dropped.
            if state.distrusted or any(event.WhichOneof("kind") not in _APPENDING for _, event in fresh):
                self._kept = Kept()
            try:
                state = fold(state, (event for _, event in fresh))
                view = picture(state, self._kept) if state.status == RUN_STATUS_DONE else None
            except Exception as error:
                view, broken = None, unreadable(error)
        return Folded(fresh, state if view is None else None, view, broken)

    def settle(self, folded: Folded) -> None:
        """Apply the result of ``fold``."""
        self.state, self._view, self.broken = folded.state, folded.view, folded.broken
        for sequence, event in folded.events:
            begun = self.sequence > 0
            self._note(sequence, event)
            if event.HasField("archived"):
                self.strays = begun
                # Earlier events are in the archive or still in the log, and are read again when they are needed.
                self.state, self._view, self.archive = None, event.archived.view, event.archived

    def _note(self, sequence: int, event: RunEvent) -> None:
        self.sequence = max(self.sequence, sequence)
        kind = event.WhichOneof("kind")
        if kind in FROM_WORKERS:
            self.strays = self.archive is not None
        else:
            self.log_sequence = max(self.log_sequence, sequence)
        if kind in ("resumed", "redone"):
            self.resumed = max(self.resumed, sequence)
        if kind != "archived":
            self.ended = max(self.ended, event.time.seconds + event.time.nanos / 1e9)

    def restart(self, state: RunState, events: Events) -> None:
        """Set the state to that of a whole log; ``events``: at least the last of each kind."""
        self.state, self._view, self.archive, self._kept, self.broken = state, None, None, Kept(), ""
        for sequence, event in events:
            self._note(sequence, event)

    def take(self, events: Events) -> bool:
        """Fold events that are new to this entry; whether there were any."""
        folded = self.fold(events)
        if folded is not None:
            self.settle(folded)
        return folded is not None

    def draft(self) -> Callable[[], RunView]:
        """Return a function that makes the run's public picture, in any thread, for ``hang``.

        Its time is linear in the jobs of the open step.
        """
        state, view, kept = self.state, self._view, self._kept
        if view is not None and not self.trouble:
            return lambda: view

        def make() -> RunView:
            if not self.trouble and state is not None:
                try:
                    return picture(state, kept)
                except Exception as error:
                    self.broken = unreadable(error)
            return self._failed(state)

        return make

    def _failed(self, state: RunState | None) -> RunView:
        """Make the picture of a run that cannot be read."""
        made = RunView(status=RUN_STATUS_FAILED, message=self.trouble, exit_code=3)
        if state is not None and state.spec is not None:
            made.spec.CopyFrom(state.spec)
        made.spec.run_id = self.run_id
        return made

    def hang(self, state: RunState | None, view: RunView) -> RunView:
        """Keep a picture of ``state`` unless the run has changed since; return the newest one."""
        if self.state is state:
            self._view = view
        return self._view or view

    def view(self) -> RunView:
        """Return the run's public picture, made once per change."""
        return self.hang(self.state, self.draft()())


def unreadable(error: Exception) -> str:
    """Return the error for a log that cannot be folded or shown, with the remedy."""
    return (
        f"its log cannot be read by this version of Tessera ({type(error).__name__}: {error}); "
        "look at it with the version that ran it, or submit the run under another name"
    )
