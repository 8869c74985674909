"""A run as far as its log has been read: the state, and the places in the log that decisions refer to."""

from __future__ import annotations

from dataclasses import dataclass, field

from tessera.loop.reducer import RunState, fold
from tessera.loop.view import view as picture
from tessera.pb.runs_pb2 import RUN_STATUS_DONE, RUN_STATUS_RUNNING, RunEvent, RunView

_FROM_WORKERS = ("job_done", "job_failed")


@dataclass
class Entry:
    """One run as far as it has been read."""

    run_id: str
    # None once the run is done, which is for ever: its picture is enough.
    state: RunState | None = field(default_factory=RunState)
    # Sequence of the last event, and of the last one that a coordinator wrote.
    sequence: int = 0
    log_sequence: int = 0
    # Sequence of the last RunResumed: a job that is queued again must not pass for a duplicate.
    resumed: int = 0
    _view: RunView | None = None

    @property
    def running(self) -> bool:
        """Whether there is anything to decide."""
        return self.state is not None and self.state.status == RUN_STATUS_RUNNING

    def take(self, events: list[tuple[int, RunEvent]]) -> bool:
        """Fold events that are new to this entry; whether there were any."""
        fresh = [(sequence, event) for sequence, event in events if sequence > self.sequence]
        if not fresh or self.state is None:
            return False
        self.state = fold(self.state, (event for _, event in fresh))
        for sequence, event in fresh:
            self.sequence = sequence
            if event.WhichOneof("kind") not in _FROM_WORKERS:
                self.log_sequence = sequence
            if event.HasField("resumed"):
                self.resumed = sequence
        self._view = None
        if self.state.status == RUN_STATUS_DONE:
            self.view()
            self.state = None
        return True

    def view(self) -> RunView:
        """The run's public picture; made once a change."""
        if self._view is None:
            assert self.state is not None  # noqa: S101  # the state is dropped only when the picture is kept
            self._view = picture(self.state)
        return self._view
