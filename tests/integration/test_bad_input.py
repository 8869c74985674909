"""Mistakes of users, through the command line: the message names what and where, the exit code is 2 or 3, nothing is
lost."""

from __future__ import annotations

import asyncio
import json
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from integration.loop import RECIPE, command, environment, files, selections, start, tessera, until, write_recipe
from servers import S3Process, running
from tessera.formats import weights
from tessera.runtime.messaging import connect
from tessera.runtime.streams import StreamSpec


def refused(done, code, *messages):
    """One clear error, no traceback, this exit code."""
    assert done.returncode == code, done.stderr
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    for message in messages:
        assert message in done.stderr
    return done


def bomb(side=30_000):
    """A valid PNG of 900 megapixels in about 110 KB."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture
def own(data, tmp_path):
    """A copy of the data set that a test may break."""
    return shutil.copytree(data, tmp_path / "own")


def first(folder, kind):
    return sorted((folder / kind / "train").iterdir())[0]


def run(recipe, own, tmp_path, *options, **env):
    return tessera("run", recipe, "--data", own, "--out", tmp_path / "out", *options, **env)


def test_missing_folder(recipe, tmp_path):
    refused(run(recipe, tmp_path / "gone", tmp_path), 2, str(tmp_path / "gone"), "no such folder")
    assert not (tmp_path / "out").exists()


def test_folder_of_no_known_layout(recipe, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(run(recipe, tmp_path / "empty", tmp_path), 2, "no known layout")


def test_truncated_image(recipe, own, tmp_path):
    path = first(own, "images")
    path.write_bytes(path.read_bytes()[:-400])
    refused(run(recipe, own, tmp_path), 2, str(path), "truncated")


def test_every_broken_file_is_named_at_once(recipe, own, tmp_path):
    broken = sorted((own / "images" / "train").iterdir())[:2]
    for path in broken:
        path.write_bytes(b"not an image")
    done = refused(run(recipe, own, tmp_path), 2, *map(str, broken))
    assert "2 problems" in done.stderr


def test_900_megapixels(recipe, own, tmp_path):
    path = first(own, "images").with_suffix(".png")
    first(own, "images").unlink()
    path.write_bytes(bomb())
    assert path.stat().st_size < 200_000
    refused(run(recipe, own, tmp_path), 2, str(path), "30000×30000")


def test_mask_of_another_size(recipe, own, tmp_path):
    path = first(own, "labels")
    Image.fromarray(np.zeros((10, 12), np.uint8)).save(path)
    refused(run(recipe, own, tmp_path), 2, str(path), "12×10", "96×64")


def test_class_value_out_of_range(recipe, own, tmp_path):
    path = first(own, "labels")
    labels = np.array(Image.open(path))
    labels[5, 7] = 77
    Image.fromarray(labels).save(path)
    refused(run(recipe, own, tmp_path), 2, str(path), "77")


def test_unknown_recipe_key_and_axis_value(own, tmp_path):
    recipe = write_recipe(tmp_path, budgett={"rounds": 3})
    refused(run(recipe, own, tmp_path), 2, "budgett: unknown key; did you mean budget?")
    recipe = write_recipe(tmp_path, partition={"name": "grit", "rows": 4, "cols": 4})
    refused(run(recipe, own, tmp_path), 2, "unknown name 'grit'", "did you mean grid")
    refused(tessera("run", "street_meel", "--out", tmp_path / "out"), 2, "did you mean street_meal")


def test_budget_larger_than_the_pool(recipe, tmp_path):
    done = tessera("run", recipe, "--out", tmp_path / "out", "--set", "budget.rounds=20")
    refused(done, 2, "budget", "176 regions", "has 96", "lower budget.rounds or budget.per_round")


def test_no_unlabelled_region_left(recipe, tmp_path):
    # Six images are the whole pool, so that nothing is left for a first round.
    done = tessera("run", recipe, "--out", tmp_path / "out", "--set", "selection.initial.0.images=6")
    refused(done, 2, "budget", "pool", "has 96")


def test_a_pickle_offered_as_weights(own, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(pickle.dumps({"features.0.0.weight": [1.0]}))
    recipe = write_recipe(tmp_path, model={**RECIPE["model"], "width": 1.0, "pretrained": str(path)})
    refused(run(recipe, own, tmp_path), 2, str(path), "pickle")


def test_weights_of_another_architecture(own, tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(weights.save({"layer1.0.conv1.weight": np.zeros((4, 4), np.float32)}))
    recipe = write_recipe(tmp_path, model={**RECIPE["model"], "width": 1.0, "pretrained": str(path)})
    refused(run(recipe, own, tmp_path), 2, "features.0.0.weight")


def test_no_weights_are_an_error_and_no_silent_random_start(own, tmp_path):
    recipe = write_recipe(tmp_path, model={**RECIPE["model"], "pretrained": "imagenet"})
    refused(
        run(recipe, own, tmp_path, XDG_CACHE_HOME=str(tmp_path)),
        2,
        "TESSERA_WEIGHTS_DIR",
        "model.pretrained=FILE, street",
        "or random",
    )


def test_nats_and_store_that_are_not_there(recipe, own, tmp_path):
    refused(run(recipe, own, tmp_path, "--nats", "nats://127.0.0.1:9"), 3, "nats://127.0.0.1:9", "does not answer")
    # The same folder goes on when the mistake is mended: nothing was spoiled.
    assert (tmp_path / "out" / "run.json").is_file()
    other = tmp_path / "other"
    s3 = {"TESSERA_S3_ENDPOINT": "127.0.0.1:9", "TESSERA_S3_SECURE": "false", "TESSERA_S3_ATTEMPTS": "2"}
    keys = {"TESSERA_S3_ACCESS_KEY": "a", "TESSERA_S3_SECRET_KEY": "secret-marker"}
    done = tessera("run", recipe, "--data", own, "--out", other, "--store", "s3://bucket/x", **s3, **keys)
    refused(done, 3, "127.0.0.1:9")
    assert "secret-marker" not in done.stderr
    refused(run(recipe, own, tmp_path / "third", "--store", "ftp://x"), 2, "ftp://x", "file:///folder")


def test_a_given_nats_whose_streams_are_others(recipe, own, nats_server, tmp_path):
    async def make():
        connection = await connect(nats_server.url, name="stranger")
        await connection.ensure_stream(StreamSpec("JOBS", ("tessera.job.>",), "limits", 600))
        await connection.close()

    asyncio.run(make())
    done = run(recipe, own, tmp_path, "--nats", nats_server.url)
    refused(done, 2, "stream JOBS: retention is 'limits', expected 'workqueue'", "Set it back")


@pytest.mark.full
def test_a_given_nats_that_vanishes_costs_no_label(recipe, reference, nats_server, tmp_path):
    out = tmp_path / "out"
    options = ["run", recipe, "--out", out, "--seed", 5, "--nats", nats_server.url]
    quick = {"TESSERA_ACK_WAIT": "6", "TESSERA_HEARTBEAT": "2"}
    process = start(*options, log=tmp_path / "log", TESSERA_PATIENCE_SECONDS="2", **quick)
    until(lambda: (out / "selections" / "round_00.parquet").exists() or process.poll() is not None, 120, "round 0")
    nats_server.kill()
    assert process.wait(120) == 3
    assert "has not answered for 2 s" in (tmp_path / "log").read_text()
    nats_server.start()
    done = tessera("resume", out, **quick)
    assert done.returncode == 0, done.stderr
    assert selections(out) == selections(reference)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_store_that_vanishes_costs_no_label(recipe, reference, tmp_path):
    """The run says that it waits and goes on by itself; whoever will not wait interrupts it and resumes later."""
    out, log = tmp_path / "out", tmp_path / "log"

    def written(round_):
        return (out / "selections" / f"round_{round_:02d}.parquet").exists()

    with running(S3Process(tmp_path / "s3")) as server:
        quick = {"TESSERA_S3_ATTEMPTS": "2", "TESSERA_MAX_ATTEMPTS": "2", "TESSERA_PATIENCE_SECONDS": "3"}
        env = {**server.environment(), **quick, "TESSERA_CACHE_DIR": str(tmp_path / "cache")}
        waits = f"{server.endpoint} does not answer"
        process = start("run", recipe, "--out", out, "--seed", 5, "--store", f"s3://{server.bucket}/x", log=log, **env)
        until(lambda: written(0) or process.poll() is not None, 240, "round 0")
        server.kill()
        until(lambda: waits in log.read_text() or process.poll() is not None, 120, "a word of the outage")
        # Longer than whatever else is waited for.
        time.sleep(5)
        server.start()
        until(lambda: written(1) or process.poll() is not None, 240, "round 1")
        before = log.read_text().count(waits)
        server.kill()
        until(lambda: log.read_text().count(waits) > before or process.poll() is not None, 120, "the second outage")
        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 130, log.read_text()
        said = log.read_text()
        assert f"continue with: tessera resume {out}" in said
        assert "Traceback" not in said
        server.start()
        done = tessera("resume", out, **env)
        assert done.returncode == 0, done.stderr
    assert selections(out) == selections(reference)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a small file system of its own")
def test_a_full_disk(recipe, own, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    inner = command("run", recipe, "--data", own, "--out", tmp_path / "out", "--store", disk.as_uri())
    script = f'mount -t tmpfs -o size=40k tmpfs "{disk}" && "$@"; code=$?; find "{disk}" -name ".tmp*" >&2; exit $code'
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *inner],
        capture_output=True, text=True, timeout=60, env=environment(), check=False,
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no private file system: {done.stderr.strip()}")
    refused(done, 3, "no room", "make room")
    # No half-written object is left behind, and with room the same command goes through its import.
    assert ".tmp" not in done.stderr
    assert not files(tmp_path / "out", ["summary.json"])


def test_a_folder_with_another_run(recipe, reference):
    before = (reference / "summary.json").read_bytes()
    refused(tessera("run", recipe, "--out", reference, "--seed", 99), 2, "holds another run", "tessera resume")
    assert (reference / "summary.json").read_bytes() == before


def test_resume_where_nothing_is(tmp_path):
    refused(tessera("resume", tmp_path / "nothing"), 2, "no run here")


def test_a_broken_summary_is_no_comparison(reference, tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps({"recipe": "x"}))
    refused(tessera("compare", reference, tmp_path), 2, "not the summary of a run")
