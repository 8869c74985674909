"""A pool that grows: images by reference in a bucket, labels of some, an evaluation set, an append in mid-run."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import uuid
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from minio import Minio

from guide import guided
from integration.loop import TIMEOUT, labelled, start, summary, tessera, until, write_recipe
from integration.test_people import ready
from robot import Robot, coordinator_of
from servers import ACCESS_KEY, SECRET_KEY, S3Process
from tessera.cli import folder
from tessera.errors import TesseraError
from tessera.formats import images
from tessera.pb import questions_pb2 as pb

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
                done = await asyncio.to_thread(
                    tessera, *as_written(guided("tessera data append", "docs/data.md"), camera), "--store", store, **env
                )
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
    assert {row["annotator"] for row in ledger if row["round"]} == {"robot"}
    assert found["rounds"][0]["clicks"] == 0

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
    assert [one["selection_sha256"] for one in summary(again)["rounds"]] == [
        one["selection_sha256"] for one in found["rounds"]
    ]
    assert [one["data_version"] for one in summary(again)["rounds"]] == [1, 2, 2]

    exported = tessera(
        "export", "labels", out, tmp_path / "labels", "--layout", "coco", "--store", store, **camera.environment
    )
    assert exported.returncode == 0, exported.stderr
