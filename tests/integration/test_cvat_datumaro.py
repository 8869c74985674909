"""CVAT's files read by datumaro, and datumaro's files read by us: masks and labels equal to the pixel.

datumaro brings an OpenCV of its own, so it lives in a virtual environment of its own, which the first run makes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapter_rounds import question, round_of
from tessera.adapters.cvat import images_xml, masks_zip
from tessera.adapters.cvat.images_xml import CvatDocument
from tessera.adapters.cvat.questions import CvatSource, image_name, images_of, replies
from tessera.adapters.cvat.scheme import scheme
from tessera.adapters.cvat.shapes import CvatImage, CvatShape, covered, layers
from tessera.adapters.tasks import ToolRound, ToolTask
from tessera.formats import images as pictures
from tessera.queries.given import runs_to_mask

pytestmark = pytest.mark.full

DATUMARO = "1.13.12"
SCRIPT = Path(__file__).parents[1] / "datumaro_side.py"
SIZE = (20, 26)


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of datumaro's environment, kept in the user's cache; skips where no index can be reached."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "tessera-tests" / f"datumaro-{DATUMARO}-{sys.version_info.major}.{sys.version_info.minor}"
    made, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True, timeout=300)
        command = [str(made), "-m", "pip", "install", "--quiet", f"datumaro=={DATUMARO}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            pytest.skip(f"datumaro {DATUMARO} cannot be installed: {done.stderr.strip()[-300:]}")
        complete.touch()
    return made


def run(python: Path, *arguments: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "OMP_NUM_THREADS": "1"}
    command = [str(python), str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def regions(rng: np.random.Generator) -> list[tuple[str, np.ndarray[Any, np.dtype[np.bool_]]]]:
    """Two images cut into four regions each, with ragged borders, holes and parts."""
    found = []
    for number in range(2):
        rough = np.add.outer(np.arange(SIZE[0]) // 10 * 2, np.arange(SIZE[1]) // 13)
        flips = rng.random(SIZE) < 0.15
        of = np.where(flips, rng.integers(0, 4, SIZE), rough)
        found += [(f"image{number}", of == region) for region in range(4)]
    return found


def round_and_tasks(rng: np.random.Generator) -> tuple[ToolRound, list[ToolTask]]:
    tasks = []
    for rank, (name, region) in enumerate(regions(rng)):
        asked = question(region, (), rank, name)
        plane = rng.integers(0, 3, (asked.box.y1 - asked.box.y0, asked.box.x1 - asked.box.x0)).astype(np.uint8)
        tasks.append(ToolTask.of(asked, pictures.encode_png(plane)))
    return ToolRound.of(round_of("mask", ["road", "car", "sky & <sea>"])), tasks


def test_datumaro_reads_our_files(python: Path, tmp_path: Path) -> None:
    round_, tasks = round_and_tasks(np.random.default_rng(1))
    made, names = images_of(round_, tasks), scheme(round_)
    (tmp_path / "xml" / "images").mkdir(parents=True)
    tag = CvatShape("tag", "car")
    made = [CvatImage(one.name, one.width, one.height, (*one.shapes, tag)) for one in made]
    document = CvatDocument(names.labels, tuple(made), "round 1")
    (tmp_path / "xml" / "annotations.xml").write_bytes(images_xml.write(document))
    for one in made:
        blank = pictures.encode_png(np.zeros((one.height, one.width, 3), np.uint8))
        (tmp_path / "xml" / "images" / one.name).write_bytes(blank)
    run(python, "read", "cvat", str(tmp_path / "xml"), str(tmp_path / "xml.json"))
    told = json.loads((tmp_path / "xml.json").read_text())
    assert told["labels"] == [one.name for one in names.labels]
    for image in made:
        found = told["items"][image.name.removesuffix(".png")]
        assert len(found) == len(image.shapes)
        for theirs, ours in zip(found, image.shapes, strict=True):
            assert theirs["label"] == ours.label
            if ours.kind == "tag":
                assert theirs["type"] == "label"
                continue
            assert (theirs["type"], theirs["z_order"]) == ("mask", ours.z_order)
            assert np.array_equal(runs_to_mask(theirs["runs"], *SIZE), covered(ours, (0, 0, *SIZE)))
            assert {name: theirs["attributes"][name] for name in ours.attributes} == dict(ours.attributes)
    labels = [one for one in names.labels if one.name in names.classes]
    zipped = tmp_path / "masks.zip"
    zipped.write_bytes(masks_zip.write(labels, made))
    folder = tmp_path / "masks"
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(zipped), str(folder)], check=True, timeout=60)
    run(python, "read", "voc_segmentation", str(folder), str(tmp_path / "masks.json"))
    told = json.loads((tmp_path / "masks.json").read_text())
    for image in made:
        expected = np.full(SIZE, 255, np.uint8)
        for value, pixels in layers(image.shapes, names.classes, (0, 0, *SIZE)):
            expected[pixels] = value
        raster = np.full(SIZE, 255, np.uint8)
        for one in told["items"][image.name.removesuffix(".png")]:
            raster[runs_to_mask(one["runs"], *SIZE)] = names.classes[one["label"]]
        assert np.array_equal(raster, expected)
        assert set(np.unique(raster).tolist()) == {0, 1, 2}


def test_we_read_datumaros_files(python: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    round_, tasks = round_and_tasks(rng)
    labels, colors = [one.name for one in round_.labels], [one.color for one in round_.labels]
    shapes: dict[str, list[dict[str, Any]]] = {}
    for name in ("image0", "image1"):
        shapes[name] = [
            {"label": labels[at % 3], "z_order": at, "rows": (rng.random(SIZE) < 0.3).astype(int).tolist()}
            for at in range(4)
        ]
        # Along pixel edges.
        shapes[name].append({"label": "car", "z_order": 9, "points": [2, 1, 9, 1, 9, 6, 5, 6, 5, 3, 2, 3]})
    content = {
        "labels": labels, "items": shapes, "size": SIZE,
        "colors": [[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in colors],
    }  # fmt: skip
    (tmp_path / "content.json").write_text(json.dumps(content))
    run(python, "write", str(tmp_path / "content.json"), str(tmp_path))
    expected = {}
    for name, mine in shapes.items():
        raster = np.full(SIZE, 255, np.uint8)
        for one in mine:
            pixels = np.zeros(SIZE, bool)
            if "rows" in one:
                pixels = np.array(one["rows"], bool)
            else:
                pixels[1:3, 2:9] = pixels[3:6, 5:9] = True
            raster[pixels] = labels.index(one["label"])
        expected[name] = raster
    (xml,) = (tmp_path / "cvat").glob("*.xml")
    document = images_xml.read(xml.read_bytes(), xml.name)
    assert {one.name for one in document.labels} == set(labels)
    for image in document.images:
        raster = np.full(SIZE, 255, np.uint8)
        for value, pixels in layers(image.shapes, scheme(round_).classes, (0, 0, *SIZE)):
            raster[pixels] = value
        assert np.array_equal(raster, expected[Path(image.name).stem])
    # Its masks, zipped as CVAT does it, answer the questions.
    done = subprocess.run(
        [sys.executable, "-m", "zipfile", "-c", str(tmp_path / "m.zip"), *map(str, (tmp_path / "masks").iterdir())],
        check=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    read = masks_zip.read((tmp_path / "m.zip").read_bytes(), "m.zip")
    found, wrong = replies(round_, tasks, read, CvatSource("file", "ann", "2026", finished=True, bare=True))
    assert not wrong
    assert len(found) == len(tasks)
    for reply, task in zip(found, tasks, strict=True):
        y0, x0, y1, x1 = task.box
        truth = expected[image_name(task).removesuffix(".png")][y0:y1, x0:x1]
        assert reply.given is not None
        assert np.array_equal(reply.given.raster, np.where(task.inside, truth, 255))


def distance(corners: np.ndarray[Any, Any], x: float, y: float) -> float:
    """How far a place is from the nearest edge of a polygon."""
    found = []
    for first, second in zip(corners, np.roll(corners, -1, 0), strict=True):
        edge = second - first
        along = np.clip(((np.array([x, y]) - first) @ edge) / max(float(edge @ edge), 1e-12), 0, 1)
        found.append(float(np.hypot(*(first + along * edge - np.array([x, y])))))
    return min(found)


def test_pycocotools_has_the_centres_of_pixels_where_we_have_them(python: Path, tmp_path: Path) -> None:
    """CVAT exports polygons by it: along pixel edges the same pixels, else all but those at an edge."""
    rng, polygons = np.random.default_rng(3), []
    for _ in range(300):
        (x0, x1), (y0, y1) = (np.sort(rng.choice(21, 2, replace=False)).tolist() for _ in range(2))
        polygons.append({"size": SIZE, "points": [x0, y0, x1, y0, x1, y1, x0, y1]})
    for _ in range(300):
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        far = rng.uniform(2, 9, len(angles))
        corners = np.stack([10 + far * np.cos(angles), 10 + far * np.sin(angles)], axis=1)
        polygons.append({"size": SIZE, "points": (np.round(corners * 16) / 16).ravel().tolist()})
    (tmp_path / "polygons.json").write_text(json.dumps(polygons))
    run(python, "fill", str(tmp_path / "polygons.json"), str(tmp_path / "filled.json"))
    differ = 0
    for at, (one, theirs) in enumerate(zip(polygons, json.loads((tmp_path / "filled.json").read_text()), strict=True)):
        ours = covered(CvatShape("polygon", "car", tuple(one["points"])), (0, 0, *SIZE))
        places = np.argwhere(ours != runs_to_mask(theirs, *SIZE)).tolist()
        assert not places or at >= 300
        corners = np.array(one["points"], float).reshape(-1, 2)
        assert all(distance(corners, x + 0.5, y + 0.5) < 0.25 for y, x in places)
        differ += len(places)
    # They do differ there: what is exported as masks is not what was drawn.
    assert differ > 0
