"""docs/label.md as it is written: from a bucket on a real S3 server to labels, a model and a backup."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from annotator import Annotator
from guide import file_of, guided
from integration.loop import end_started, start, tessera, until
from servers import S3Process, running
from tessera.datasets.street.params import StreetParams
from tessera.datasets.street.write import make_street

IMAGES = 18
ADDRESS = re.compile(r"dashboard: (http://[^/]+)/sign-in#(\w+)")


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Images of street scenes in a bucket, and what the guide exports to reach it."""
    server = S3Process(tmp_path / "s3")
    made = make_street(tmp_path / "street", StreetParams(height=64, width=96, train=6, val=1, test=1, frames=3))
    shutil.copytree(made / "images" / "train", server.data / "pictures" / "cam")
    with running(server):
        yield server.environment()
        end_started()


class Reader:
    """Somebody who types what the guide says, in two terminals."""

    def __init__(self, folder: Path, exported: dict[str, str]) -> None:
        self.folder, self.exported, self.told = folder, exported, dict[str, str]()
        self.run = ""
        self.process: subprocess.Popen[bytes] | None = None

    def up(self) -> float:
        """Start the stack in the first terminal; return the seconds it took."""
        log, begun = self.folder / f"up-{uuid.uuid4().hex[:6]}.log", time.monotonic()
        words = guided("tessera up", "docs/label.md")[1:]
        self.process = process = start(*words, log=log, cwd=self.folder, **self.exported)
        until(lambda: "up; logs in" in log.read_text() or process.poll() is not None, 240, "tessera up")
        text = log.read_text()
        self.told = dict(
            line.removeprefix("export ").split("=", 1) for line in text.splitlines() if line.startswith("export ")
        )
        found = ADDRESS.search(text)
        assert found is not None, text
        self.address, self.token = found.groups()
        return time.monotonic() - begun

    def interrupt(self) -> None:
        """Press Ctrl-C in the first terminal."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(90) in (0, 130)

    def types(self, words: list[str]) -> str:
        """Type a command into the second terminal, with the own names in the place of the guide's."""
        names = {"RUN": self.run, "s3://BUCKET/PREFIX": "s3://pictures/cam"}
        words = [names.get(word, word) for word in words]
        if words[0] == "tessera":
            done = tessera(*words[1:], cwd=self.folder, timeout=560, **self.exported, **self.told)
        else:
            done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_a_reader_gets_from_a_bucket_to_labels_a_model_and_a_backup(bucket: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    reader = Reader(folder, bucket)
    begun = time.monotonic()
    started = reader.up()
    (folder / "classes.txt").write_text("road\ncar\nsky\n")
    assert f"{IMAGES} images by reference" in reader.types(guided("tessera data import images", "docs/label.md"))
    # The guide's sizes take a day of somebody's time.
    recipe = (
        file_of("docs/label.md", "extends:").replace("images: 20", "images: 2").replace("per_round: 32", "per_round: 4")
    )
    assert recipe.count("images: 2}") == recipe.count("per_round: 4,") == 1
    recipe = recipe.replace("rounds: 4", "rounds: 1") + "training: {epochs: 1}\n"
    (folder / "label.yaml").write_text(recipe)
    reader.run = reader.types(guided("tessera submit", "docs/label.md")).split()[-1]
    ada = Annotator(reader.address, reader.token, reader.run)
    first = ada.waits_for_a_question(lambda: reader.types(guided("tessera status", "docs/label.md")))
    print(f"up {started:.0f} s, first question after {time.monotonic() - begun:.0f} s, of {IMAGES} images")
    ada.answer(first)
    assert "1 of" in reader.types(guided("tessera status", "docs/label.md"))
    ada.client.close()

    # Stopped in the middle of a round, copied, lost, and started from the copy.
    reader.interrupt()
    reader.types(guided("cp -a stack/store", "docs/label.md"))
    (folder / "stack").rename(folder / "lost")
    reader.types(guided("mkdir stack", "docs/label.md"))
    reader.types(guided("cp -a backup", "docs/label.md"))
    reader.up()
    assert reader.run in reader.types(guided("tessera rebuild", "docs/label.md"))
    until(lambda: "1 of" in reader.types(guided("tessera status", "docs/label.md")), 120, "the answer from before")

    # Stopped and started again, as somebody does in the evening; then the rest is answered.
    address = reader.address
    reader.interrupt()
    reader.up()
    assert reader.address == address
    ada = Annotator(reader.address, reader.token, reader.run)
    seen = "round 0/1"

    def round_0_is_over() -> bool:
        return seen not in reader.types(guided("tessera status", "docs/label.md"))

    assert ada.work(round_0_is_over) >= 5
    ada.work(lambda: "done" in reader.types(guided("tessera status", "docs/label.md")))
    ada.client.close()

    reader.types(guided("tessera watch", "docs/label.md"))
    reader.types(guided("tessera export labels", "docs/label.md"))
    told = json.loads((folder / "labels" / "provenance.json").read_bytes())["answers"]
    assert {one["annotator"] for one in told} == {"ada"}
    assert {one["source"] for one in told} == {"human"}
    assert json.loads((folder / "labels" / "annotations" / "stuff_train.json").read_bytes())["annotations"]
    reader.types(guided("tessera export model", "docs/label.md"))
    model = onnxruntime.InferenceSession(folder / "model" / "model.onnx", providers=["CPUExecutionProvider"])
    (labels,) = model.run(["labels"], {"image": np.zeros((1, 64, 96, 3), np.uint8)})
    assert labels.shape == (1, 64, 96)
    reader.interrupt()
