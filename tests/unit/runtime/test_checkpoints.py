"""Checkpoints in the store: two that take turns, verified, removed with the job's record, and left by nobody else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tessera.errors import BadInput
from tessera.runtime.checkpoints import PREFIX, Checkpoints
from tessera.runtime.objects import ObjectStore, open_store, restrict
from tessera.runtime.settings import load

KEY = "a" * 64


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return restrict(open_store((tmp_path / "store").as_uri(), load(fsync=False)), "trainer")


async def kept(store: ObjectStore, folder: Path, *contents: bytes, distrusted: str = "") -> Checkpoints:
    made = Checkpoints(store, KEY, distrusted)
    await made.earlier()
    for number, content in enumerate(contents):
        job = folder / "job"
        job.mkdir(exist_ok=True)
        (job / f"kept-{number}").write_bytes(content)
        made.keep(job / f"kept-{number}")
        assert not list(job.iterdir())  # taken: the job's folder may go
        await made.settle()
        assert sorted(os.listdir(folder)) == ["job", "store"]
    return made


async def earlier(store: ObjectStore, distrusted: str = "") -> bytes | None:
    path = await Checkpoints(store, KEY, distrusted).earlier()
    return None if path is None else path.read_bytes()


async def test_the_newest_is_found_and_never_more_than_two_are_kept(store: ObjectStore, tmp_path: Path) -> None:
    assert await earlier(store) is None
    await kept(store, tmp_path, b"one")
    assert await earlier(store) == b"one"
    await kept(store, tmp_path, b"two", b"three")
    assert await earlier(store) == b"three"
    assert await store.list(PREFIX) == [f"{PREFIX}{KEY}/{name}" for name in ("a", "b", "index.json")]


async def test_a_damaged_one_gives_way_to_the_one_before(store: ObjectStore, tmp_path: Path) -> None:
    await kept(store, tmp_path, b"one", b"two")
    newest = json.loads((tmp_path / "store" / PREFIX / KEY / "index.json").read_bytes())["kept"][0]["key"]
    (tmp_path / "store" / newest).write_bytes(b"tow")
    assert await earlier(store) == b"one"
    # The next one takes the damaged one's place, not that of the good one.
    for name in ("a", "b"):
        (tmp_path / "store" / PREFIX / KEY / name).unlink()
    assert await earlier(store) is None


@pytest.mark.parametrize(
    "index", [b"", b"[]", b"{", b'{"kept": 3, "distrusted": ""}', b'{"distrusted": "", "kept": [{"key": "cas/x"}]}']
)
async def test_an_unreadable_index_means_the_beginning(store: ObjectStore, index: bytes) -> None:
    await store.put(f"{PREFIX}{KEY}/index.json", index, "application/json")
    assert await earlier(store) is None


async def test_an_index_cannot_point_elsewhere(store: ObjectStore, tmp_path: Path) -> None:
    other = await store.put("datasets/x/secret", b"secret", "")
    row = {"key": other.key, "sha256": other.sha256, "size": other.size}
    await store.put(f"{PREFIX}{KEY}/index.json", json.dumps({"distrusted": "", "kept": [row]}).encode(), "")
    assert await earlier(store) is None


async def test_what_led_to_a_distrusted_record_is_not_gone_on_from(store: ObjectStore, tmp_path: Path) -> None:
    await kept(store, tmp_path, b"one")
    assert await earlier(store, "some record") is None
    await kept(store, tmp_path, b"anew", distrusted="some record")
    assert await earlier(store, "some record") == b"anew"


async def test_they_go_with_the_record_and_nothing_else_may_be_removed(store: ObjectStore, tmp_path: Path) -> None:
    made = await kept(store, tmp_path, b"one", b"two")
    await made.forget()
    assert await store.list(PREFIX) == []
    await store.put("datasets/x", b"x", "")
    with pytest.raises(BadInput, match="the trainer deletes nothing"):
        await store.delete("datasets/x", float("inf"))
