"""A pool that grows: images by reference in a bucket, labels of some, an evaluation set, an append in mid-run."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from google.protobuf.message import Message
from minio import Minio

from guide import guided
from integration.loop import TIMEOUT, labelled, start, summary, tessera, until, write_recipe
from integration.test_people import ready
from robot import Robot, coordinator_of
from servers import ACCESS_KEY, SECRET_KEY, S3Process
from tessera.cli import folder, recipes
from tessera.errors import TesseraError
from tessera.formats import images
from tessera.formats.manifests import dataset_from_json
from tessera.formats.media import PARQUET
from tessera.loop import plan
from tessera.loop.reducer import RunState, fold
from tessera.pb import questions_pb2 as pb
from tessera.pb.common_pb2 import ImageRange, ObjectRef
from tessera.pb.runs_pb2 import RunSpec, RunStatus, SubmitRunRequest, SubmitRunResponse
from tessera.runtime import series
from tessera.runtime.events import EventLog
from tessera.runtime.messaging import connect
from tessera.runtime.objects import open_store
from tessera.runtime.rpc import Channel
from tessera.runtime.runs_client import RunsClient
from tessera.runtime.settings import load

RECIPE = {
    "budget": {"unit": "regions", "per_round": 4, "rounds": 2},
    "partition": {"name": "grid", "rows": 2, "cols": 2},
    "selection": {
        "initial": [{"name": "random_images", "images": 1}],
        "embedding": {"features": {"name": "backbone"}, "projection": {"name": "pca"}, "fit_on": "pool"},
        "stages": [{"name": "kmeans_plusplus"}],
    },
}


class Camera:
    """A bucket into which images arrive."""

    def __init__(self, server: S3Process, data: Path) -> None:
        self.bucket, self.data = f"camera-{uuid.uuid4().hex[:8]}", data
        self.environment = server.environment()
        self._client = Minio(server.endpoint, ACCESS_KEY, SECRET_KEY, secure=False, region="us-east-1")
        self._client.make_bucket(self.bucket)

    @property
    def source(self) -> str:
        return f"s3://{self.bucket}/frames"

    def bring(self, split: str, prefix: str = "frames", kind: str = "images", stems: tuple[str, ...] = ()) -> None:
        for path in sorted((self.data / kind / split).iterdir()):
            if not stems or path.stem in stems:
                content = path.read_bytes()
                self._client.put_object(self.bucket, f"{prefix}/{path.name}", io.BytesIO(content), len(content))

    def truth(self) -> dict[str, np.ndarray]:
        paths = [path for split in ("train", "val", "test") for path in (self.data / "labels" / split).iterdir()]
        return {path.stem: images.decode_labels(path.read_bytes(), path.name) for path in paths}


def as_written(words: list[str], camera: Camera) -> list[str]:
    """A command of the guide, with the names of this test."""
    names = {"s3://BUCKET/PREFIX": camera.source, "classes.json": str(camera.data / "classes.json")}
    return [names.get(word, word) for word in words[1:]]


def grown(camera: Camera, tmp_path: Path, store: str, *, append: bool) -> Path:
    """Run a recipe to its end while a robot answers; new images arrive before it answers its first question."""
    out, log = tmp_path / "out", tmp_path / "run.log"
    env = camera.environment
    recipe = write_recipe(tmp_path, **RECIPE)
    words = [recipe if word == "RECIPE" else word for word in as_written(guided("tessera run", "docs/data.md"), camera)]
    # Two images instead of fifty.
    changes = ("--set", "evaluation.images=2", "--set", "oracle.undo_seconds=0", "--set", "oracle.lease_seconds=10")
    process = start(*words, *changes, "--store", store, "--out", out, log=log, **env)

    def gone() -> bool:
        return process.poll() is not None

    async def work() -> None:
        await asyncio.to_thread(until, lambda: gone() or ready(out), TIMEOUT, "the run's spec")
        assert not gone(), log.read_text()
        record = folder.read(out)
        assert record is not None
        robot = Robot(lambda: coordinator_of(out), record.message().run_id, camera.truth())
        async with asyncio.timeout(TIMEOUT):
            while append:
                request = pb.NextQuestionsRequest(run_id=robot.run_id, annotator="robot", count=1)
                with contextlib.suppress(TesseraError, OSError):
                    if (await robot.call("NextQuestions", request, pb.NextQuestionsResponse)).leases:
                        break
                assert not gone(), log.read_text()
                await asyncio.sleep(0.1)
            if append:
                await asyncio.to_thread(camera.bring, "val")
                # One of them comes with labels.
                labelled = min(path.stem for path in (camera.data / "labels" / "val").iterdir())
                await asyncio.to_thread(camera.bring, "val", "labels2", "labels", (labelled,))
                words = as_written(guided("tessera data append", "docs/data.md"), camera)
                labels = ("--labels", f"s3://{camera.bucket}/labels2", "--store", store)
                done = await asyncio.to_thread(tessera, *words, *labels, **env)
                assert done.returncode == 0, done.stderr
                assert "version 2: 9 images by reference, 11 classes, 3 of them new" in done.stdout
            await robot.work(gone)

    asyncio.run(work())
    assert process.returncode == 0, log.read_text()
    return out


@pytest.mark.full
def test_images_of_a_bucket_join_a_run_in_its_next_round(s3_server, data, tmp_path):
    camera = Camera(s3_server, data)
    camera.bring("train")
    (first, *_) = sorted(path.stem for path in (data / "images" / "train").iterdir())
    camera.bring("train", "labels", "labels", (first,))
    store = (tmp_path / "store").as_uri()
    importing = as_written(guided("tessera data import images", "docs/data.md"), camera)
    labels = ("--labels", f"s3://{camera.bucket}/labels")
    done = tessera(*importing, *labels, "--store", store, **camera.environment)
    assert done.returncode == 0, done.stderr
    out = grown(camera, tmp_path, store, append=True)

    found = summary(out)
    assert [one["data_version"] for one in found["rounds"]] == [1, 2, 2]
    assert [one["pool_images"] for one in found["rounds"]] == [4, 7, 7]
    assert found["dataset"]["splits"] == {"train": 4, "val": 2}
    assert found["dataset"]["series"] == "frames"
    assert all(one["val"]["images"] == 2 for one in found["rounds"])
    assert found["rounds"][-1]["val"]["miou"] is not None

    # The first round learned from the labels that came with the images, which nobody was asked for.
    ledger = pq.read_table(out / "ledger.parquet").to_pylist()
    mine = [row for row in ledger if row["round"] == 0]
    assert {(row["image_id"], row["annotator"], row["clicks"], row["seconds"]) for row in mine} == {
        (first, "imported", 0, 0.0)
    }
    assert {row["oracle"] for row in mine} == {"imported"}
    assert found["rounds"][0]["clicks"] == 0
    # The round that took up version 2 has the labels that came with it as answers, and the budget paid for none.
    joined = min(path.stem for path in (data / "labels" / "val").iterdir())
    for round_ in (1, 2):
        rows = [row for row in ledger if row["round"] == round_]
        came = [row for row in rows if row["annotator"] != "robot"]
        assert len(rows) - len(came) == RECIPE["budget"]["per_round"]
        assert {(row["image_id"], row["annotator"], row["clicks"]) for row in came} == (
            {(joined, "imported", 0)} if round_ == 1 else set()
        )
    assert joined not in {image for image, _ in labelled(out)}
    assert len({(row["image_id"], row["region_id"]) for row in ledger}) == len(ledger)

    # No image of the evaluation set was ever chosen.
    objects = Path(store.removeprefix("file://"))
    spec = folder.read(out).message()
    manifest = json.loads((objects / spec.dataset.manifest.key).read_bytes())
    aside = {item["image_id"] for item in manifest["splits"]["val"]}
    assert len(aside) == 2
    assert not aside & {image for image, _ in labelled(out)}
    assert first not in aside
    assert {path.name for path in objects.rglob("*.jpg")} == set()  # nothing was copied

    # Another server, another folder, and an even newer version: the store knows what each round took.
    camera.bring("test")
    more = tessera("data", "append", "frames", camera.source, "--store", store, **camera.environment)
    assert "version 3" in more.stdout, more.stderr
    again = tmp_path / "again"
    again.mkdir()
    spec_file = json.loads((out / "run.json").read_bytes())
    spec_file["finished"] = False
    (again / "run.json").write_text(json.dumps(spec_file))
    replayed = tessera("resume", again, **camera.environment)
    assert replayed.returncode == 0, replayed.stderr
    assert "began with version 1 of data set frames, which has version 3 now" in replayed.stderr
    assert [one["selection_sha256"] for one in summary(again)["rounds"]] == [
        one["selection_sha256"] for one in found["rounds"]
    ]
    assert [one["data_version"] for one in summary(again)["rounds"]] == [1, 2, 2]

    exported = tessera(
        "export", "labels", out, tmp_path / "labels", "--layout", "coco", "--store", store, **camera.environment
    )
    assert exported.returncode == 0, exported.stderr


CHANGES = ("oracle.name=human", "oracle.undo_seconds=0", "evaluation.images=2", "evaluate=[val]")


@pytest.fixture
def camera_stack(s3_server, data, tmp_path) -> Iterator[tuple[Camera, dict[str, str]]]:
    """``tessera up`` beside a bucket of images, which are imported as version 1; its environment."""
    camera, log = Camera(s3_server, data), tmp_path / "up.log"
    camera.bring("train")
    process = start("up", "--out", tmp_path / "stack", log=log, **camera.environment)
    try:
        until(lambda: "up; logs in" in log.read_text() or process.poll() is not None, 60, "tessera up")
        assert process.poll() is None, log.read_text()
        told = [line.removeprefix("export ") for line in log.read_text().splitlines() if line.startswith("export ")]
        env = {**camera.environment, **dict(line.split("=", 1) for line in told)}
        done = tessera(*as_written(guided("tessera data import images", "docs/data.md"), camera), **env)
        assert done.returncode == 0, done.stderr
        yield camera, env
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, log.read_text()


def store_of(env: dict[str, str]) -> Any:
    return open_store(env["TESSERA_STORE"], load(store=env["TESSERA_STORE"]))


def spec_without_val(env: dict[str, str], recipe: Path, run_id: str) -> RunSpec:
    """A run as any caller of SubmitRun describes it, from the entry of the newest version alone."""
    made = recipes.load(str(recipe), CHANGES)
    version = asyncio.run(series.version(store_of(env), "frames"))
    assert version is not None
    return RunSpec(
        run_id=run_id, recipe=made.canonical(), dataset=version.dataset, seed=3, dataset_name="frames",
        split_sizes=version.split_sizes, class_names=version.class_names, shard_images=made.runtime.shard_images,
        series="frames", version=version.number,
    )  # fmt: skip


def submitted(env: dict[str, str], spec: RunSpec) -> SubmitRunResponse:
    async def call() -> SubmitRunResponse:
        async with Channel(env["TESSERA_COORDINATOR"]) as channel:
            request = SubmitRunRequest(spec=spec)
            return await channel.call("tessera.v1.RunsService/SubmitRun", request, SubmitRunResponse, 30.0)

    return asyncio.run(call())


async def view_of(env: dict[str, str], run_id: str) -> Any:
    async with RunsClient(env["TESSERA_COORDINATOR"]) as runs:
        return await runs.get(run_id)


async def log_of(env: dict[str, str], run_id: str) -> RunState:
    """The run's state, folded from its events in NATS."""
    messaging = await connect(env["TESSERA_NATS_URL"], name="reader", token=env["TESSERA_NATS_TOKEN"])
    try:
        log = EventLog(messaging, store_of(env))
        return fold(RunState(), [event for _, event in await log.read(run_id)])
    finally:
        await messaging.close()


