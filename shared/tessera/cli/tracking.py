"""Show a run in an experiment tracker while it goes on. The run does not know: job keys and results stay the same.

``TESSERA_TRACKING=mlflow`` turns it on, for whoever follows a run: ``tessera run``, ``resume`` and ``watch``. Address,
sign-in and experiment are MLflow's own: ``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_NAME`` (default: tessera).
Each run is one MLflow run, found again by its tag ``tessera.run``; what is there already is not sent twice.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tessera.errors import BadInput
from tessera.formats import schemas, tables
from tessera.loop.reading import from_canonical
from tessera.loop.summary import quality
from tessera.pb.runs_pb2 import RUN_STATUS_CANCELLED, RUN_STATUS_DONE, RUN_STATUS_RUNNING

if TYPE_CHECKING:
    from tessera.pb.oracle_pb2 import Cost
    from tessera.pb.runs_pb2 import RoundView, RunView
    from tessera.runtime.objects import ObjectStore

ARTEFACTS: Final = ("summary.json", "report.html")
PAUSE_SECONDS = 60.0
"""Without an attempt after one that failed."""
_BATCH = 1000
_ENDED = {RUN_STATUS_DONE: "FINISHED", RUN_STATUS_CANCELLED: "KILLED"}
_UNFIT = re.compile(r"[^\w\-. /]")

Point = tuple[str, float, int]
"""Name, value and step of one number."""


def open_tracker(kind: str) -> Tracker | None:
    """Return the tracker that ``TESSERA_TRACKING`` names. BadInput where it is not installed or does not answer."""
    return None if kind == "none" else Tracker(_client())


class Tracker:
    """Sends what a run has measured to MLflow: epochs when a training has ended, quality and cost when a round has."""

    def __init__(self, client: Any) -> None:
        """``client`` is an ``mlflow.MlflowClient``. BadInput when its server does not answer."""
        self._client = client
        self._run: str | None = None
        self._sent = {"trained": -1, "measured": -1, "epochs": 0}
        self._retry = 0.0
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "tessera"
        try:
            found = client.get_experiment_by_name(name)
            self._experiment = found.experiment_id if found else client.create_experiment(name)
        except Exception as error:  # MLflow's own, or one of the libraries below it
            raise BadInput(
                f"TESSERA_TRACKING=mlflow: {_first_line(error)}; check MLFLOW_TRACKING_URI, or unset TESSERA_TRACKING"
            ) from None

    async def update(self, view: RunView, store: ObjectStore) -> list[str]:
        """Send what is new; a tracker that fails is told of in a line and tried again later, and the run goes on."""
        ended = view.status != RUN_STATUS_RUNNING
        trained = [one for one in view.rounds if one.HasField("history") and one.round > self._sent["trained"]]
        measured = [one for one in view.rounds if one.complete and one.round > self._sent["measured"]]
        if not (ended or trained or measured) or (time.monotonic() < self._retry and not ended):
            return []
        try:
            if self._run is None:
                await asyncio.to_thread(self._begin, view)
            for entry in trained:
                if entry.round > self._sent["trained"]:
                    points = list(await _epochs(entry, store, self._sent["epochs"]))
                    epochs = max((step for _, _, step in points), default=self._sent["epochs"])
                    await asyncio.to_thread(self._send, points, {"trained": entry.round, "epochs": epochs})
            for entry in measured:
                if entry.round > self._sent["measured"]:
                    points = list(_round(entry, [one.cost for one in view.rounds if one.round <= entry.round]))
                    await asyncio.to_thread(self._send, points, {"measured": entry.round})
            if ended:
                status = _ENDED.get(view.status, "FAILED")
                await asyncio.to_thread(self._client.set_terminated, self._run, status)
        except Exception as error:  # whatever it is, it is not the run's
            self._retry = time.monotonic() + PAUSE_SECONDS
            return [f"tracking: {_first_line(error)}; what is missing is sent later"]
        return []

    async def keep(self, folder: Path) -> list[str]:
        """Send summary and report of a run's folder as artefacts; a tracker that fails is told of in a line."""
        if self._run is None:
            return []
        try:
            for name in ARTEFACTS:
                await asyncio.to_thread(self._client.log_artifact, self._run, str(folder / name))
        except Exception as error:  # as above
            return [f"tracking: {_first_line(error)}; the run's files stay where they are"]
        return []

    def _begin(self, view: RunView) -> None:
        """Find the MLflow run of an earlier start, or make one."""
        name = view.spec.run_id
        quoted = name.replace("'", "")
        found = self._client.search_runs([self._experiment], f"tags.`tessera.run` = '{quoted}'", max_results=1)
        if found:
            self._run = found[0].info.run_id
            told = found[0].data.tags
            self._sent = {key: int(told.get(f"tessera.{key}", value)) for key, value in self._sent.items()}
            self._client.update_run(self._run, status="RUNNING")
            return
        made = self._client.create_run(self._experiment, run_name=name, tags={"tessera.run": quoted})
        self._run = made.info.run_id
        for key, value in _facts(view).items():
            self._client.log_param(self._run, key, value)

    def _send(self, points: Iterable[Point], sent: Mapping[str, int]) -> None:
        """Send numbers, then note in tags that they are there."""
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        made = [Metric(_UNFIT.sub("_", name), value, now, step) for name, value, step in points if math.isfinite(value)]
        tags = [RunTag(f"tessera.{key}", str(value)) for key, value in sent.items()]
        for start in range(0, len(made), _BATCH):
            self._client.log_batch(self._run, metrics=made[start : start + _BATCH])
        self._client.log_batch(self._run, tags=tags)
        self._sent.update(sent)


