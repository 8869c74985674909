"""A run whose questions a robot answers through QuestionsService equals a simulated one but for annotator and time."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from integration.loop import TIMEOUT, repeated, start, summary, tessera, until, write_recipe
from robot import QUERIES, Robot, coordinator_of
from tessera.cli import folder
from tessera.formats import images
from tessera.pb import questions_pb2 as pb

HUMAN = {"name": "human", "undo_seconds": 0, "lease_seconds": 10}


def unlabelled(data: Path, tmp_path: Path) -> Path:
    """People need no truth: the pool that they see has no labels."""
    bare = tmp_path / "bare" / data.name
    shutil.copytree(data, bare)
    shutil.rmtree(bare / "labels" / "train")
    return bare


Change = Callable[[pb.PersonQuestion, pb.PersonAnswer], pb.PersonAnswer]


def answered(
    out: Path, recipe: Path, data: Path, labels: Path, robots: int = 1, changes: Sequence[Change] = ()
) -> list[Robot]:
    """Run a recipe of a human oracle to its end while robots answer from the label maps in a folder.

    ``changes``: one for each robot, which makes its answers other than the truth.
    """
    log = out.parent / f"{out.name}.log"
    process = start("run", recipe, "--data", data, "--out", out, "--seed", 5, log=log)
    truth = {path.stem: images.decode_labels(path.read_bytes(), path.name) for path in labels.iterdir()}

    def gone() -> bool:
        return process.poll() is not None

    async def work() -> list[Robot]:
        await asyncio.to_thread(until, lambda: gone() or ready(out), TIMEOUT, "the run's spec")
        assert not gone(), log.read_text()
        record = folder.read(out)
        assert record is not None
        spec = record.message()
        assert "train" not in spec.dataset.labels
        made = [Robot(lambda: coordinator_of(out), spec.run_id, truth, name=f"robot{n}") for n in range(robots)]
        for robot, change in zip(made, changes, strict=False):
            robot.change = change
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(*(one.work(gone) for one in made))
        return made

    made = asyncio.run(work())
    assert process.returncode == 0, log.read_text()
    return made


def ready(out: Path) -> bool:
    """Whether the run is submitted and its stack has an address."""
    record = folder.read(out)
    return record is not None and record.spec is not None and (out / "stack" / "stack.json").exists()


@pytest.mark.full
@pytest.mark.parametrize("query", sorted(QUERIES))
def test_a_robot_that_answers_from_the_truth_repeats_the_simulated_run(query, data, tmp_path):
    changes = QUERIES[query]
    simulated, people = tmp_path / "simulated", tmp_path / "people"
    done = tessera("run", write_recipe(tmp_path / "a", **changes), "--data", data, "--out", simulated, "--seed", 5)
    assert done.returncode == 0, done.stderr
    recipe = write_recipe(tmp_path / "b", **changes, oracle=HUMAN)
    (robot,) = answered(people, recipe, unlabelled(data, tmp_path), data / "labels" / "train")
    told = repeated(people, simulated, query)
    assert set(told["oracle"]) == {"human"}
    assert set(told["annotator"]) == {"robot0"}
    assert set(told["page_version"]) == {"robot/1"}
    assert np.allclose(told["measured_seconds"], 3.0)
    assert set(told["measured_clicks"]) == {2}
    assert len(robot.told) == len(told["region_id"])
    costs = summary(people)["rounds"][-1]
    assert costs["measured_clicks"] == 2 * len(told["region_id"])
    assert costs["measured_seconds"] == pytest.approx(3.0 * len(told["region_id"]))
    assert costs["clicks"] == summary(simulated)["rounds"][-1]["clicks"]
    assert json.loads((people / "summary.json").read_bytes())["axes"]["oracle"]["name"] == "human"


def who_errs(number: int) -> Change:
    """Somebody who now and then says one wrong class for a whole region, and takes another time for each question."""

    def change(question: pb.PersonQuestion, answer: pb.PersonAnswer) -> pb.PersonAnswer:
        digest = hashlib.sha256(f"{question.image_id} {question.region_id} {number}".encode()).digest()
        if digest[0] % 2:
            box = question.box
            answer.raster.values[:], answer.raster.lengths[:] = [number], [(box.y1 - box.y0) * (box.x1 - box.x0)]
        answer.seconds, answer.clicks = 1 + digest[1] / 64, digest[2] % 9
        return answer

    return change


def drawn(out: Path) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The answers in the run's store by region and then by time, with the pixels of their boxes in a row."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for path in (out / "stack" / "store" / "answers").glob("*/*/*.json"):
        top = json.loads(path.read_bytes())
        if top["kind"] != "answer":
            continue
        raster = top["answer"]["raster"]
        pixels = np.repeat(np.array(raster["values"], np.uint8), raster["lengths"])
        said = {"clicks": 0, **top["answer"], "who": top["annotator"], "at": top["at"], "pixels": pixels}
        found.setdefault((top["image_id"], int(top["region_id"])), []).append(said)
    return {region: sorted(said, key=lambda one: one["at"]) for region, said in found.items()}


@pytest.mark.full
def test_a_third_is_asked_where_two_differ_and_the_majority_is_learned(data, tmp_path):
    """Everything that the ledger says of several annotators is recounted from what lies in the store."""
    people = tmp_path / "people"
    recipe = write_recipe(tmp_path / "a", **QUERIES["mask"], oracle={**HUMAN, "overlap": 2, "agreement": 0.9})
    bare = unlabelled(data, tmp_path)
    answered(people, recipe, bare, data / "labels" / "train", 4, [who_errs(number) for number in range(4)])
    rows, given = pq.read_table(people / "ledger.parquet").to_pylist(), drawn(people)
    assert {(row["image_id"], row["region_id"]) for row in rows} == set(given)
    disputes = 0
    for row in rows:
        said = given[row["image_id"], row["region_id"]]
        assert row["annotator"] == "+".join(one["who"] for one in said)
        assert len({one["who"] for one in said}) == len(said)
        agreed = [
            float(np.mean(one["pixels"] == other["pixels"])) for at, one in enumerate(said) for other in said[at + 1 :]
        ]
        # A third, and never a fourth, exactly where the first two agree on less than the recipe asks for.
        assert len(said) == (3 if agreed[0] < 0.9 else 2)
        disputes += len(said) == 3
        assert row["agreement"] == pytest.approx(np.mean(agreed))
        assert row["measured_seconds"] == pytest.approx(sum(one["seconds"] for one in said))
        assert row["measured_clicks"] == sum(int(one["clicks"]) for one in said)
        expected = []
        for votes in np.stack([one["pixels"] for one in said], axis=1).tolist():
            (label, most), *others = Counter(votes).most_common()
            expected.append(255 if others and others[0][1] == most else label)
        crop = (people / "stack" / "store" / row["answer_key"]).read_bytes()
        assert images.decode_labels(crop, "answer").ravel().tolist() == expected
    assert 0 < disputes < len(rows), "some agree, and some do not"
    last = summary(people)["rounds"][-1]
    everything = [one for said in given.values() for one in said]
    assert last["measured_seconds"] == pytest.approx(sum(one["seconds"] for one in everything))
    assert last["measured_clicks"] == sum(int(one["clicks"]) for one in everything)
