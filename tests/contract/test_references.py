"""Images by reference: imported from a folder and from a real S3 server, without a copy, and verified when read."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from minio import Minio

from servers import ACCESS_KEY, SECRET_KEY, S3Process
from tessera.cli import images as command
from tessera.errors import BadInput, CorruptObject
from tessera.formats import outside
from tessera.formats.images import encode_png
from tessera.formats.manifests import DatasetManifest, dataset_from_json, labels_from_json
from tessera.pb import runs_pb2
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime import examining, series, taking
from tessera.runtime.objects import ObjectStore, open_store, restrict
from tessera.runtime.settings import load

BUCKET = "camera-images"


def picture(seed: int) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8))


class Place:
    """Where the images of a test are: a folder, or a prefix of a bucket of the S3 server."""

    def __init__(self, source: str, folder: Path, store: str, client: Minio | None) -> None:
        self.source, self.store, self._folder, self._client = source, store, folder, client

    def write(self, name: str, data: bytes) -> None:
        if self._client is None:
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            return
        self._client.put_object(BUCKET, f"{self._prefix}/{name}", io.BytesIO(data), len(data))

    def remove(self, name: str) -> None:
        if self._client is None:
            (self._folder / name).unlink()
        else:
            self._client.remove_object(BUCKET, f"{self._prefix}/{name}")

    @property
    def _prefix(self) -> str:
        return self.source.removeprefix(f"s3://{BUCKET}/")


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("TESSERA_CACHE_DIR", str(tmp_path / "cache"))
    store = (tmp_path / "store").as_uri()
    if request.param == "file":
        (tmp_path / "camera").mkdir()
        yield Place(str(tmp_path / "camera"), tmp_path / "camera", store, None)
        return
    server: S3Process = request.getfixturevalue("s3_server")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    client = Minio(server.endpoint, ACCESS_KEY, SECRET_KEY, secure=False, region="us-east-1")
    if not client.bucket_exists(BUCKET):
        client.make_bucket(BUCKET)
    yield Place(f"s3://{BUCKET}/{tmp_path.name}", tmp_path, store, client)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / "classes.txt"
    path.write_text("road\nsky\n")
    return path


def manifest_of(said: str) -> DatasetManifest:
    told = json.loads(said.splitlines()[-1])
    path = Path(told["store"].removeprefix("file://")) / told["manifest"]
    return dataset_from_json(path.read_bytes())


def opened(place: Place) -> ObjectStore:
    return open_store(place.store, load(store=place.store, s3_attempts=2))


def imported(place: Place, classes: Path, **options: object) -> str:
    return command.import_images(command.Wanted(place.source, place.store, classes, "camera", **options))  # type: ignore[arg-type]


def test_images_are_imported_where_they_are_and_read_verified(place, classes):
    for number in range(3):
        place.write(f"cam 1/a_{number:06d}.png", picture(number))
    place.write("big ä.png", picture(7))
    manifest = manifest_of(imported(place, classes))
    assert manifest.series is not None
    assert (manifest.series.name, manifest.series.number) == ("camera", 1)
    items = manifest.split("train")
    assert [(item.width, item.height) for item in items] == [(8, 6)] * 4
    assert [item.time for item in items if item.sequence] == [0, 1 / 30, 2 / 30]
    stored = [path.name for path in Path(place.store.removeprefix("file://")).rglob("*") if path.is_file()]
    assert sorted(name for name in stored if name.endswith(".png")) == []
    assert len(stored) == 2  # the manifest and the version's entry

    async def read() -> None:
        for service in ("scorer", "trainer", "dashboard"):
            store = restrict(opened(place), service)
            for item in items:
                data = await store.get(item.image)
                assert (await store.path(item.image)).read_bytes() == data
        assert await opened(place).get(items[0].image) == picture(7)

    asyncio.run(read())


def test_an_image_that_changed_or_went_is_named(place, classes):
    place.write("a.png", picture(1))
    place.write("b.png", picture(2))
    changed, gone = manifest_of(imported(place, classes)).split("train")
    place.write("a.png", picture(3))
    place.remove("b.png")
    for item, said in ((changed, "has changed since it was imported"), (gone, "is not there any more")):
        for read in (opened(place).get, opened(place).path):
            with pytest.raises(CorruptObject, match=said) as caught:
                asyncio.run(read(item.image))
            assert f"{place.source}/{item.image_id}.png" in str(caught.value)


def test_everything_that_is_left_out_is_named_with_the_remedy(place, classes, tmp_path, capsys):
    place.write("good.png", picture(1))
    place.write("zz/again.png", picture(2))
    place.write("good.jpg", picture(2))
    place.write("torn.png", picture(3)[:60])
    place.write("empty.png", b"")
    place.write("text.png", b"no picture at all")
    place.write("notes.txt", b"no picture")
    report = tmp_path / "left.txt"
    said = imported(place, classes, report=report)
    assert "version 1: 1 images by reference, 2 classes, 6 left out" in said
    lines = report.read_text().splitlines()
    shown = capsys.readouterr().err
    for name, why in (
        ("zz/again.png", "same content as"),
        ("torn.png", "torn.png"),
        ("empty.png", "is empty; upload it again"),
        ("text.png", "text.png"),
        ("notes.txt", "no PNG or JPEG"),
        ("good.png", "has the id good of"),
    ):
        (line,) = [one for one in lines if one.startswith(f"{place.source}/{name}")]
        assert why in line
        assert line in shown
    # Of two files with one id, the first by name is kept.
    assert [outside.address(item.image) for item in manifest_of(said).split("train")] == [f"{place.source}/good.jpg"]


def test_a_second_import_changes_nothing_and_other_images_need_another_name(place, classes):
    place.write("a.png", picture(1))
    first = imported(place, classes)
    assert imported(place, classes) == first
    place.write("b.png", picture(2))
    with pytest.raises(BadInput, match="tessera data append camera"):
        imported(place, classes)


def test_an_interrupted_import_goes_on_where_it_stopped(place, classes, monkeypatch):
    names = {f"{number:03d}.png" for number in range(40)}
    for number, name in enumerate(sorted(names)):
        place.write(name, picture(number))
    looks: list[str] = []
    look = examining._look

    def breaking(name: str, data: bytes, address: str) -> examining.Examined:
        looks.append(name)
        if name == "020.png" and len(looks) < 40:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # Ctrl-C
        return look(name, data, address)

    monkeypatch.setattr(examining, "_look", breaking)
    with pytest.raises(KeyboardInterrupt):
        imported(place, classes)
    before = set(looks)
    assert len(before) < 40
    looks.clear()
    place.write("003.png", picture(99))
    looks.extend(["again"] * 40)
    assert "40 images" in imported(place, classes)
    again = set(looks) - {"again"}
    assert "003.png" in again  # it changed meanwhile
    assert len(again) < 40
    assert names - before <= again  # what was not looked at; what was in hand may be looked at again


def test_times_come_from_a_csv(place, classes, tmp_path):
    place.write("a.png", picture(1))
    place.write("b.png", picture(2))
    times = tmp_path / "times.csv"
    times.write_text("image,sequence,time\na.png,drive,4.5\n")
    items = manifest_of(imported(place, classes, times=times)).split("train")
    assert [(item.sequence, item.time) for item in items] == [("drive", 4.5), ("", 0.0)]


def test_a_folder_is_refused_where_the_store_is_for_many_machines(tmp_path, classes, s3_url):
    (tmp_path / "a.png").write_bytes(picture(1))
    with pytest.raises(BadInput, match="folder of this machine"):
        command.import_images(command.Wanted(str(tmp_path), s3_url, classes, "camera"))


def test_a_source_inside_the_store_is_refused(tmp_path, classes):
    inside = tmp_path / "store" / "datasets"
    inside.mkdir(parents=True)
    for source in (inside, tmp_path):
        with pytest.raises(BadInput, match="overlaps with the store"):
            command.import_images(command.Wanted(str(source), (tmp_path / "store").as_uri(), classes, "camera"))


@pytest.mark.parametrize("bucket", ["file://", "s3://tessera"])
def test_a_reference_never_leads_back_into_the_store(bucket, tmp_path, s3_url):
    """Labels lie there, and the rule who reads which goes by their keys."""
    url = s3_url if bucket.startswith("s3") else (tmp_path / "store").as_uri()
    store = restrict(open_store(url, load(store=url)), "scorer")
    key = "datasets/d/labels/test/a.png"
    whole = str(tmp_path / "store" / key) if bucket == "file://" else f"{url.removeprefix('s3://tessera/')}/{key}"
    ref = ObjectRef(bucket=bucket, key=whole, sha256="0" * 64, size=3)
    with pytest.raises(BadInput, match="inside the store"):
        asyncio.run(store.get(ref))


@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_wrong_credentials_end_the_import(place, classes, monkeypatch):
    place.write("a.png", picture(1))
    monkeypatch.setenv("TESSERA_S3_SECRET_KEY", "wrong")
    with pytest.raises(BadInput, match="refused the credentials"):
        imported(place, classes)


@pytest.mark.full
@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_thousands_of_objects_are_listed_in_pages(place, classes):
    """More than two pages of the server's, each once."""
    for number in range(2500):
        place.write(f"{number % 7}/{number:05d}.png", picture(number))
    items = manifest_of(imported(place, classes)).split("train")
    assert len(items) == 2500
    assert len({item.image_id for item in items}) == 2500


def test_no_file_of_the_journal_is_left(place, classes):
    place.write("a.png", picture(1))
    imported(place, classes)
    folder = Path(os.environ["TESSERA_CACHE_DIR"]) / "imports"
    assert not folder.exists() or not list(folder.iterdir())


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