def _client() -> Any:
    # A server that is away must not hold the run's screen for minutes; and nobody is told of the use.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise BadInput("TESSERA_TRACKING=mlflow needs its package: pip install 'tessera-al[mlflow]'") from None
    try:
        return MlflowClient()
    except Exception as error:
        raise BadInput(f"TESSERA_TRACKING=mlflow: {_first_line(error)}; check MLFLOW_TRACKING_URI") from None


def _facts(view: RunView) -> dict[str, str]:
    """Return what tells runs apart."""
    recipe = from_canonical(view.spec.recipe)
    return {
        "recipe": recipe.recipe,
        "seed": str(view.spec.seed),
        "dataset": view.spec.dataset_name,
        "model": recipe.model.axis.name,
        "training": recipe.training.name,
        "query": recipe.query.name,
        "selection": ", ".join(stage.name for stage in recipe.selection.stages) or "none",
    }


async def _epochs(entry: RoundView, store: ObjectStore, before: int) -> Iterator[Point]:
    """Numbers of each epoch of a round's training; steps go on from the ``before`` epochs of the rounds before."""
    history = tables.read(schemas.HISTORY, await store.get(entry.history), "history")
    points = [
        (f"train/{name}", float(value), before + int(epoch))
        for name in ("loss", "learning_rate", "val_miou")
        for epoch, value in zip(history["epoch"], history[name], strict=True)
    ]
    if entry.HasField("losses"):
        losses = tables.read(schemas.LOSSES, await store.get(entry.losses), "losses")
        rows = zip(*(losses[name] for name in schemas.LOSSES.names), strict=True)
        points += [(f"train/{phase}/{part}", float(value), before + int(epoch)) for epoch, phase, part, value in rows]
    return iter(points)


def _round(entry: RoundView, costs: list[Cost]) -> Iterator[Point]:
    """Quality of a round's model, the cost of the labels so far, and how fast it was trained."""
    for counts in entry.splits:
        measured = quality(counts)
        for name in ("miou", "pixel_accuracy"):
            if measured[name] is not None:
                yield f"{counts.split}/{name}", measured[name], entry.round
    for name in ("regions", "pixels", "clicks", "labelling_seconds"):
        yield f"cost/{name}", float(sum(getattr(cost, name) for cost in costs)), entry.round
    for timing in entry.timings:
        if timing.images_per_second:
            yield "speed/images_per_second", timing.images_per_second, entry.round
        yield f"seconds/{timing.step}", timing.wall_seconds, entry.round


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
