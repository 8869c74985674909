"""Images by reference that join a data set: its versions, their names, and labels that come with the images."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contract.referenced import Place, imported, manifest_of, opened, picture
from tessera.cli import images as command
from tessera.errors import BadInput
from tessera.formats.images import encode_png
from tessera.formats.manifests import labels_from_json
from tessera.pb import runs_pb2
from tessera.runtime import series, taking
from tessera.runtime.objects import restrict


def appended(place: Place, source: str = "") -> str:
    return command.append_images(command.Wanted(source or place.source, place.store, name="camera"))


def test_images_are_added_as_a_version_that_names_the_one_before(place, classes):
    place.write("a_000001.png", picture(1))
    place.write("b.png", picture(2))
    first = manifest_of(imported(place, classes))
    place.write("a_000000.png", picture(3))
    place.write("again.png", picture(1))
    said = appended(place)
    assert "camera, version 2: 3 images by reference, 2 classes, 1 of them new, 1 left out" in said
    second = manifest_of(said)
    told = json.loads(said.splitlines()[-1])
    before = json.loads(imported_reference(place, 1))
    assert second.series is not None
    assert (second.series.number, second.series.previous) == (2, before["dataset"]["manifest"]["sha256"])
    assert second.split("train")[:2] == first.split("train")
    assert second.split("train")[2].image_id == "a_000000"
    assert told["manifest"] != before["dataset"]["manifest"]["key"]
    assert appended(place) == said.replace(", 1 of them new", ", 0 of them new")  # nothing new, nothing changed
    assert not list(Path(place.store.removeprefix("file://")).glob("datasets/camera/versions/000003-*"))


def imported_reference(place: Place, number: int) -> str:
    folder = Path(place.store.removeprefix("file://")) / "datasets/camera/versions"
    (entry,) = folder.glob(f"{number:06d}-*.json")
    return entry.read_text()


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_a_name_says_which_version_and_whether_it_stays(place, classes):
    place.write("a.png", picture(1))
    imported(place, classes)
    place.write("b.png", picture(2))
    appended(place)

    def meant(text: str) -> tuple[int, bool]:
        found, stays = asyncio.run(series.named(opened(place), f"dataset:camera{text}"))
        return found.number, stays

    assert [meant(one) for one in ("", "@1", "@2", "@1+", "@2+")] == [
        (2, False), (1, True), (2, True), (1, False), (2, False),
    ]  # fmt: skip
    for text in ("@", "@+", "@0+", "@x", "@2++", "@3+"):
        with pytest.raises(BadInput, match=r"--data dataset:camera"):
            meant(text)


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_names_that_begin_again_in_another_folder_are_told_apart(place, classes, tmp_path):
    place.write("000001.png", picture(1))
    imported(place, classes)
    other = tmp_path / "day2"
    other.mkdir()
    (other / "000001.png").write_bytes(picture(2))
    items = manifest_of(appended(place, str(other))).split("train")
    assert [item.image_id[:6] for item in items] == ["000001", "000001"]
    assert len({item.image_id for item in items}) == 2


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_a_version_added_at_the_same_moment_is_taken_back(place, classes):
    place.write("a.png", picture(1))
    imported(place, classes)
    place.write("b.png", picture(2))
    folder = Path(place.store.removeprefix("file://")) / "datasets/camera/versions"
    rival = folder / f"000002-{'0' * 12}.json"
    rival.write_text(imported_reference(place, 1).replace('"number":1', '"number":2'))
    store = opened(place)
    version = asyncio.run(series.version(store, "camera"))
    assert version is not None
    mine = replace(version, number=2)
    mine.dataset.manifest.sha256 = "1" * 64
    with pytest.raises(BadInput, match="somebody else adds version 2"):
        asyncio.run(series.add(store, mine))
    assert [path.name for path in folder.glob("000002-*")] == [rival.name]


def test_label_maps_of_some_images_are_kept_as_first_answers(place, classes, tmp_path):
    place.write("a.png", picture(1))
    place.write("b.png", picture(2))
    labels = tmp_path / "labels"
    labels.mkdir()
    good = encode_png(np.full((6, 8), 1, np.uint8))
    (labels / "b.png").write_bytes(good)
    (labels / "a.png").write_bytes(encode_png(np.full((6, 8), 2, np.uint8)))  # there are two classes
    (labels / "c.png").write_bytes(good)
    report = tmp_path / "left.txt"
    said = imported(place, classes, labels=str(labels), report=report)
    assert "2 images by reference, 2 classes, 2 left out" in said
    entry = json.loads(imported_reference(place, 1))
    given = json.loads((Path(place.store.removeprefix("file://")) / entry["dataset"]["given"]["key"]).read_bytes())
    assert set(given["labels"]) == {"b"}
    text = report.read_text()
    assert f"{labels}/c.png: is the label map of no image" in text
    assert f"{labels}/a.png" in text


def label_map(folder: Path, name: str, value: int, size: tuple[int, int] = (6, 8)) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(encode_png(np.full(size, value, np.uint8)))


def given_of(place: Place, number: int) -> dict[str, str]:
    """Image id → SHA-256 of its label, in a version."""
    entry = json.loads(imported_reference(place, number))
    store = Path(place.store.removeprefix("file://"))
    return {id_: label["sha256"] for id_, label in json.loads((store / entry["dataset"]["given"]["key"]).read_bytes())[
        "labels"
    ].items()}  # fmt: skip


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_labels_of_new_images_are_appended_and_those_that_are_there_stay(place, classes, tmp_path):
    place.write("a.png", picture(1))
    place.write("b.png", picture(2))
    labels, report = tmp_path / "labels", tmp_path / "left.txt"
    label_map(labels, "a.png", 0)
    imported(place, classes, labels=str(labels))
    # The next day: a folder of its own, whose names begin again.
    other, more = tmp_path / "day2", tmp_path / "labels2"
    other.mkdir()
    for number, name in enumerate(("a.png", "c.png", "d.png", "e.png"), start=3):
        (other / name).write_bytes(picture(number))
    label_map(more, "a.png", 1)
    label_map(more, "b.png", 1)  # in the data set, without a label
    label_map(more, "c.png", 1, (9, 9))  # of another size
    label_map(more, "d.png", 255)  # nothing is labelled
    label_map(more, "x.png", 1)  # of no image
    wanted = command.Wanted(str(other), place.store, name="camera", labels=str(more), report=report)
    said = command.append_images(wanted)
    assert "camera, version 2: 6 images by reference, 2 classes, 4 of them new, 4 left out" in said
    first, second = given_of(place, 1), given_of(place, 2)
    assert set(first) == {"a"}
    (fresh,) = set(second) - set(first)
    assert fresh.startswith("a-")  # of the new image of that name
    assert second["a"] == first["a"]
    text = report.read_text()
    for name, why in (
        ("b", "with no label, which stays"),
        ("c", "is 9"),
        ("d", "no labelled pixel"),
        ("x", "of no image"),
    ):
        (line,) = [one for one in text.splitlines() if one.startswith(f"{more}/{name}.png")]
        assert why in line
    # The first day again: the label that is there says nothing new, another one is named.
    place.write("f.png", picture(9))
    again = replace(wanted, source=place.source, labels=str(labels))
    assert "left out" not in command.append_images(again)
    assert given_of(place, 3) == second
    label_map(labels, "a.png", 1)
    place.write("g.png", picture(10))
    command.append_images(again)
    assert "with another label, which stays" in report.read_text()
    assert given_of(place, 4) == second


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_a_run_takes_up_the_labels_of_images_that_join_it(place, classes, tmp_path):
    """As the coordinator does, which may read which images have labels, and no label."""
    place.write("a.png", picture(1))
    labels = tmp_path / "labels"
    label_map(labels, "a.png", 0)
    imported(place, classes, labels=str(labels))
    for number, name in enumerate(("b.png", "c.png"), start=2):
        place.write(name, picture(number))
        label_map(labels, name, 1)
        command.append_images(command.Wanted(place.source, place.store, name="camera", labels=str(labels)))

    async def take(number: int) -> runs_pb2.TakeVersionResponse:
        store = restrict(opened(place), "coordinator")
        version = await series.version(store, "camera", number)
        assert version is not None
        request = runs_pb2.TakeVersionRequest(
            run_id="run-1", round=1, series="camera", manifest=version.dataset.manifest, version=number
        )
        return await taking.newest(store, request)

    # Two versions at once, one, and none: the labels of the images that join, no others.
    for number, joining in ((1, {"b", "c"}), (2, {"c"}), (3, set())):
        taken = asyncio.run(take(number))
        assert (taken.version, dict(taken.split_sizes)) == (3, {"train": 3})
        assert taken.HasField("given") is bool(joining)
        if joining:
            data = asyncio.run(opened(place).get(taken.given))
            assert set(labels_from_json(data, "given").labels) == joining
            assert asyncio.run(take(number)) == taken
