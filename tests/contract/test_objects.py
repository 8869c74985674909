"""One suite for both object stores: a folder, and a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from minio import Minio
from minio.error import InvalidResponseError, S3Error

from given_s3 import GivenS3
from servers import ACCESS_KEY, SECRET_KEY, S3Process
from tessera.errors import BadInput, CorruptObject
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime.objects import ObjectStore, bucket_of, content_key, open_store
from tessera.runtime.settings import load

Damage = Callable[[str, bytes], None]
"""Changes an object behind the store's back."""


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.getfixturevalue("s3_url") if request.param == "s3" else (tmp_path / "store").as_uri()


@pytest.fixture
def store(url: str, tmp_path: Path) -> ObjectStore:
    return open_store(url, load(cache_dir=tmp_path / "cache", s3_attempts=3, s3_part_bytes=5 << 20))


@pytest.fixture
def damage(url: str, request: pytest.FixtureRequest) -> Damage:
    def change(key: str, data: bytes) -> None:
        if url.startswith("file"):
            (Path(url.removeprefix("file://")) / key).write_bytes(data)
        else:
            request.getfixturevalue("s3_server").overwrite(f"{url.removeprefix('s3://')}/{key}", data)

    return change


async def test_put_get_path_exists(store: ObjectStore, url: str) -> None:
    ref = await store.put("datasets/d/images/train/a.png", b"pixels", "image/png")
    digest = hashlib.sha256(b"pixels").hexdigest()
    assert ref == ObjectRef(
        bucket=bucket_of(url), key="datasets/d/images/train/a.png", sha256=digest, size=6, media_type="image/png"
    )
    assert await store.get(ref) == b"pixels"
    assert (await store.path(ref)).read_bytes() == b"pixels"
    found = await store.exists(ref.key)
    assert found is not None
    assert (found.bucket, found.key, found.sha256, found.size) == (ref.bucket, ref.key, digest, 6)


async def test_content_addressing(store: ObjectStore) -> None:
    ref = await store.put_content(b"weights", "application/octet-stream")
    assert ref.key == content_key(hashlib.sha256(b"weights").hexdigest())
    assert await store.put_content(b"weights", "application/octet-stream") == ref
    assert await store.get(ref) == b"weights"


@pytest.mark.parametrize("size", [0, 1, (5 << 20) + 1], ids=["empty", "one byte", "more than one part"])
async def test_sizes(store: ObjectStore, size: int) -> None:
    data = b"\xa5" * size
    ref = await store.put_content(data, "application/octet-stream")
    assert await store.get(ref) == data
    assert (await store.path(ref)).stat().st_size == size


async def test_what_is_missing(store: ObjectStore) -> None:
    ref = ObjectRef(bucket=store.bucket, key="cas/none", sha256="0" * 64, size=3)
    assert await store.exists("cas/none") is None
    assert await store.read_key("cas/none", 10) is None
    assert await store.list("cas/") == []
    with pytest.raises(CorruptObject, match="cas/none: is not in the store"):
        await store.get(ref)
    with pytest.raises(CorruptObject, match="cas/none: is not in the store"):
        await store.path(ref)


async def test_a_folder_of_objects_is_no_object(store: ObjectStore) -> None:
    await store.put("a/b/c", b"1", "text/plain")
    assert await store.exists("a/b") is None
    assert await store.read_key("a/b", 10) is None


async def test_put_replaces(store: ObjectStore) -> None:
    await store.put("jobs/Score/x.json", b"first, and longer", "application/json")
    ref = await store.put("jobs/Score/x.json", b"second", "application/json")
    assert await store.read_key("jobs/Score/x.json", 100) == b"second"
    assert await store.get(ref) == b"second"


async def test_list_is_sorted_and_by_prefix(store: ObjectStore) -> None:
    for key in ("runs/b/1", "runs/a/2", "runs/a/10", "runs/ab", "other/a"):
        await store.put(key, b"", "text/plain")
    assert await store.list("runs/a") == ["runs/a/10", "runs/a/2", "runs/ab"]
    assert await store.list("runs/a/") == ["runs/a/10", "runs/a/2"]
    assert await store.list("") == ["other/a", "runs/a/10", "runs/a/2", "runs/ab", "runs/b/1"]