def parts(message: Message) -> Iterator[Message]:
    """A request and every message inside it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for one in value if field.is_repeated else [value]:
                yield from parts(one)


def images_in(request: Message, read: Callable[[ObjectRef], bytes]) -> tuple[set[str], set[str]]:
    """The splits of a request's image ranges, and the images that all its tables name: regions, selections, ledgers."""
    splits, ids = set[str](), set[str]()
    for part in parts(request):
        if isinstance(part, ImageRange):
            splits.add(part.split)
        elif isinstance(part, ObjectRef) and part.media_type == PARQUET:
            table = pq.read_table(io.BytesIO(read(part)))
            if "image_id" in table.column_names:
                ids |= set(table["image_id"].to_pylist())
    return splits, ids


@pytest.mark.full
def test_over_grpc_the_coordinator_sets_an_evaluation_set_aside_that_nothing_else_sees(camera_stack, tmp_path):
    camera, env = camera_stack
    recipe = write_recipe(tmp_path, **RECIPE)
    run = submitted(env, spec_without_val(env, recipe, "by-grpc")).run
    assert dict(run.spec.split_sizes) == {"train": 4, "val": 2}
    submit = ("submit", recipe, "--seed", 3, *[word for one in CHANGES for word in ("--set", one)], "--data")
    ours = tessera(*submit, "dataset:frames", **env)
    assert ours.returncode == 0, ours.stderr
    # The same set, in the same bytes, as that of the command line.
    assert asyncio.run(view_of(env, ours.stdout.strip())).spec.dataset == run.spec.dataset

    def read(ref: ObjectRef) -> bytes:
        return asyncio.run(store_of(env).get(ref))

    aside = {one.image_id for one in dataset_from_json(read(run.spec.dataset.manifest)).split("val")}
    assert len(aside) == 2

    # Images arrive. The runs that are there stay those runs; another one begins by the version's name.
    camera.bring("val")
    more = tessera(*as_written(guided("tessera data append", "docs/data.md"), camera), **env)
    assert more.returncode == 0, more.stderr
    again = submitted(env, spec_without_val(env, recipe, "by-grpc"))
    assert again.run.spec == run.spec
    assert "run by-grpc is there already" in again.note
    told = tessera(*submit, "dataset:frames", **env)
    assert (told.returncode, told.stdout) == (0, ours.stdout), told.stderr
    assert "version 1 of data set frames" in told.stderr
    assert "--data dataset:frames@2+" in told.stderr
    other = tessera(*submit, "dataset:frames@2+", **env)
    assert other.returncode == 0, other.stderr
    assert other.stdout != ours.stdout
    assert asyncio.run(view_of(env, other.stdout.strip())).spec.version == 2
    for run_id in (ours.stdout.strip(), other.stdout.strip()):
        assert tessera("cancel", run_id, **env).returncode == 0

    asked: list[tuple[str, str, bool]] = []

    def noted(question: pb.PersonQuestion, answer: pb.PersonAnswer) -> pb.PersonAnswer:
        box = question.box
        whole = (box.y0, box.x0, box.y1, box.x1) == (0, 0, question.image_height, question.image_width)
        asked.append((question.image_id, str(answer.WhichOneof("content")), whole))
        return answer

    robot = Robot(lambda: env["TESSERA_COORDINATOR"], "by-grpc", camera.truth(), change=noted)

    async def work() -> Any:
        ended = asyncio.Event()
        async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as tasks:
            tasks.create_task(robot.work(ended.is_set))
            while (view := await view_of(env, "by-grpc")).status == RunStatus.RUN_STATUS_RUNNING:
                await asyncio.sleep(0.2)
            ended.set()
        return view

    view = asyncio.run(work())
    assert view.status == RunStatus.RUN_STATUS_DONE, view.message
    assert [one.data.version for one in view.rounds] == [1, 2, 2]
    # The first questions: masks of the whole images of the evaluation set, and never again one of those.
    assert {image for image, _, _ in asked[:2]} == aside
    assert {(kind, whole) for _, kind, whole in asked[:2]} == {("raster", True)}
    assert not aside & {image for image, _, _ in asked[2:]}

    state = asyncio.run(log_of(env, "by-grpc"))
    met: Counter[str] = Counter()
    for step in state.steps.values():
        for job in plan.jobs(state, step):
            splits, ids = images_in(job.request, read)
            if step.name.startswith("val_") or step.name == "evaluate":
                assert splits <= {"val"}, step.name
                assert ids <= aside, step.name
            else:
                assert splits <= {"train"}, step.name
                assert not ids & aside, step.name
            met[step.name] += len(splits) + len(ids)
    for name in ("select", "train", "score", "ask", "label", "val_select", "val_label", "evaluate"):
        assert met[name], name
    chosen = {one.selection.sha256: one.selection for one in view.rounds}
    assert len(chosen) == 3
    assert not aside & {image for ref in chosen.values() for image in images_in(ref, read)[1]}
