"""Stores that fail: full disks, servers that are down, slow, refusing, or cut their answers short."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import minio.time
import pytest

from servers import S3Process, running
from tessera.errors import BadInput, CorruptObject, Unavailable
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime import s3_store
from tessera.runtime.objects import ObjectStore, open_store
from tessera.runtime.settings import load

pytestmark = pytest.mark.faults

DATA = b"a body that is long enough to be cut"
REF = ObjectRef(bucket="bucket", key="a/b", sha256=hashlib.sha256(DATA).hexdigest(), size=len(DATA))


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def run_and_kill(script: str, argument: str, delay: float) -> None:
    with subprocess.Popen([sys.executable, "-c", script, argument], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.kill()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "_FIRST_PAUSE", 0.01)


class Scripted(ThreadingHTTPServer):
    """An S3 server that answers by a script, one step per request; after the last step it works."""

    daemon_threads = True

    def __init__(self, *script: str) -> None:
        self.script = list(script)
        self.requests = 0
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def store(self, folder: Path, **settings: Any) -> ObjectStore:
        port = self.server_address[1]
        chosen = load(s3_endpoint=f"127.0.0.1:{port}", s3_secure=False, cache_dir=folder, **settings)
        return open_store("s3://bucket", chosen)


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self.server.requests += 1
        step = self.server.script.pop(0) if self.server.script else "well"
        if step == "slow":
            time.sleep(0.6)
        if step == "reset":
            self.connection.close()
            return
        body = {"garbled": DATA[:-1] + b"!", "short": DATA[:-1]}.get(step, DATA)
        self.send_response(int(step) if step.isdigit() else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body[:10] if step == "cut" else body)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()


@pytest.fixture
def scripted() -> Iterator[type[Scripted]]:
    made: list[Scripted] = []

    class Remembered(Scripted):
        def __init__(self, *script: str) -> None:
            super().__init__(*script)
            made.append(self)

    yield Remembered
    for server in made:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_clock_that_is_wrong_is_an_outage_and_no_refusal(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """The server refuses what was signed an hour away: by name, or as if the credentials were wrong."""
    store = open_store(s3_url, load(cache_dir=tmp_path, s3_attempts=1))
    ref = await store.put("a", b"x", "text/plain")
    right = minio.time.utcnow
    with monkeypatch.context() as patch:
        patch.setattr(minio.time, "utcnow", lambda: right() + timedelta(hours=hours))
        patch.setattr(s3_store, "time", SimpleNamespace(time=lambda: time.time() + 3600 * hours))
        told = rf"the clock of this machine is 3[56]\d\d s {'ahead of' if hours > 0 else 'behind'} that of 127\.0\.0\.1"
        with pytest.raises(Unavailable, match=told):
            await store.put("b", b"y", "text/plain")
        with pytest.raises(Unavailable, match=told):
            await store.list("")
    assert await store.get(ref) == b"x"
    monkeypatch.setenv("TESSERA_S3_SECRET_KEY", "another")
    with pytest.raises(BadInput, match="refused the credentials"):
        await open_store(s3_url, load(cache_dir=tmp_path / "other", s3_attempts=1)).get(ref)


@pytest.mark.parametrize("step", ["503", "500", "429", "cut", "short", "garbled", "reset", "slow"])
async def test_a_passing_fault_is_overcome(scripted: type[Scripted], step: str, tmp_path: Path) -> None:
    server = scripted(step)
    store = server.store(tmp_path, s3_read_timeout=0.3)
    assert await store.get(REF) == DATA
    assert server.requests == 2


async def test_many_faults_in_a_row(scripted: type[Scripted], tmp_path: Path) -> None:
    server = scripted("503", "reset", "cut", "500", "503")
    assert (await server.store(tmp_path).path(REF)).read_bytes() == DATA
    assert server.requests == 6


@pytest.mark.parametrize(("step", "seen"), [("503", "503"), ("cut", "IncompleteRead"), ("reset", "")])
async def test_a_lasting_fault_is_unavailable_and_named(
    scripted: type[Scripted], step: str, seen: str, tmp_path: Path
) -> None:
    server = scripted(*[step] * 20)
    store = server.store(tmp_path, s3_attempts=3)
    with pytest.raises(Unavailable, match=rf"s3://bucket/a/b: 127\.0\.0\.1:\d+ does not answer as it should .*{seen}"):
        await store.get(REF)
    assert server.requests == 3


async def test_bytes_that_stay_wrong_are_corrupt(scripted: type[Scripted], tmp_path: Path) -> None:
    store = scripted(*["garbled"] * 20).store(tmp_path)
    with pytest.raises(CorruptObject, match="object a/b: sha256 is"):
        await store.get(REF)


async def test_a_server_that_is_down_is_unavailable_within_bounds(tmp_path: Path) -> None:
    store = open_store(
        "s3://bucket", load(s3_endpoint="127.0.0.1:9", s3_secure=False, cache_dir=tmp_path, s3_attempts=3)
    )
    start = time.monotonic()
    for call in (store.get(REF), store.put("a", b"", "text/plain"), store.check(), store.list(""), store.exists("a")):
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 does not answer"):
            await call
    assert time.monotonic() - start < 60


async def test_a_restarted_server_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_store, "_FIRST_PAUSE", 0.2)
    with running(S3Process(tmp_path / "s3")) as server:
        assert isinstance(server, S3Process)
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        store = open_store(f"s3://{server.bucket}/x", load(cache_dir=tmp_path / "cache"))
        ref = await store.put_content(DATA, "text/plain")
        server.kill()
        reading = asyncio.create_task(store.get(ref))
        await asyncio.sleep(0.5)
        server.start()
        assert await reading == DATA


async def test_every_one_of_many_flipped_bits_is_found(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri(), load(fsync=False))
    refs = [await store.put_content(bytes([i]) * 500, "text/plain") for i in range(100)]
    damaged = refs[::5]
    for number, ref in enumerate(damaged):
        path = tmp_path / ref.key
        data = bytearray(path.read_bytes())
        data[number * 25] ^= 1 << (number % 8)
        path.write_bytes(data)
    found = []
    for ref in refs:
        try:
            await store.get(ref)
            await store.path(ref)
        except CorruptObject as error:
            found.append((ref, str(error).split(": ")[0]))
    assert found == [(ref, f"object {ref.key}") for ref in damaged]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_names_the_file_and_the_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = open_store(tmp_path.as_uri(), load())
    before = await store.put("a/b", b"before", "text/plain")

    def full(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match=rf"object a/b: no room for {tmp_path}/a/b \(.*, \d+ bytes free\)"):
        await store.put("a/b", b"after", "text/plain")
    monkeypatch.undo()
    assert await store.get(before) == b"before", "what was there is untouched"
    assert await store.list("") == ["a/b"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"], "no half file stays"


async def test_a_file_size_limit_of_the_system_is_no_crash(tmp_path: Path) -> None:
    """A real refusal of the kernel, in a process of its own: nothing is left and the error is ours."""
    script = """