async def test_read_key_has_a_cap(store: ObjectStore) -> None:
    await store.put("a", b"12345", "text/plain")
    assert await store.read_key("a", 5) == b"12345"
    with pytest.raises(BadInput, match="a: is larger than 4 bytes"):
        await store.read_key("a", 4)


async def test_keys_are_read_together_in_their_order(store: ObjectStore) -> None:
    for key in ("a", "b/c"):
        await store.put(key, key.encode(), "text/plain")
    assert await store.read_keys(["b/c", "none", "a", "b/c"], 5) == [b"b/c", None, b"a", b"b/c"]
    assert await store.read_keys([], 5) == []
    with pytest.raises(BadInput, match="b/c: is larger than 2 bytes"):
        await store.read_keys(["a", "b/c"], 2)
    with pytest.raises(BadInput, match="key"):
        await store.read_keys(["a", "../b"], 5)


@pytest.mark.parametrize(("damaged", "message"), [(b"pixelz", "sha256 is"), (b"pixe", "4 bytes"), (b"pixels..", "")])
async def test_damage_at_rest_is_named(store: ObjectStore, damage: Damage, damaged: bytes, message: str) -> None:
    ref = await store.put("a/b", b"pixels", "image/png")
    damage("a/b", damaged)
    with pytest.raises(CorruptObject, match=f"^object a/b: .*{message}"):
        await store.get(ref)
    with pytest.raises(CorruptObject, match=r"^object a/b: "):
        await store.path(ref)


async def test_writing_content_again_repairs_it(store: ObjectStore, damage: Damage) -> None:
    ref = await store.put_content(b"pixels", "image/png")
    damage(ref.key, b"pixelz")
    assert await store.put_content(b"pixels", "image/png") == ref
    assert await store.get(ref) == b"pixels"


async def test_a_size_that_lies_is_refused(store: ObjectStore) -> None:
    ref = await store.put("a/b", b"x" * 1000, "text/plain")
    for lie in (0, 999, 1001):
        wrong = ObjectRef()
        wrong.CopyFrom(ref)
        wrong.size = lie
        with pytest.raises(CorruptObject, match="a/b"):
            await store.get(wrong)
        with pytest.raises(CorruptObject, match="a/b"):
            await store.path(wrong)


async def test_writers_of_one_key_leave_one_whole_object(store: ObjectStore) -> None:
    bodies = [bytes([65 + i]) * 50_000 for i in range(8)]
    await asyncio.gather(*(store.put("race", body, "text/plain") for body in bodies))
    assert await store.read_key("race", 60_000) in bodies
    assert await store.list("") == ["race"], "temporary files are not objects"


async def test_writers_of_one_content(store: ObjectStore) -> None:
    refs = await asyncio.gather(*(store.put_content(b"z" * 100_000, "text/plain") for _ in range(8)))
    assert all(ref == refs[0] for ref in refs)
    assert await store.get(refs[0]) == b"z" * 100_000


async def test_check_describes_the_store(store: ObjectStore) -> None:
    assert store.bucket in await store.check() or "folder" in await store.check()


# Traps of rclone's server, as measured; the store is written so that none of them matters.


@pytest.fixture
def client(s3_server: S3Process | GivenS3) -> Minio:
    if isinstance(s3_server, GivenS3):
        pytest.skip("a trap of rclone's server")
    return Minio(
        endpoint=s3_server.endpoint,
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        secure=False,
        region="us-east-1",
    )


def test_trap_get_of_a_missing_key_is_not_an_s3_error(client: Minio) -> None:
    with pytest.raises(InvalidResponseError, match="404"):
        client.get_object(bucket_name=S3Process.bucket, object_name="never/written")
    with pytest.raises(S3Error, match="NoSuchKey"):
        client.stat_object(bucket_name=S3Process.bucket, object_name="never/written")


