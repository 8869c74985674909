"""What a tracker is sent, when, and once; by MLflow itself where it is installed, else by a stand-in for its client."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import socket
import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from memory_blobs import MemoryBlobs
from tessera.cli import tracking
from tessera.cli.tracking import Tracker, open_tracker
from tessera.errors import BadInput
from tessera.formats import schemas, tables
from tessera.pb import runs_pb2 as pb
from unit.loop.simulator import load

MISSING = importlib.util.find_spec("mlflow") is None
# Deprecations inside the library are its own affair.
pytestmark = pytest.mark.filterwarnings("ignore")


class Client:
    """What Tracker asks of mlflow.MlflowClient; ``away`` makes every call fail."""

    def __init__(self):
        self.tags, self.params, self.metrics, self.ends, self.away = {}, {}, [], [], False

    def __getattribute__(self, name):
        if name in ("log_batch", "search_runs", "get_experiment_by_name") and self.away:
            raise ConnectionError("refused\nby the server")
        return object.__getattribute__(self, name)

    def get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id="7") if name == "tessera" else None

    def search_runs(self, experiments, filter_string, max_results):
        assert (experiments, max_results) == (["7"], 1)
        if "tessera.run" not in self.tags:
            return []
        assert filter_string == f"tags.`tessera.run` = '{self.tags['tessera.run']}'"
        return [SimpleNamespace(info=SimpleNamespace(run_id="r"), data=SimpleNamespace(tags=self.tags))]

    def create_run(self, experiment, run_name, tags):
        assert not self.tags
        self.tags.update(tags)
        return SimpleNamespace(info=SimpleNamespace(run_id="r"))

    def update_run(self, run, status):
        self.ends.append(status)

    def set_terminated(self, run, status):
        self.ends.append(status)

    def log_param(self, run, key, value):
        self.params[key] = value

    def log_batch(self, run, metrics=(), tags=()):
        self.metrics += [(one.key, one.value, one.step) for one in metrics]
        self.tags.update({one.key: one.value for one in tags})


class Store(MemoryBlobs):
    async def get(self, ref):
        return self.objects[ref.sha256]


@pytest.fixture(autouse=True)
def entities(monkeypatch):
    """MLflow's two value classes, where the package is not there."""
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    if MISSING:
        made = ModuleType("mlflow.entities")
        made.Metric = namedtuple("Metric", "key value timestamp step")
        made.RunTag = namedtuple("RunTag", "key value")
        monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
        monkeypatch.setitem(sys.modules, "mlflow.entities", made)


def round_(store, number, complete=True):
    """A round with a training of two epochs, and its measures where it is complete."""
    history = {"epoch": [1, 2], "loss": [2.0, 1.0], "learning_rate": [0.1, 0.05], "val_miou": [math.nan, 0.3]}
    losses = {"epoch": [1, 2], "phase": ["train"] * 2, "part": ["cross entropy (a)"] * 2, "value": [2.0, 1.0]}
    one = pb.RoundView(round=number, complete=complete)
    one.history.CopyFrom(store.write(tables.write(schemas.HISTORY, history)))
    one.losses.CopyFrom(store.write(tables.write(schemas.LOSSES, losses)))
    if complete:
        one.cost.clicks, one.cost.regions, one.cost.labelling_seconds = 10, 4, 2.5
        one.timings.add(step="train", wall_seconds=8.0, images_per_second=20.0)
        one.splits.add(split="val", true_positives=[1, 1], false_positives=[1, 0], false_negatives=[0, 1], images=1)
    return one


def view(*rounds, status=pb.RUN_STATUS_RUNNING):
    spec = pb.RunSpec(run_id="street-1", recipe=load("street_random").canonical(), seed=4, dataset_name="street")
    return pb.RunView(spec=spec, status=status, rounds=rounds)


async def test_epochs_quality_speed_and_cost_are_sent_once_also_after_a_restart():
    store, client = Store(), Client()
    tracker = Tracker(client)
    assert await tracker.update(view(), store) == []
    assert not client.tags
    # The training of a round is there before its measures are.
    assert await tracker.update(view(round_(store, 0, complete=False)), store) == []
    trained = {(name, value, step) for name, value, step in client.metrics}
    assert trained == {
        ("train/loss", 2.0, 1), ("train/loss", 1.0, 2), ("train/learning_rate", 0.1, 1),
        ("train/learning_rate", 0.05, 2), ("train/val_miou", 0.3, 2),
        ("train/train/cross entropy _a_", 2.0, 1), ("train/train/cross entropy _a_", 1.0, 2),
    }  # fmt: skip
    assert client.params["recipe"] == "street_random"
    assert await tracker.update(view(round_(store, 0)), store) == []
    measured = {(name, value, step) for name, value, step in client.metrics} - trained
    assert {("val/miou", 0.5, 0), ("cost/clicks", 10.0, 0), ("speed/images_per_second", 20.0, 0)} <= measured
    sent = len(client.metrics)
    assert await tracker.update(view(round_(store, 0)), store) == []
    # Another process goes on with the run: steps of epochs go on too, and costs are totals.
    other = Tracker(client)
    assert await other.update(view(round_(store, 0), round_(store, 1), status=pb.RUN_STATUS_DONE), store) == []
    later = client.metrics[sent:]
    assert {step for name, _, step in later if name.startswith("train/")} == {3, 4}
    assert ("cost/clicks", 20.0, 1) in later
    assert {step for name, _, step in later if not name.startswith("train/")} == {1}
    assert client.ends == ["RUNNING", "FINISHED"]


