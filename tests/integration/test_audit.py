"""The audit finds the errors of a run and nothing else; lost and damaged results are computed again."""

from __future__ import annotations

import json
import shutil

import pytest

from integration.loop import selections, tessera
from tessera.formats import schemas, tables
from tessera.pb.jobs_pb2 import JobRecord
from tessera.pb.oracle_pb2 import AnswerResponse
from tessera.pb.partitioner_pb2 import PartitionResponse
from tessera.pb.trainer_pb2 import TrainResponse

pytestmark = pytest.mark.faults


@pytest.fixture
def copied(reference, tmp_path):
    """A finished run of one's own."""
    shutil.copytree(reference, tmp_path / "out")
    return tmp_path / "out"


def audit(out, *more):
    done = tessera("audit", "--out", out, "--store", (out / "stack" / "store").as_uri(), "--json", *more)
    assert done.returncode in (0, 3), done.stderr
    found = json.loads(done.stdout)
    assert (done.returncode == 3) == bool(found["violations"])
    return found


def records(out, method):
    """Records of a method's jobs, by their paths in the store."""
    from google.protobuf import json_format

    folder = out / "stack" / "store" / "jobs" / method
    return {path: json_format.Parse(path.read_bytes(), JobRecord()) for path in sorted(folder.glob("*.json"))}


def region_maps(out):
    """Paths of all region maps, with the job that made each."""
    store = out / "stack" / "store"
    for record in records(out, "Partition").values():
        table = PartitionResponse.FromString(record.response).shard.maps
        for key in tables.read(schemas.MAPS, (store / table.key).read_bytes(), table.key)["key"]:
            yield store / str(key), record.job_key


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_an_undisturbed_run_has_no_violation_and_a_damaged_one_each_by_its_name(copied):
    clean = audit(copied)
    assert clean["violations"] == []
    assert clean["status"] == "done"
    assert clean["jobs"] > 10
    assert clean["objects"] > clean["jobs"]
    assert audit(copied, "--same-as", clean["digest"])["violations"] == []

    inner, _ = next(region_maps(copied))
    flip(inner)
    path, evaluated = next(iter(records(copied, "Evaluate").items()))
    path.write_bytes(path.read_bytes()[:-9])
    store = copied / "stack" / "store"
    answer = next(iter(records(copied, "Answer").values()))
    (store / AnswerResponse.FromString(answer.response).ledger.key).unlink()
    found = audit(copied, "--same-as", "0" * 64)
    told = [(one["invariant"], one["text"]) for one in found["violations"]]
    assert {invariant for invariant, _ in told} == {"I2", "I4", "I7"}
    for invariant, part in [("I2", inner.name), ("I4", evaluated.job_key), ("I2", answer.job_key), ("I7", "0" * 64)]:
        assert any(invariant == one and part in text for one, text in told), (invariant, part, told)
    plain = tessera("audit", "--out", copied, "--store", store.as_uri())
    assert plain.returncode == 3
    assert len(plain.stdout.splitlines()) == len(told) - 1 + 1, "a line a violation, and one in the end"


@pytest.mark.full
def test_one_result_is_made_again_by_its_name(copied, reference):
    inner, key = next(region_maps(copied))
    inner.unlink()
    assert [one["invariant"] for one in audit(copied)["violations"]] == ["I2"]
    again = tessera("redo", key, "--out", copied)
    assert again.returncode == 0, again.stderr
    assert inner.is_file()
    found = audit(copied)
    assert found["violations"] == []
    assert found["digest"] == audit(reference)["digest"]
    assert selections(copied) == selections(reference)
    unknown = tessera("redo", "f" * 64, "--out", copied)
    assert unknown.returncode == 2
    assert "has it" in unknown.stderr


@pytest.mark.full
def test_a_run_over_a_store_with_losses_makes_them_again_up_the_chain(recipe, reference, copied, tmp_path):
    """NATS is new, records of one step are gone, and what their jobs read is lost or flipped: nobody has to help."""
    store = copied / "stack" / "store"
    for inner, _ in region_maps(copied):
        inner.unlink(missing_ok=True)  # a grid cuts all images alike
    weights = [TrainResponse.FromString(one.response).model.weights.key for one in records(copied, "Train").values()]
    flip(store / weights[0])
    answer = next(iter(records(copied, "Answer").values()))
    ledger = AnswerResponse.FromString(answer.response).ledger
    rows = tables.read(schemas.LEDGER, (store / ledger.key).read_bytes(), ledger.key)
    flip(store / str(next(key for key in rows["answer_key"] if key)))
    for method in ("Score", "Train"):
        for path in records(copied, method):
            path.unlink()
    out = tmp_path / "again"
    done = tessera("run", recipe, "--out", out, "--seed", 5, "--store", store.as_uri())
    assert done.returncode == 0, done.stderr
    assert selections(out) == selections(reference)
    assert any("results are made again" in path.read_text() for path in out.rglob("host.log"))
    found = tessera("audit", "--out", out, "--json")
    assert found.returncode == 0, found.stdout
    assert json.loads(found.stdout)["digest"] == audit(reference)["digest"]
