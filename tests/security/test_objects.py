"""Hostile keys, lying references, and ground truth that a service must not see."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tessera.errors import BadInput, CorruptObject
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime.objects import (
    READABLE_LABELS,
    ObjectStore,
    check_key,
    check_prefix,
    may_read,
    open_store,
    restrict,
)
from tessera.runtime.s3_store import S3Store
from tessera.runtime.settings import load

HOSTILE = [
    *("", ".", "..", "/", "//", "a/", "/a", "a//b", "./a", "a/.", "a/..", "../a", "a/../b", "a/./b", "a/b/../../../c"),
    *("..%2fa", "%2e%2e/a", "a/%2e%2e/b", "a%00", "a\0b", "a\nb", "a\n", "\na", "a\r", "a\tb", " a", "a ", "a b"),
    *("\\a", "a\\b", "..\\a", "C:\\a", "C:a", "a:b", "CON", "NUL", "A/b", "_a", "-a", ".a", "~a", "~/a", "$HOME"),
    *("a*", "a?", "a|b", "a<b>", 'a"b', "a'b", "a;b", "a&b", "a#b", "a@b", "a+b", "a=b", "a,b", "a{b}", "a`id`"),
    *("ä", "aа", "a\u2024\u2024/b", "a\u2215b", "a\uff0fb", "a\u202eb", "a\u200bb", "\ud800", "a\x7f", "a\x1b[0m"),
    *("a" * 513, "a" * 1025, "a/" * 300 + "a", "http://host/a", "file:///etc/passwd", "s3://bucket/a"),
]


class Counting:
    """Stands where the S3 client is; every call to it is a failure of the boundary."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., object]:
        def called(**_: object) -> object:
            self.calls.append(name)
            raise OSError("reached the server")

        return called


def operations(store: ObjectStore, key: str) -> list[Callable[[], Awaitable[object]]]:
    try:
        ref = ObjectRef(bucket=store.bucket, key=key, sha256="0" * 64, size=1)
    except UnicodeEncodeError:
        ref = ObjectRef(bucket=store.bucket, key="", sha256="0" * 64, size=1)
    return [
        lambda: store.put(key, b"x", "text/plain"),
        lambda: store.get(ref),
        lambda: store.path(ref),
        lambda: store.exists(key),
        lambda: store.read_key(key, 10),
        lambda: store.read_keys([key], 10),
    ]


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_there_are_enough_hostile_keys() -> None:
    assert len(set(HOSTILE)) >= 60


@pytest.mark.parametrize("key", HOSTILE, ids=ascii)
async def test_hostile_keys_reach_neither_disk_nor_server(key: str, tmp_path: Path) -> None:
    counting = Counting()
    s3 = S3Store("bucket", "prefix", load(s3_endpoint="127.0.0.1:1", cache_dir=tmp_path / "cache", s3_attempts=1))
    s3._client = counting  # type: ignore[assignment]
    file = open_store((tmp_path / "store").as_uri(), load())
    for store in (s3, file, restrict(file, "scorer")):
        for operation in operations(store, key):
            with pytest.raises(BadInput, match="refused") as caught:
                await operation()
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 400
    assert counting.calls == []
    assert files(tmp_path) == []


@pytest.mark.parametrize("key", ["a", "0/1", "cas/sha256/ab/cdef", "jobs/Score/AB.json", "a..b", "a/b...c", "a" * 512])
def test_good_keys_pass(key: str) -> None:
    assert check_key(key) == key
    assert check_prefix(key + "/") == key + "/"