async def test_trap_conditional_put_is_ignored(s3_url: str, client: Minio) -> None:
    """If-None-Match through the client becomes metadata: it overwrites. First-writer-wins is therefore KV's task."""
    import io

    store = open_store(s3_url, load())
    await store.put("once", b"first", "text/plain")
    prefix = s3_url.removeprefix(f"s3://{S3Process.bucket}/")
    client.put_object(
        bucket_name=S3Process.bucket,
        object_name=f"{prefix}/once",
        data=io.BytesIO(b"second"),
        length=6,
        metadata={"If-None-Match": "*"},
    )
    assert await store.read_key("once", 10) == b"second"


async def test_trap_a_key_is_listed_twice(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As rclone does, now and then, after several wrote one key at once."""
    store = open_store(s3_url, load())
    await store.put("once", b"first", "text/plain")
    listed = Minio.list_objects
    monkeypatch.setattr(Minio, "list_objects", lambda *a, **k: [one for one in listed(*a, **k) for _ in range(2)])
    assert await store.list("") == ["once"]


def test_trap_a_real_condition_is_ignored_by_the_server(s3_url: str, client: Minio) -> None:
    """Sent as the header itself, and by many at once: everybody wins, so nobody may rely on it."""
    prefix = s3_url.removeprefix(f"s3://{S3Process.bucket}/")

    def create(body: bytes) -> int:
        response = client._url_open(
            method="PUT",
            region="us-east-1",
            bucket_name=S3Process.bucket,
            object_name=f"{prefix}/once",
            body=body,
            headers={"If-None-Match": "*", "Content-Length": str(len(body))},
        )
        return int(response.status)

    assert [create(b"%d" % number) for number in range(3)] == [200, 200, 200]


def test_trap_a_bucket_is_looked_for_with_its_region(client: Minio, s3_server: S3Process) -> None:
    """Without one the client asks the server for it first, and trips over the answer's media type."""
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "secure": False}
    with pytest.raises(InvalidResponseError):
        Minio(endpoint=s3_server.endpoint, **keys).bucket_exists(bucket_name="elsewhere")
    assert not Minio(endpoint=s3_server.endpoint, region="us-east-1", **keys).bucket_exists(bucket_name="elsewhere")


def test_trap_the_client_is_called_by_keywords_alone() -> None:
    """Its next major version takes nothing else, and moves what is positional now."""
    import ast

    from tessera.runtime import s3_store

    tree = ast.parse(Path(str(s3_store.__file__)).read_text())
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("self._client.", "Minio"))
    ]
    assert len(calls) >= 5
    assert not [ast.unparse(call) for call in calls if call.args]


async def test_trap_metadata_may_be_lost_so_exists_reads(s3_url: str, s3_server: S3Process | GivenS3) -> None:
    store = open_store(s3_url, load())
    s3_server.overwrite(f"{s3_url.removeprefix('s3://')}/by/hand", b"put there by a tool")
    found = await store.exists("by/hand")
    assert found is not None
    assert found.sha256 == hashlib.sha256(b"put there by a tool").hexdigest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"s3_secret_key": "wrong"}, "refused the credentials"),
        ({"s3_access_key": "nobody"}, "refused the credentials"),
    ],
)
async def test_wrong_credentials(s3_url: str, change: dict[str, str], message: str) -> None:
    store = open_store(s3_url, load(**change))
    with pytest.raises(BadInput, match=message) as caught:
        await store.put("a", b"", "text/plain")
    assert "wrong" not in str(caught.value)
    with pytest.raises(BadInput, match=message):
        await store.read_key("a", 1)
    with pytest.raises(BadInput, match=message):
        await store.exists("a")


async def test_no_such_bucket(s3_url: str) -> None:
    with pytest.raises(BadInput, match="no bucket 'elsewhere'"):
        await open_store("s3://elsewhere/x", load()).check()