async def test_a_tracker_that_goes_away_costs_a_line_and_nothing_else(monkeypatch):
    store, client = Store(), Client()
    tracker = Tracker(client)
    client.away = True
    lines = await tracker.update(view(round_(store, 0)), store)
    assert lines == ["tracking: refused; what is missing is sent later"]
    assert await tracker.update(view(round_(store, 0)), store) == []  # not at every change of the run
    client.away = False
    monkeypatch.setattr(tracking.time, "monotonic", lambda: 1e12)
    assert await tracker.update(view(round_(store, 0)), store) == []
    assert ("val/miou", 0.5, 0) in client.metrics
    assert client.ends == []


def test_a_server_that_does_not_answer_at_the_start_is_an_error():
    client = Client()
    client.away = True
    with pytest.raises(BadInput, match=r"TESSERA_TRACKING=mlflow: refused; check MLFLOW_TRACKING_URI"):
        Tracker(client)


def test_without_the_package_the_error_names_the_command(monkeypatch):
    assert open_tracker("none") is None
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(BadInput, match=r"pip install 'tessera-al\[mlflow\]'"):
        open_tracker("mlflow")


async def test_summary_and_report_are_kept_and_a_failure_is_a_line(tmp_path):
    client = Client()
    client.log_artifact = lambda run, path: client.ends.append((run, path))
    tracker = Tracker(client)
    assert await tracker.keep(tmp_path) == []
    assert client.ends == []
    await tracker.update(view(status=pb.RUN_STATUS_DONE), Store())
    assert await tracker.keep(tmp_path) == []
    assert client.ends == ["FINISHED"] + [("r", str(tmp_path / name)) for name in ("summary.json", "report.html")]
    client.log_artifact = None
    (line,) = await tracker.keep(tmp_path)
    assert line.startswith("tracking: ")
    assert line.endswith("; the run's files stay where they are")


needs_mlflow = pytest.mark.skipif(MISSING, reason="mlflow is not installed: pip install -r locks/mlflow.lock")


@pytest.fixture
def in_a_folder(tmp_path, monkeypatch):
    """MLflow that keeps what it is sent in a folder, without a server."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def history(client, run, name):
    return [(one.step, one.value) for one in client.get_metric_history(run, name)]


def kept(client, run):
    return {one.path: Path(client.download_artifacts(run, one.path)).read_text() for one in client.list_artifacts(run)}


@needs_mlflow
async def test_mlflow_itself_keeps_what_is_sent(tmp_path, in_a_folder):
    from mlflow import MlflowClient

    (tmp_path / "summary.json").write_text("{}")
    (tmp_path / "report.html").write_text("<p>report")
    store = Store()
    for rounds in ([0], [0, 1]):
        tracker = open_tracker("mlflow")
        made = view(*(round_(store, number) for number in rounds), status=pb.RUN_STATUS_DONE)
        assert await tracker.update(made, store) == []
        assert await tracker.keep(tmp_path) == []
    client = MlflowClient()
    experiment = client.get_experiment_by_name("tessera")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.status, found.info.run_name) == ("FINISHED", "street-1")
    assert found.data.params == tracking._facts(made)
    assert found.data.params["training"] == "supervised"
    run = found.info.run_id
    assert history(client, run, "train/loss") == [(1, 2.0), (2, 1.0), (3, 2.0), (4, 1.0)]
    assert [step for step, _ in history(client, run, "train/train/cross entropy _a_")] == [1, 2, 3, 4]
    assert history(client, run, "val/miou") == [(0, 0.5), (1, 0.5)]
    assert history(client, run, "cost/clicks") == [(0, 10.0), (1, 20.0)]
    assert history(client, run, "speed/images_per_second") == [(0, 20.0), (1, 20.0)]
    assert kept(client, run) == {"summary.json": "{}", "report.html": "<p>report"}


@contextlib.contextmanager
def silent_server():
    """A server that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@needs_mlflow
async def test_a_server_that_never_answers_holds_nobody_and_misses_nothing(in_a_folder, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    store = Store()
    tracker = open_tracker("mlflow")
    there = tracker._client
    with silent_server() as address:
        tracker._client = MlflowClient(address)
        (line,) = await tracker.update(view(round_(store, 0)), store)
        assert line.startswith("tracking: ")
        assert line.endswith("; what is missing is sent later")
        # Nobody waits for it again at every change of the run.
        tracker._client = None
        assert await tracker.update(view(round_(store, 0)), store) == []
    tracker._client = there
    monkeypatch.setattr(tracking.time, "monotonic", lambda: 1e12)
    assert await tracker.update(view(round_(store, 0), round_(store, 1), status=pb.RUN_STATUS_DONE), store) == []
    (found,) = there.search_runs([tracker._experiment])
    assert found.info.status == "FINISHED"
    assert history(there, found.info.run_id, "val/miou") == [(0, 0.5), (1, 0.5)]


@needs_mlflow
def test_a_server_that_is_not_there_is_named_at_the_start(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with silent_server() as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(BadInput, match=r"TESSERA_TRACKING=mlflow: .*check MLFLOW_TRACKING_URI"):
            open_tracker("mlflow")
