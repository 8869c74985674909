"""Images by reference: imported from a folder and from a real S3 server, without a copy, and verified when read."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from pathlib import Path

import pytest

from contract.referenced import imported, manifest_of, opened, picture
from tessera.cli import images as command
from tessera.errors import BadInput, CorruptObject
from tessera.formats import outside
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime import examining
from tessera.runtime.objects import open_store, restrict
from tessera.runtime.settings import load


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