import asyncio, resource, signal, sys
from tessera.errors import Unavailable
from tessera.runtime.objects import open_store
from tessera.runtime.settings import load
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    asyncio.run(open_store(sys.argv[1], load()).put("a", b"x" * 5000, "text/plain"))
except Unavailable as error:
    print("unavailable:", error)
"""
    arguments = [sys.executable, "-c", script, tmp_path.as_uri()]
    done = await asyncio.to_thread(subprocess.run, arguments, capture_output=True, text=True, timeout=30)
    assert done.stdout.startswith("unavailable: object a: "), done.stderr
    assert files(tmp_path) == []


async def test_a_store_whose_folder_is_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    store = open_store((tmp_path / "store").as_uri(), load())
    with pytest.raises(Unavailable, match="store/a cannot be used"):
        await store.put("a", b"", "text/plain")


async def test_a_writer_killed_in_the_middle_leaves_the_old_object(tmp_path: Path) -> None:
    """SIGKILL at a random moment of many overwrites: the object is one of those written, whole."""
    script = """
import asyncio, sys
from tessera.runtime.objects import open_store
from tessera.runtime.settings import load
async def main():
    store, number = open_store(sys.argv[1], load(fsync=False)), 0
    while True:
        await store.put("a", bytes([number % 256]) * 200_000, "text/plain")
        if not number:
            print("begun", flush=True)
        number += 1
asyncio.run(main())
"""
    store = open_store(tmp_path.as_uri(), load())
    for delay in (0.01, 0.037, 0.08):
        run_and_kill(script, tmp_path.as_uri(), delay)
        data = await store.read_key("a", 300_000)
        assert data is not None
        assert len(data) == 200_000
        assert len(set(data)) == 1
    assert await store.list("") == ["a"], "a temporary file is not an object"
