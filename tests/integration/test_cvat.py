"""Questions leave for CVAT and come back as answers of a round: by files, and by a recorded server."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import zipfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from guide import guided
from integration.desk import Bench, bench, serving
from recorded_cvat import TOKEN, RecordedCvat, recorded
from tessera.adapters.cvat import images_xml, masks_zip
from tessera.adapters.cvat.images_xml import CvatDocument
from tessera.adapters.cvat.scheme import DONE, SKIP
from tessera.adapters.cvat.shapes import CvatImage, CvatShape, mask_shape
from tessera.cli.main import app
from tessera.errors import BadInput
from tessera.pb import questions_pb2 as pb
from tessera.runtime.people import cvat_sync
from tessera.runtime.people.client import QuestionsClient


@contextlib.asynccontextmanager
async def opened(url: str, folder: Path) -> AsyncIterator[tuple[Bench, QuestionsClient]]:
    async with bench(url, folder) as made, serving(made) as address, QuestionsClient(address) as client:
        await made.open(made.small.request("mask", undo_seconds=600))
        yield made, client


def masks(made: Bench, image: str) -> list[CvatShape]:
    truth = made.small.truth[image]
    return [CvatShape("mask", f"class {value}", mask_shape(truth == value), z_order=1) for value in (0, 1, 2)]


def drawn(made: Bench, document: CvatDocument, dumped: str, state: str = DONE) -> bytes:
    """The file after somebody drew the truth on every image and set the state of every region."""
    images = []
    for one in document.images:
        shapes = [replace(shape, attributes={**shape.attributes, "state": state}) for shape in one.shapes]
        images.append(replace(one, shapes=(*shapes, *masks(made, one.name.removesuffix(".png")))))
    data = images_xml.write(replace(document, images=tuple(images), assignee="ann"))
    return data.replace(b"</task>", f"</task><dumped>{dumped}</dumped>".encode())


async def rasters(made: Bench) -> dict[int, np.ndarray]:
    """The answers that the service has, by rank."""
    found = await made.calls.questions(pb.ListQuestionsRequest(run_id="run", with_answers=True))
    return {
        view.question.rank: np.repeat(one.answer.raster.values, one.answer.raster.lengths)
        for view in found.questions
        for one in view.answers
    }


async def test_a_round_travels_in_files_and_each_answer_counts_once(nats_url: str, tmp_path: Path) -> None:
    async with opened(nats_url, tmp_path) as (made, client):
        there = tmp_path / "cvat"
        text = await cvat_sync.export(client, made.store, "run", there)
        assert text.endswith("8 questions about 2 images, query mask")
        assert sorted(path.name for path in there.rglob("*") if path.is_file()) == [
            "annotations.xml", "image0.png", "image1.png", "labels.json",
        ]  # fmt: skip
        labels = [one["name"] for one in json.loads((there / "labels.json").read_text())]
        assert labels == ["class 0", "class 1", "class 2", "undefined", "region"]
        assert not (await made.next("page", 8)).leases
        document = images_xml.read((there / "annotations.xml").read_bytes(), "annotations.xml")
        back, zipped = tmp_path / "back.xml", tmp_path / "job_1.zip"
        back.write_bytes(drawn(made, document, "2026-01-01 10:00:00"))
        told = await cvat_sync.give_files(client, "run", [back], "")
        assert (told.outcomes, told.rejections) == ({"counted": 8}, [])
        for rank, flat in (await rasters(made)).items():
            y, x = 4 * (rank % 4 // 2), 4 * (rank % 2)
            assert np.array_equal(flat, made.small.truth[f"image{rank // 4}"][y : y + 4, x : x + 4].ravel())
        assert (await cvat_sync.give_files(client, "run", [back], "")).outcomes == {"known": 8}
        # Exported later as a zip, one image changed: the others stayed as they were.
        other = CvatShape("rectangle", "class 1", (0, 0, 4, 4), z_order=5)
        first = images_xml.read(back.read_bytes(), "back.xml").images[0]
        changed = replace(document, images=(replace(first, shapes=(*first.shapes, other)), *document.images[1:]))
        later = drawn(made, changed, "2026-01-02 10:00:00")
        with zipfile.ZipFile(zipped, "w") as file:
            file.writestr("annotations.xml", later)
        told = await cvat_sync.give_files(client, "run", [zipped], "")
        assert told.outcomes == {"counted": 1, "known": 7}
        assert set((await rasters(made))[0].tolist()) == {1}
        # The older file comes once more.
        assert (await cvat_sync.give_files(client, "run", [back], "")).outcomes == {"known": 7, "replaced": 1}
        progress = await made.progress()
        assert [(one.annotator, one.answered) for one in progress.annotators if one.answered] == [("ann", 8)]


async def test_what_is_no_answer_is_named_and_hinders_nothing(nats_url: str, tmp_path: Path) -> None:
    async with opened(nats_url, tmp_path) as (made, client):
        there = tmp_path / "cvat"
        await cvat_sync.export(client, made.store, "run", there, count=5, pictures=False)
        document = images_xml.read((there / "annotations.xml").read_bytes(), "annotations.xml")
        # Questions that CVAT was not given are not missed.
        (there / "open.xml").write_bytes(drawn(made, document, "", state="open"))
        (there / "text.xml").write_bytes(b"no annotations")
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as file:
            file.writestr("readme.txt", "nothing")
        (there / "other.zip").write_bytes(out.getvalue())
        paths = [there / name for name in ("none.xml", "text.xml", "other.zip", "open.xml")]
        told = await cvat_sync.give_files(client, "run", paths, "")
        assert not told.outcomes
        reasons = [one.reason for one in told.rejections]
        assert len(reasons) == 8
        for part, reason in zip(("cannot be read", "is no XML", "has no labelmap.txt"), reasons[:3], strict=True):
            assert part in reason
        assert all("is not marked done" in reason for reason in reasons[3:])
        # The same file, said to be finished; then all are skipped, and answered after all.
        told = await cvat_sync.give_files(client, "run", [there / "open.xml"], "", finished=True)
        assert told.outcomes == {"counted": 5}
        (there / "skip.xml").write_bytes(drawn(made, document, "2027-01-01 10:00:00", state=SKIP))
        told = await cvat_sync.give_files(client, "run", [there / "skip.xml"], "")
        assert (told.outcomes, (await made.progress()).skipped) == ({"counted": 5}, 5)
        (there / "again.xml").write_bytes(drawn(made, document, "2028-01-01 10:00:00"))
        told = await cvat_sync.give_files(client, "run", [there / "again.xml"], "")
        assert (told.outcomes, (await made.progress()).skipped) == ({"counted": 5}, 0)
        (there / "nobody.xml").write_bytes(images_xml.write(document))
        told = await cvat_sync.give_files(client, "run", [there / "nobody.xml"], "")
        assert [one.reason for one in told.rejections] == ["nobody.xml: does not say who answered; name the annotator"]
        await made.calls.close(pb.CloseRoundRequest(run_id="run"))
        with pytest.raises(BadInput, match="has no open round"):
            await cvat_sync.give_files(client, "run", [], "")


async def test_masks_answer_what_cvat_was_given(nats_url: str, tmp_path: Path) -> None:
    async with opened(nats_url, tmp_path) as (made, client):
        await cvat_sync.export(client, made.store, "run", tmp_path / "cvat", count=3, pictures=False)
        document = images_xml.read((tmp_path / "cvat" / "annotations.xml").read_bytes(), "annotations.xml")
        images = [CvatImage(f"image{at}.png", 8, 8, tuple(masks(made, f"image{at}"))) for at in range(2)]
        zipped = tmp_path / "masks.zip"
        zipped.write_bytes(masks_zip.write(document.labels, images))
        told = await cvat_sync.give_files(client, "run", [zipped], "bob")
        assert all("is not marked done" in one.reason for one in told.rejections)
        told = await cvat_sync.give_files(client, "run", [zipped], "bob", finished=True)
        assert (told.outcomes, sorted(await rasters(made))) == ({"counted": 3}, [0, 1, 2])
        assert (await cvat_sync.give_files(client, "run", [zipped], "bob", finished=True)).outcomes == {"known": 3}


async def test_a_round_is_answered_on_a_server(nats_url: str, tmp_path: Path) -> None:
    server = pytest.importorskip("tessera.runtime.people.cvat")
    pytest.importorskip("cvat_sdk", reason="cvat-sdk is not installed: pip install 'tessera-al[cvat]'")
    async with opened(nats_url, tmp_path) as (made, client):
        with recorded(RecordedCvat()) as there, server.CvatServer(there.url, TOKEN) as api:
            text = await cvat_sync.put(client, made.store, api, "run", images_per_job=1)
            assert text.endswith("8 questions in 2 jobs, 2 of them new")
            labels = {one["name"]: number for number, one in there.labels.items()}
            for job, image in zip(sorted(there.jobs), ("image0", "image1"), strict=True):
                frame = there.jobs[job]["start_frame"]
                for one in masks(made, image):
                    there.drawn[job]["shapes"].append(
                        {"type": "mask", "label_id": labels[one.label], "frame": frame, "z_order": 1,
                         "points": [float(value) for value in one.points], "source": "manual", "attributes": [],
                         "occluded": False, "rotation": 0.0, "group": 0}
                    )  # fmt: skip
            there.finish(min(there.jobs), "Ann+B")
            told = await cvat_sync.fetch(client, api, "run", "")
            assert told.outcomes == {"counted": 4}
            assert [one.reason for one in told.rejections] == ["is new; its answers count when it is completed"]
            # The job is opened and completed again, and nothing was changed.
            there.finish(min(there.jobs), "Ann+B", at="2026-05-01T00:00:00Z")
            there.finish(max(there.jobs))
            told = await cvat_sync.fetch(client, api, "run", "")
            assert (told.outcomes, told.rejections) == ({"counted": 4, "known": 4}, [])
            progress = await made.progress()
            assert sorted((one.annotator, one.answered) for one in progress.annotators if one.answered) == [
                ("Ann-B", 4), ("cvat", 4),
            ]  # fmt: skip
            for rank, flat in (await rasters(made)).items():
                y, x = 4 * (rank % 4 // 2), 4 * (rank % 2)
                assert np.array_equal(flat, made.small.truth[f"image{rank // 4}"][y : y + 4, x : x + 4].ravel())


async def test_the_commands_carry_a_round_and_back(
    nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cvat_sdk", reason="cvat-sdk is not installed: pip install 'tessera-al[cvat]'")

    async def command(told: list[str], *more: object, **replaced: object) -> tuple[int, str]:
        words = [str(replaced.get(word.partition(".")[0], word)) for word in told[1:]]
        where = ["--coordinator", address, *([] if "import-answers" in told else ["--store", store])]
        done = await asyncio.to_thread(CliRunner().invoke, app, [*words, *map(str, more), *where])
        return done.exit_code, done.output

    store, out, token = (tmp_path / "store").as_uri(), tmp_path / "out", tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    async with bench(nats_url, tmp_path) as made, serving(made) as address:
        await made.open(made.small.request("mask", undo_seconds=600))
        export = guided("tessera people export-tasks --format cvat", "docs/adapters.md")
        read = guided("tessera people import-answers --format cvat", "docs/adapters.md")
        status, said = await command(export, "--count", 3, RUN="run", tasks=out)
        assert (status, "3 questions about 1 images, query mask" in said) == (0, True)
        document = images_xml.read((out / "annotations.xml").read_bytes(), "annotations.xml")
        back = tmp_path / "job_12.zip"
        with zipfile.ZipFile(back, "w") as file:
            file.writestr("annotations.xml", drawn(made, document, "2026-01-01 10:00:00"))
        status, said = await command(read, tmp_path / "none.xml", RUN="run", job_12=back)
        assert (status, said.splitlines()[0]) == (0, "3 counted")
        assert "none.xml: cannot be read" in said
        status, said = await command(export, "--format", "cvta", RUN="run", tasks=tmp_path / "other")
        assert (status, "did you mean cvat?" in said) == (2, True)
        with recorded(RecordedCvat()) as there:
            monkeypatch.delenv("TESSERA_CVAT_TOKEN", raising=False)
            words = ["people", "sync", "cvat", "run", "--url", there.url, "--coordinator", address, "--store", store]
            done = await asyncio.to_thread(CliRunner().invoke, app, words)
            assert (done.exit_code, "set TESSERA_CVAT_TOKEN" in done.output) == (2, True)
            sync = guided("tessera people sync cvat", "docs/adapters.md")
            names = {"RUN": "run", "https://cvat": there.url, "token": token}
            status, said = await command(sync, "--once", **names)
            assert (status, "5 questions in 1 jobs, 1 of them new" in said) == (0, True)
            for job in there.jobs:
                shapes = there.drawn[job]["shapes"]
                more = [{**one, "label_id": min(there.labels), "z_order": 1, "attributes": []} for one in shapes]
                there.drawn[job]["shapes"] = [*shapes, *more]
                there.finish(job, "bob")
            status, said = await command(sync, "--once", **names)
            assert (status, said.count("5 counted"), TOKEN in said) == (0, 1, False)
