"""A run whose questions a robot answers through QuestionsService equals a simulated one but for annotator and time."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from integration.loop import TIMEOUT, repeated, start, summary, tessera, until, write_recipe
from robot import QUERIES, Robot, coordinator_of
from tessera.cli import folder
from tessera.formats import images

HUMAN = {"name": "human", "undo_seconds": 0, "lease_seconds": 10}


def answered(out: Path, recipe: Path, data: Path, labels: Path, robots: int = 1) -> list[Robot]:
    """Run a recipe of a human oracle to its end while robots answer from the label maps in a folder."""
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
    # People need no truth: the pool that they see has no labels.
    bare = tmp_path / "bare" / data.name
    shutil.copytree(data, bare)
    shutil.rmtree(bare / "labels" / "train")
    (robot,) = answered(people, write_recipe(tmp_path / "b", **changes, oracle=HUMAN), bare, data / "labels" / "train")
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
