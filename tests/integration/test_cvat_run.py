"""A street run that is answered in CVAT's files equals the simulated one but for annotator and time."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robot
from adapter_rounds import question
from integration.loop import TIMEOUT, repeated, start, tessera, until, write_recipe
from integration.test_people import HUMAN, ready
from tessera.adapters.cvat import images_xml
from tessera.adapters.cvat.scheme import DONE, ON
from tessera.adapters.cvat.shapes import CvatImage, CvatShape, covered, mask_shape
from tessera.cli import folder
from tessera.cli.stack import stack_facts
from tessera.errors import BadInput, Unavailable
from tessera.formats import images
from tessera.pb import questions_pb2 as pb
from tessera.queries.given import runs_to_raster
from tessera.runtime.objects import open_store
from tessera.runtime.people import cvat_sync
from tessera.runtime.people.client import QuestionsClient, open_round
from tessera.runtime.settings import load

pytestmark = pytest.mark.full


class Hands:
    """Somebody who sees the truth and works on CVAT's files; knows no more of a question than its region."""

    def __init__(self, truth: dict[str, np.ndarray[Any, Any]], round_: pb.QuestionRound) -> None:
        self.truth, self.round = truth, round_

    def work(self, path: Path, *, first_alone: bool) -> bytes:
        """Answer the questions of a file, as CVAT would export it; every second one, or all."""
        document = images_xml.read(path.read_bytes(), path.name)
        assert len({image.name for image in document.images}) == len(document.images)
        made = [self._image(one, every=2 if first_alone else 1) for one in document.images]
        dumped = "2026-01-01 00:00:00" if first_alone else "2026-01-02 00:00:00"
        data = images_xml.write(replace(document, images=tuple(made), assignee="ann"))
        return data.replace(b"</task>", f"</task><dumped>{dumped}</dumped>".encode())

    def _image(self, image: CvatImage, every: int) -> CvatImage:
        shapes, drawn = list[CvatShape](), list[CvatShape]()
        for at, shape in enumerate(image.shapes):
            if shape.label != "region" or at % every:
                shapes.append(shape)
                continue
            said, more = self._answer(image, shape)
            shapes.append(replace(shape, attributes={**shape.attributes, **said}))
            drawn += more
        return replace(image, shapes=(*shapes, *drawn))

    def _answer(self, image: CvatImage, region: CvatShape) -> tuple[dict[str, str], list[CvatShape]]:
        asked = question(covered(region, (0, 0, image.height, image.width)), image_id=Path(image.name).stem)
        said = robot.answer(asked, self.round, self.truth[asked.image_id])
        names = {one.index: one.name for one in self.round.classes} | {self.round.ignore_index: "undefined"}
        if said.WhichOneof("content") == "classes":
            chosen = [names[value] for value in said.classes.classes]
            if self.round.query.name == "dominant":
                return {"class": chosen[0]}, []
            return {**dict.fromkeys(chosen, ON), "state": DONE}, []
        box = asked.box
        raster = runs_to_raster(said.raster.values, said.raster.lengths, box.y1 - box.y0, box.x1 - box.x0)
        return {"state": DONE}, list(self._masks(raster, (box.y0, box.x0), names))

    def _masks(self, raster: np.ndarray[Any, Any], at: tuple[int, int], names: dict[int, str]) -> Iterator[CvatShape]:
        for value in np.unique(raster).tolist():
            yield CvatShape("mask", names[value], mask_shape(raster == value, at), z_order=2)


async def carry(out: Path, run: str, truth: dict[str, Any], gone: Callable[[], bool]) -> list[cvat_sync.CvatOutcome]:
    """Carry every round to CVAT and back until the run is over; half-done files first, then the whole."""
    store_url, made = stack_facts(out)["store"], list[cvat_sync.CvatOutcome]()
    store = open_store(store_url, load(store=store_url))
    async with QuestionsClient(robot.coordinator_of(out)) as client:
        while not gone():
            with contextlib.suppress(BadInput, Unavailable):
                message = await open_round(client, run)
                there = out.parent / f"cvat{len(made)}"
                await cvat_sync.export(client, store, run, there, pictures=False)
                hands, back = Hands(truth, message), there / "back.xml"
                for first_alone in (True, False):
                    data = await asyncio.to_thread(hands.work, there / "annotations.xml", first_alone=first_alone)
                    back.write_bytes(data)
                    made.append(await cvat_sync.give_files(client, run, [back], "nobody"))
                continue
            await asyncio.sleep(0.1)
    return made


@pytest.mark.parametrize("query", sorted(robot.QUERIES))
def test_a_run_answered_in_cvats_files_repeats_the_simulated_run(query: str, data: Path, tmp_path: Path) -> None:
    changes = robot.QUERIES[query]
    simulated, people = tmp_path / "simulated", tmp_path / "people"
    done = tessera("run", write_recipe(tmp_path / "a", **changes), "--data", data, "--out", simulated, "--seed", 5)
    assert done.returncode == 0, done.stderr
    truth = {
        path.stem: images.decode_labels(path.read_bytes(), path.name) for path in (data / "labels/train").iterdir()
    }
    bare = tmp_path / "bare" / data.name
    shutil.copytree(data, bare)
    shutil.rmtree(bare / "labels" / "train")
    log, recipe = tmp_path / "people.log", write_recipe(tmp_path / "b", **changes, oracle=HUMAN)
    process = start("run", recipe, "--data", bare, "--out", people, "--seed", 5, log=log)

    def gone() -> bool:
        return process.poll() is not None

    until(lambda: gone() or ready(people), TIMEOUT, "the run's spec")
    record = folder.read(people)
    assert record is not None, log.read_text()

    async def work() -> list[cvat_sync.CvatOutcome]:
        async with asyncio.timeout(TIMEOUT):
            return await carry(people, record.run_id, truth, gone)

    told = asyncio.run(work())
    assert process.wait(TIMEOUT) == 0, log.read_text()
    answers = repeated(people, simulated, query)
    # The half file left questions open and named them; the whole one gave the rest and knew the first again.
    half, whole = told[0], told[1]
    assert sum(one.outcomes.get("counted", 0) for one in told) == len(answers["region_id"])
    assert half.rejections
    assert whole.outcomes.get("known", 0) == half.outcomes["counted"]
    assert not whole.rejections
    assert set(answers["annotator"]) == {"ann"}
    assert set(answers["page_version"]) == {"cvat/1"}
