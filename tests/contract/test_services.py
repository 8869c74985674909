"""Every service as a separate process, every real method through both doors, on a tiny street data set.

The planner of the loop makes the requests, as in a run. Each first request of a method is computed twice, once per
door, with the record of the first computation removed in between.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.message import Message
from grpc_reflection.v1alpha import reflection_pb2

from contract.processes import METHODS, NAMES, OWNERS, Client, Served, client
from integration.loop import RECIPE
from servers import NatsProcess, running
from tessera.cli import data
from tessera.errors import BadInput
from tessera.formats import schemas, tables
from tessera.loop import plan
from tessera.loop.reading import parse
from tessera.loop.reducer import RunState, apply
from tessera.pb import common_pb2 as common
from tessera.pb import embedder_pb2 as embedder
from tessera.pb import oracle_pb2 as oracle
from tessera.pb import partitioner_pb2 as partitioner
from tessera.pb import questions_pb2
from tessera.pb import runs_pb2 as runs
from tessera.pb import scorer_pb2 as scorer
from tessera.pb import selector_pb2 as selector
from tessera.pb import trainer_pb2 as trainer
from tessera.pb.jobs_pb2 import JobRecord
from tessera.runtime import catalogue, rpc
from tessera.runtime.objects import open_store
from tessera.runtime.settings import load

pytestmark = pytest.mark.slow

COORDINATOR_CALLS = {
    *(("tessera.v1.RunsService", call) for call in ("SubmitRun", "GetRun", "ListRuns", "WatchRun", "CancelRun")),
    *(("tessera.v1.RunsService", call) for call in ("ResumeRun", "ListObjects", "RedoJob")),
    ("tessera.v1.WorkersService", "ListWorkers"),
    *(
        ("tessera.v1.QuestionsService", call)
        for call in questions_pb2.DESCRIPTOR.services_by_name["QuestionsService"].methods_by_name
    ),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("services")
    with running(NatsProcess(folder / "nats")) as server:
        assert isinstance(server, NatsProcess)
        made = Served(folder, server.url)
        try:
            for name in NAMES:
                made.start(name)
            for name in NAMES:
                made.address(name)
            yield made
        finally:
            for process in made.processes.values():
                process.kill()
                process.wait(timeout=10)


@pytest.fixture(scope="module")
def spec(served: Served) -> runs.RunSpec:
    """The tiny recipe on its data set, in the store: one shard per split, one round after the first, networks to
    train."""
    networks = [
        {"name": "labeledness", "epochs": 1, "batch": 2},
        {"name": "vaal", "size": 32, "width": 4, "latent": 4, "epochs": 1, "batch": 4},
    ]
    changes = {
        "budget": {"unit": "regions", "per_round": 8, "rounds": 1},
        "runtime": {"shard_images": 16},
        "score": [*RECIPE["score"], *networks],
    }
    recipe = parse({**RECIPE, **changes}, {})
    store = open_store(served.store_url, load(fsync=False))
    found = asyncio.run(data.into_store(store, recipe, None, served.folder / "data"))
    return runs.RunSpec(
        run_id="contract",
        recipe=recipe.canonical(),
        dataset=found.message,
        seed=5,
        dataset_name=found.name,
        split_sizes=found.split_sizes,
        class_names=found.class_names,
        shard_images=recipe.runtime.shard_images,
    )


@dataclass
class Walked:
    """Results of every method's first request: the response through each door, and the record of each time."""

    requests: dict[str, Message] = field(default_factory=dict)
    responses: dict[str, dict[str, bytes]] = field(default_factory=dict)
    records: dict[str, list[JobRecord]] = field(default_factory=dict)
    end: plan.Action | None = None


async def _both(use: Client, method: str, request: Message, walked: Walked) -> JobRecord:
    key = catalogue.job_key(method, request)
    answers: dict[str, bytes] = {}
    made: list[JobRecord] = []
    doors = ["grpc", "jetstream"]
    for door in doors if len(walked.requests) % 2 else reversed(doors):
        if made:
            await use.forget(method, key)
        if door == "grpc":
            answers[door] = await use.grpc(method, request)
        else:
            answers[door] = (await use.jetstream(method, request)).response
        made.append(await use.record(method, key))
    walked.requests[method], walked.responses[method], walked.records[method] = request, answers, made
    return made[-1]


