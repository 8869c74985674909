"""A selector that somebody else wrote takes the place of ours in a run, by the commands of the guide: the run is the
same.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import third_party
from guide import guided
from integration.loop import selections, start, summary, tessera, until, write_recipe
from servers import S3Process

GUIDE = (third_party.ROOT / "docs" / "extending.md").read_text()
SECONDS = 800.0
LINES = 100
CHOICE = {
    "selection": {"initial": [{"name": "random", "count": 8}], "stages": [{"name": "top", "by": "entropy_mean"}]},
    "budget": {"unit": "regions", "per_round": 8, "rounds": 1},
}


def exported(name: str) -> str:
    """The value that the guide exports."""
    found = re.search(rf"^export .*{name}=('[^']*'|\S+)", GUIDE, re.MULTILINE)
    assert found is not None
    return found[1].strip("'")


def test_the_example_is_short_and_shares_no_code_with_us() -> None:
    files = sorted(path for path in third_party.EXAMPLE.rglob("*.py") if not {"contract", "build"} & {*path.parts})
    assert third_party.EXAMPLE / "selector.py" in files
    sources = [path.read_text() for path in files]
    assert not [one for one in sources if re.search(r"^\s*(import|from) (tessera|services)\b", one, re.MULTILINE)]
    # All files together; imports, docstrings and empty lines count, too.
    assert sum(len(one.splitlines()) for one in sources) <= LINES


@pytest.mark.full
@pytest.mark.timeout(2400)
def test_a_run_with_the_examples_selector_chooses_what_ours_chooses(s3_server: S3Process, tmp_path: Path) -> None:
    recipe, settings = write_recipe(tmp_path, **CHOICE), s3_server.environment()
    ours, log = tmp_path / "ours", tmp_path / "up.log"
    done = tessera("run", recipe, "--seed", 5, "--out", ours, timeout=SECONDS)
    assert done.returncode == 0, done.stderr

    settings["TESSERA_ALGORITHMS"] = exported("TESSERA_ALGORITHMS")
    start(*guided("tessera up", "docs/extending.md")[1:], log=log, cwd=tmp_path, **settings)
    until(lambda: "up; logs in" in log.read_text(), 300, "tessera up")
    told = [line.removeprefix("export ") for line in log.read_text().splitlines() if line.startswith("export ")]
    settings |= dict(line.split("=", 1) for line in told)
    built = third_party.build(tmp_path)
    with third_party.running(built, settings) as address, third_party.bridged(built, settings, address):
        check = guided("tessera conformance", "docs/extending.md")[1:]
        check[check.index("--target") + 1] = address
        examined = tessera(*check, timeout=SECONDS, **settings)
        assert examined.returncode == 0, examined.stdout + examined.stderr
        sent = tessera("submit", recipe, "--seed", 5, timeout=SECONDS, **settings)
        assert sent.returncode == 0, sent.stderr
        run = sent.stdout.strip()
        watch = [run if word == "RUN" else word for word in guided("tessera watch", "docs/extending.md")[1:]]
        watched = tessera(*watch, cwd=tmp_path, timeout=SECONDS, **settings)
        assert watched.returncode == 0, watched.stderr
        audited = tessera("audit", run, timeout=SECONDS, **settings)
        assert audited.returncode == 0, audited.stdout + audited.stderr

    theirs = tmp_path / watch[-1]
    assert selections(theirs) == selections(ours)
    assert len(selections(ours)) == 2
    # Everything but how long it took.
    times = {"timings": None, "compute_seconds": None, "images_per_second": None}
    for entry, reference in zip(summary(theirs)["rounds"], summary(ours)["rounds"], strict=True):
        assert {**entry, **times} == {**reference, **times}
    for path in sorted((ours / "selections").glob("round_*.parquet")):
        chosen, reference = pq.read_table(theirs / "selections" / path.name), pq.read_table(path)
        assert chosen.schema.equals(reference.schema)
        for name in reference.column_names:
            np.testing.assert_array_equal(chosen[name].to_numpy(), reference[name].to_numpy(), err_msg=name)
    # Both rounds were selected by the example; the kit has removed nothing of the run's and left records of its own.
    records = [json.loads(path.read_bytes()) for path in (s3_server.data / "tessera/runs/jobs/Select").glob("*.json")]
    assert len(records) >= 2
    assert {one["algorithm"] for one in records} == {third_party.VERSION}
