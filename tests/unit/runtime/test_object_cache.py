"""The local copy of remote objects: bounded, verified, safe for many users at once."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime.object_cache import ObjectCache
from tessera.runtime.objects import content_key, sha256


def ref_of(data: bytes, key: str | None = None) -> ObjectRef:
    digest = sha256(data)
    return ObjectRef(bucket="b", key=key or content_key(digest), sha256=digest, size=len(data))


def body(number: int, size: int = 1000) -> bytes:
    return number.to_bytes(4, "big") * (size // 4)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_find_after_add(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, 10_000, 0)
    ref = ref_of(b"data")
    assert cache.find(ref) is None
    path = cache.add(ref, b"data")
    assert cache.find(ref) == path
    assert path.read_bytes() == b"data"


def test_a_damaged_copy_counts_as_absent_and_is_removed(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, 10_000, 0)
    ref = ref_of(b"data")
    path = cache.add(ref, b"data")
    for damaged in (b"dat", b"datA", b""):
        path.write_bytes(damaged)
        assert cache.find(ref) is None
        assert not path.exists()
        cache.add(ref, b"data")
        assert cache.find(ref) == path


def test_the_least_recently_used_leave_first(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, 10_000, 0)
    paths = [cache.add(ref_of(body(i)), body(i)) for i in range(9)]
    for index, path in enumerate(paths):
        age(path, 1000 - index)
    cache.find(ref_of(body(0)))  # used just now
    for i in range(9, 13):
        cache.add(ref_of(body(i)), body(i))
    cache.evict()
    assert size_of(tmp_path) <= 9000
    assert paths[0].exists()
    assert not paths[1].exists()
    assert cache.find(ref_of(body(12))) is not None


def test_the_limit_holds_over_many_additions(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, 20_000, 0)
    for i in range(200):
        age(cache.add(ref_of(body(i)), body(i)), 1)
        assert size_of(tmp_path) <= 21_000


def test_what_a_job_may_still_be_reading_stays(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, 2_000, 600)
    for i in range(10):
        cache.add(ref_of(body(i)), body(i))
    cache.evict()
    assert size_of(tmp_path) == 10_000
    for path in tmp_path.rglob("*"):
        age(path, 601)
    cache.evict()
    assert size_of(tmp_path) <= 2_000


def test_what_a_crash_left_behind_is_removed_later(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, 2_000, 600)
    left = tmp_path / "ab" / ".tmp-1"
    left.parent.mkdir()
    left.write_bytes(b"half")
    cache.evict()
    assert left.exists(), "it may be another process's, being written"
    age(left, 4000)
    cache.evict()
    assert not left.exists()


def test_an_object_is_not_found_by_its_hash_under_another_key(tmp_path: Path) -> None:
    """Otherwise who may not read a label could read it by naming its hash under a key of its own."""
    cache = ObjectCache(tmp_path, 10_000, 0)
    label = ref_of(b"truth", "datasets/d/labels/test/a.png")
    cache.add(label, b"truth")
    assert cache.find(label) is not None
    assert cache.find(ref_of(b"truth")) is None
    assert cache.find(ref_of(b"truth", "datasets/d/images/test/a.png")) is None


def test_many_threads_and_two_caches_on_one_folder(tmp_path: Path) -> None:
    caches = [ObjectCache(tmp_path, 15_000, 0) for _ in range(2)]
    wrong: list[str] = []

    def work(seed: int) -> None:
        cache = caches[seed % 2]
        for step in range(150):
            data = body((seed + step) % 30)
            try:
                path = cache.find(ref_of(data)) or cache.add(ref_of(data), data)
                if path.exists() and path.stat().st_size not in (0, len(data)):
                    wrong.append(str(path))
            except FileNotFoundError:
                continue  # evicted between the two looks
            except Exception as error:
                wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