async def _walk(served: Served, spec: runs.RunSpec) -> Walked:
    walked = Walked()
    state = apply(RunState(), runs.RunEvent(submitted=runs.RunSubmitted(spec=spec)))
    async with client(served) as use:
        while isinstance(action := plan.next_action(state), plan.StartStep):
            keys = [catalogue.job_key(job.method, job.request) for job in action.jobs]
            step = runs.StepStarted(round=action.round, step=action.step, job_keys=keys)
            state = apply(state, runs.RunEvent(step_started=step))
            for job in action.jobs:
                if job.method in walked.requests:
                    record = await use.jetstream(job.method, job.request)
                else:
                    record = await _both(use, job.method, job.request, walked)
                state = apply(state, runs.RunEvent(job_done=runs.JobDone(record=record)))
        # The one method that only a run with people needs.
        asked = scorer.AskRequest(
            manifest=spec.dataset.manifest,
            shards=walked.requests["Answer"].shards,
            selection=walked.requests["Answer"].selection,
            query=walked.requests["Answer"].query,
            model=walked.requests["Evaluate"].model,
            superpixels=16,
        )
        await _both(use, "Ask", asked, walked)
    walked.end = action
    return walked


@pytest.fixture(scope="module")
def walked(served: Served, spec: runs.RunSpec) -> Walked:
    return asyncio.run(_walk(served, spec))


def test_a_run_needs_every_method_of_every_service(walked: Walked) -> None:
    assert isinstance(walked.end, plan.Finish), walked.end
    assert set(walked.requests) == set(METHODS)
    assert {OWNERS[name] for name in METHODS} == set(NAMES) - {"coordinator", "dashboard"}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_both_doors_compute_equal_bytes(walked: Walked, method: str) -> None:
    answers = walked.responses[method]
    assert answers["grpc"] == answers["jetstream"]
    METHODS[method].response.FromString(answers["grpc"])
    first, second = walked.records[method]
    assert first.response == second.response == answers["grpc"]
    # Two computations, and not one record read twice.
    assert first.job_seconds != second.job_seconds
    assert first.algorithm == METHODS[method].algorithm


@pytest.mark.skipif(sys.platform != "linux", reason="reads the maps of processes")
def test_parents_only_talk(served: Served, walked: Walked) -> None:
    """Only the compute children load the libraries that compute."""
    for name, process in served.processes.items():
        loaded = {Path(each.path).name for each in psutil.Process(process.pid).memory_maps()}
        heavy = {each for each in loaded if each.startswith(("libtorch", "cv2", "_umap", "libllvmlite"))}
        assert not heavy, f"{name}: {heavy}"


@pytest.mark.parametrize("name", NAMES)
async def test_health_and_reflection_know_every_method(served: Served, name: str) -> None:
    address = served.address(name)
    handler = importlib.import_module(f"services.{name}.handler")
    expected = {(method.service, method.name) for method in handler.METHODS}
    if name == "coordinator":
        expected = COORDINATOR_CALLS
    services = {service for service, _ in expected}
    assert await rpc.is_serving(address)
    assert all([await rpc.is_serving(address, service) for service in services])
    listed = set(await rpc.reflected(address))
    assert {each for each in listed if each.startswith("tessera.")} == services
    assert {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= listed
    described = {(service, call) for service in services for call in await _described(address, service)}
    assert described == expected


async def _described(address: str, service: str) -> list[str]:
    """Methods of a service as a client learns them from reflection."""
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=service)
    async with rpc.Channel(address) as channel:
        stub = channel._channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        async for raw in stub(iter([asked.SerializeToString()]), timeout=10):
            answer = reflection_pb2.ServerReflectionResponse.FromString(raw).file_descriptor_response
            files = [descriptor_pb2.FileDescriptorProto.FromString(each) for each in answer.file_descriptor_proto]
            found = [one for file in files for one in file.service if f"{file.package}.{one.name}" == service]
            return [method.name for one in found for method in one.method]
    return []