async def test_a_link_out_of_the_store_is_caught_by_its_hash(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"outside")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "link").symlink_to(tmp_path / "outside")
    store = open_store((tmp_path / "store").as_uri(), load())
    with pytest.raises(CorruptObject):
        await store.get(ObjectRef(bucket="local", key="link", sha256="0" * 64, size=7))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bucket": "another"}, "is in bucket 'another', this store is 'local'"),
        ({"bucket": ""}, "is in bucket ''"),
        ({"sha256": ""}, "is not 64 hexadecimal digits"),
        ({"sha256": "A" * 64}, "is not 64 hexadecimal digits"),
        ({"sha256": "0" * 63 + "\n"}, "is not 64 hexadecimal digits"),
        ({"sha256": "../" * 21 + "a"}, "is not 64 hexadecimal digits"),
        ({"size": -1}, "size -1 is outside"),
        ({"size": 2**63 - 1}, "size 9223372036854775807 is outside"),
    ],
)
async def test_lying_references_are_refused_before_anything_is_read(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    store = open_store(tmp_path.as_uri(), load())
    ref = await store.put("a", b"data", "text/plain")
    for name, value in change.items():
        setattr(ref, name, value)
    (tmp_path / "a").unlink()  # a real look-up would show here
    for operation in (store.get, store.path):
        with pytest.raises(BadInput, match=message):
            await operation(ref)


async def test_no_byte_beyond_the_size_is_downloaded(tmp_path: Path) -> None:
    taken = 0

    class Endless:
        def read(self, count: int) -> bytes:
            nonlocal taken
            taken += count
            return b"x" * count

        def close(self) -> None: ...

        release_conn = close

    class Client:
        def get_object(self, **_: object) -> Endless:
            return Endless()

    store = S3Store("bucket", "", load(s3_endpoint="127.0.0.1:1", cache_dir=tmp_path))
    store._client = Client()  # type: ignore[assignment]
    with pytest.raises(CorruptObject, match="has 1001 bytes"):
        await store.get(ObjectRef(bucket="bucket", key="a", sha256="0" * 64, size=1000))
    assert taken == 2 * 1001  # asked twice, in case it was damaged on its way


LABELS = {
    "train": ["datasets/d/labels/train/a.png", "datasets/d/labels/train.json"],
    "val": ["datasets/d/labels/val/a.png", "datasets/d/labels/val.json"],
    "test": ["datasets/d/labels/test/a.png", "datasets/d/labels/test.json"],
    "other": ["datasets/d/labels/other/a.png", "datasets/d/labels/other.json", "datasets/d/labels/x/y/z"],
}
MAY = {"oracle": {"train"}, "trainer": {"val"}, "evaluator": {"train", "val", "test"}}


@pytest.mark.parametrize("service", sorted(READABLE_LABELS))
def test_who_may_read_which_labels(service: str) -> None:
    for split, keys in LABELS.items():
        for key in keys:
            names = (service, key) == ("coordinator", "datasets/d/labels/train.json")
            assert may_read(service, key) is (names or split in MAY.get(service, set())), key
    for key in ("datasets/d/manifest.json", "datasets/d/images/test/a.png", "cas/sha256/ab/cd", "jobs/Train/x.json"):
        assert may_read(service, key)


def test_every_service_has_a_policy() -> None:
    folders = {path.parent.name for path in Path(__file__).parents[2].glob("services/*/__main__.py")}
    assert folders <= set(READABLE_LABELS)


@pytest.mark.parametrize("service", ["partitioner", "scorer", "embedder", "selector", "trainer", "coordinator"])
async def test_test_labels_are_out_of_reach_by_every_method(service: str, tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri(), load())
    refs = [await store.put(key, b"truth", "image/png") for key in LABELS["test"]]
    image = await store.put("datasets/d/images/test/a.png", b"pixels", "image/png")
    view = restrict(store, service)
    for ref in refs:
        for operation in (view.get, view.path):
            with pytest.raises(BadInput, match=f"permission denied, the {service} may not read"):
                await operation(ref)
        for read in (view.exists(ref.key), view.read_key(ref.key, 10), view.read_keys([image.key, ref.key], 10)):
            with pytest.raises(BadInput, match="permission denied"):
                await read
    assert await view.list("datasets/") == [image.key]
    assert await view.get(image) == b"pixels"
    assert await restrict(store, "evaluator").get(refs[0]) == b"truth"


def test_an_unknown_service_gets_no_store(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no read policy"):
        restrict(open_store(tmp_path.as_uri(), load()), "newcomer")


@pytest.mark.parametrize("url", ["", "a/b", "http://x/y", "file://", "file://host/a", "s3://", "s3:///a", "ftp://a/b"])
def test_addresses_that_are_no_store(url: str) -> None:
    with pytest.raises(BadInput, match="not a store address"):
        open_store(url, load())


@pytest.mark.parametrize(
    "url", ["s3://UPPER/a", "s3://ab/../c", "s3://a_b/c", "s3://ok-bucket/a b", "s3://ok-bucket/.."]
)
def test_s3_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(BadInput):
        open_store(url, load(s3_endpoint="127.0.0.1:1"))


@pytest.mark.parametrize("endpoint", [None, "", "http://host:1/path", "host:port"])
def test_endpoints_that_are_refused(endpoint: str | None) -> None:
    with pytest.raises(BadInput, match="TESSERA_S3_ENDPOINT"):
        open_store("s3://bucket", load(s3_endpoint=endpoint))
