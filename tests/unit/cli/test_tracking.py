"""What a tracker is sent, when, and once; by MLflow itself where it is installed, else by a stand-in for its client."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections import namedtuple
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


@pytest.mark.skipif(MISSING, reason="mlflow is not installed: pip install 'tessera-al[mlflow]'")
async def test_mlflow_itself_keeps_what_is_sent(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = Store()
    for rounds in ([0], [0, 1]):
        tracker = open_tracker("mlflow")
        made = view(*(round_(store, number) for number in rounds), status=pb.RUN_STATUS_DONE)
        assert await tracker.update(made, store) == []
    client = MlflowClient()
    experiment = client.get_experiment_by_name("tessera")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["training"] == "supervised"
    for name, steps in {
        "train/loss": [1, 2, 3, 4],
        "train/train/cross entropy _a_": [1, 2, 3, 4],
        "val/miou": [0, 1],
    }.items():
        assert [one.step for one in client.get_metric_history(found.info.run_id, name)] == steps