def _asking_for(labels: common.ObjectRef, manifest: common.ObjectRef, empty: common.ObjectRef) -> dict[str, Message]:
    """A request of each method that would have its service read these labels."""
    split = common.ImageRange(split="train", start=0, end=1)
    shard = common.RegionShard(images=split, regions=labels, maps=labels)
    grid = common.AxisValue(name="grid", parameters='{"cols":4,"rows":4}')
    column = scorer.ScoreColumn(
        column="random_mean",
        score=common.AxisValue(name="random", parameters="{}"),
        aggregation=common.AxisValue(name="mean", parameters="{}"),
    )
    features = embedder.FeatureShard(features=labels, targets=labels)
    return {
        "Partition": partitioner.PartitionRequest(manifest=labels, images=split, partition=grid),
        "Score": scorer.ScoreRequest(shard=shard, columns=[column]),
        "Featurize": embedder.FeaturizeRequest(manifest=manifest, targets=labels, shards=[shard]),
        "Fit": embedder.FitRequest(shards=[features]),
        "Project": embedder.ProjectRequest(projection=empty, shards=[features]),
        "Select": selector.SelectRequest(shards=[shard]),
        "Ask": scorer.AskRequest(manifest=labels, selection=empty),
        "Answer": oracle.AnswerRequest(manifest=manifest, selection=empty, labels=labels),
        "Discriminate": trainer.DiscriminateRequest(manifest=manifest, ledgers=[labels]),
        "Train": trainer.TrainRequest(manifest=manifest, val_labels=labels, checkpoint_policy="best_val"),
    }


@pytest.mark.parametrize("split", ["test", "val", "train"])
async def test_who_may_read_which_labels(served: Served, spec: runs.RunSpec, split: str) -> None:
    """Of the ground truth the oracle reads train, the trainer val, the evaluator all (the walk shows), others none."""
    # All methods of a service may read the same; Discriminate's request has no field for labels.
    may = {("Answer", "train"), ("Train", "val"), ("Discriminate", "val")}
    none = {name: [] for name in schemas.SELECTION.names}
    async with client(served) as use:
        empty = await use.store.put_content(tables.write(schemas.SELECTION, none), "application/vnd.apache.parquet")
        requests = _asking_for(spec.dataset.labels[split], spec.dataset.manifest, empty)
        assert set(requests) == set(METHODS) - {"Evaluate"}
        for method, request in requests.items():
            if (method, split) in may:
                continue
            refusal = f"permission denied, the {OWNERS[method]} may not read these labels"
            with pytest.raises(BadInput, match=refusal):
                await use.grpc(method, request)
            event = await use.end(await use.submit(method, request), OWNERS[method], 20)
            assert (event.job_failed.failure.reason, event.job_failed.failure.exit_code) == ("bad_input", 2), method
            assert refusal in event.job_failed.failure.message


async def test_sigterm_drains_every_service(served: Served, walked: Walked) -> None:
    """Last, because it ends them: the trainer ends its job first, the others leave at once, all of them cleanly."""
    request = trainer.TrainRequest()
    request.CopyFrom(walked.requests["Train"])
    request.seed += 1
    request.training.parameters = json.dumps({**json.loads(request.training.parameters), "epochs": 6})
    async with client(served) as use:
        address = served.address("trainer")
        run_id = await use.submit("Train", request)
        key = catalogue.job_key("Train", request)
        async with asyncio.timeout(20):
            while not await _begun(use, key):
                await asyncio.sleep(0.02)
        began = time.monotonic()
        for process in served.processes.values():
            process.send_signal(signal.SIGTERM)
        for name, process in served.processes.items():
            code = await asyncio.to_thread(process.wait, 30)
            assert code == 0, f"{name}: {served.log(name)}"
            if name != "trainer":
                assert time.monotonic() - began < 15, name
            assert "Traceback" not in served.log(name)
        assert not await rpc.is_serving(address, timeout=1)
        event = await use.end(run_id, "trainer", 5)
        assert event.HasField("job_done"), event
        assert event.job_done.record.attempt == 1
    assert not list(served.folder.glob("tessera-scratch-*")), "scratch folders go with their processes"


async def _begun(use: Client, key: str) -> bool:
    """Whether some worker has counted an attempt at the job."""
    names = await use.messaging._js.stream_info("KV_attempts", subjects_filter=f"$KV.attempts.{key}.*")
    return bool(names.state.subjects)
