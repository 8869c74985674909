"""Hostile messages (S10, S11), and ways out of a service that must not exist (S9, S16)."""

from __future__ import annotations

import ast
import asyncio
import random
import re
from pathlib import Path

import psutil
import pytest
from google.protobuf.message import DecodeError, Message

from servers import NatsProcess
from tessera.errors import BadInput, TesseraError
from tessera.loop.responses import references
from tessera.pb import questions_pb2, runs_pb2, workers_pb2
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.jobs_pb2 import JobEnvelope, JobFailure, JobRecord
from tessera.pb.selector_pb2 import SelectRequest
from tessera.runtime import catalogue, jobkeys, rpc, topology
from tessera.runtime.messaging import connect
from tessera.runtime.objects import open_store
from tessera.runtime.settings import load

ROOT = Path(__file__).parents[2]
PRODUCT = sorted(
    path
    for room in ("shared/tessera", "services")
    for path in (ROOT / room).rglob("*.py")
    if "/pb/" not in path.as_posix()
)
_services = [
    service
    for module in (runs_pb2, workers_pb2, questions_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
]
REQUESTS: dict[str, type[Message]] = {
    **{method.name: method.request for _, method in catalogue.methods().values()},
    **{method.name: method.input_type._concrete_class for service in _services for method in service.methods},
    **{kind.DESCRIPTOR.name: kind for kind in (JobEnvelope, JobRecord, JobFailure, runs_pb2.RunEvent)},
}


def _filled(kind: type[Message], rng: random.Random, depth: int = 3) -> Message:
    """A message with values in most of its fields."""
    made = kind()
    for field in kind.DESCRIPTOR.fields:
        if rng.random() < 0.2 or (
            field.message_type is not None and (depth == 0 or field.message_type.GetOptions().map_entry)
        ):
            continue
        values = [_value(field, rng, depth) for _ in range(rng.randint(1, 3) if field.is_repeated else 1)]
        if field.is_repeated:
            getattr(made, field.name).extend(values)
        elif field.message_type is not None:
            getattr(made, field.name).CopyFrom(values[0])
        else:
            setattr(made, field.name, values[0])
    return made


def _value(field: object, rng: random.Random, depth: int) -> object:
    if field.message_type is not None:  # type: ignore[attr-defined]
        return _filled(field.message_type._concrete_class, rng, depth - 1)  # type: ignore[attr-defined]
    kinds = {9: "text/../" + "x" * rng.randint(0, 40), 12: rng.randbytes(20), 8: True, 14: 0, 1: -1e308, 2: 1e30}
    return kinds.get(field.type, rng.randint(0, 2**31 - 1))  # type: ignore[attr-defined]


def _mutated(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.2:
        return rng.randbytes(rng.randint(0, 200))
    changed = bytearray(data)
    if changed and rng.random() < 0.6:
        # One byte, so that much of it stays readable and what comes after parsing is attacked, too.
        changed[rng.randrange(len(changed))] = rng.randrange(256)
        return bytes(changed)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(changed) + 1)
        changed[at : at + rng.choice((0, 1, 4))] = rng.randbytes(rng.randint(0, 8))
    return bytes(changed)


def _attacked(name: str, times: int) -> tuple[int, int]:
    """Read mutated messages and do with them what every door does first; returns (read, refused)."""
    rng, kind, read = random.Random(name), REQUESTS[name], 0
    seeds = [_filled(kind, rng).SerializeToString() for _ in range(20)]
    for _ in range(times):
        try:
            message = kind.FromString(_mutated(rng.choice(seeds), rng))
        except DecodeError:
            continue
        read += 1
        # The key of a job, its references, and their check; each either works or refuses in our words.
        assert jobkeys.is_job_key(jobkeys.job_key(name, "test/1", message))
        for ref in references(message):
            assert isinstance(ref, ObjectRef)
    return read, times - read


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_mutated_messages_are_read_or_refused(name: str) -> None:
    read, refused = _attacked(name, 300)
    assert read + refused == 300


@pytest.mark.full
def test_ten_thousand_mutated_messages_for_every_call_and_job() -> None:
    told = {name: _attacked(name, 10_000) for name in REQUESTS}
    assert sum(refused for _, refused in told.values()) > 1000
    print(f"S10: {10_000 * len(told)} messages of {len(told)} kinds, {sum(read for read, _ in told.values())} readable")


async def _echo(request: SelectRequest) -> SelectRequest:
    return SelectRequest()


async def test_a_message_beyond_the_limit_is_refused_and_costs_no_memory() -> None:
    server = rpc.Server([rpc.Unary("toy.Toy/Echo", SelectRequest, _echo)], load())
    address = await server.start()
    wide = load(grpc_message_bytes=64 << 20)
    process = psutil.Process()
    try:
        async with rpc.Channel(address, wide) as channel:
            assert (await channel.exchange("toy.Toy/Echo", b"", 20)).code == "OK"
            before = process.memory_info().rss
            for size in ((4 << 20) + 1, 16 << 20):
                # A field that nobody knows, so that every size is readable.
                large = b"\xfa\x7f" + _varint(size - 6) + bytes(size - 6)
                assert (await channel.exchange("toy.Toy/Echo", large, 60)).code == "RESOURCE_EXHAUSTED"
            # A million repeated fields, within the limit: each is two bytes on the wire.
            many = SelectRequest.DESCRIPTOR.fields_by_name
            number = next(
                field.number for field in many.values() if field.is_repeated and field.message_type is not None
            )
            tag = bytes([(number << 3) | 2]) if number < 16 else _varint((number << 3) | 2)
            answer = await channel.exchange("toy.Toy/Echo", (tag + b"\0") * 1_000_000, 60)
            assert answer.code in ("OK", "INVALID_ARGUMENT")
            deep = b""
            for _ in range(101):
                # Groups in groups, which every reader has to follow.
                deep = b"\x7b" + deep + b"\x7c"
            assert (await channel.exchange("toy.Toy/Echo", deep, 20)).code == "INVALID_ARGUMENT"
            assert (await channel.exchange("toy.Toy/Echo", b"", 20)).code == "OK"
        # Both ends are in this process, so this bounds the server's part from above.
        grown = process.memory_info().rss - before
        print(f"S11: RSS grew by {grown >> 20} MiB")
        assert grown < 400 << 20
    finally:
        await server.stop(0)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


async def test_messages_that_nats_does_not_take_are_refused_in_our_words(nats_server: NatsProcess) -> None:
    nats = await connect(nats_server.url, name="test")
    try:
        await topology.ensure(nats, load(), ["score"])
        for size, words in (
            (64 << 10, "larger than the stream allows"),
            ((1 << 20) + 1, "larger than the server's max_payload"),
        ):
            with pytest.raises(BadInput, match=words):
                await nats.publish("tessera.job.score", bytes(size))
        assert (await nats.publish("tessera.job.score", bytes(60 << 10))).sequence == 1
    finally:
        await nats.close()


def test_no_product_code_opens_archives_or_addresses_that_it_was_sent() -> None:
    """S9 and S16: nothing is unpacked to files, and no service opens an archive: the command line reads the zips that
    CVAT exports, entry by entry in memory, within bounds. HTTP clients speak to where a setting or a user says: one
    fetches weights, one tells a webhook, one speaks to Label Studio; the last two follow no redirect. What receives
    Label Studio's webhooks takes only the parser of headers."""
    archives = {"zipfile", "tarfile", "shutil.unpack_archive", "py7zr", "rarfile"}
    clients = {"urllib.request", "http.client", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "telnetlib"}
    found: dict[str, set[str]] = {}
    texts = {path: path.read_text() for path in PRODUCT}
    first = {one.split(".")[0] for one in archives | clients}
    for path, text in texts.items():
        for node in ast.walk(ast.parse(text)) if any(word in text for word in first) else ():
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            used = {name for name in names for one in archives | clients if name == one or name.startswith(f"{one}.")}
            if used:
                found.setdefault(path.relative_to(ROOT).as_posix(), set()).update(used)
    assert found == {
        "shared/tessera/adapters/cvat/files.py": {"zipfile"},
        "shared/tessera/adapters/cvat/masks_zip.py": {"zipfile"},
        "shared/tessera/cli/weights.py": {"http.client", "urllib.request"},
        "shared/tessera/runtime/calls.py": {"urllib.request"},
        "shared/tessera/runtime/people/label_studio_api.py": {"urllib.request"},
        "shared/tessera/runtime/people/webhook.py": {"http.client"},
        "shared/tessera/runtime/notices.py": {"urllib.request"},
    }
    assert not [path for path, text in texts.items() if "extractall" in text]
    assert not [path for path in texts if path.is_relative_to(ROOT / "services") and "zipfile" in texts[path]]
    assert "unpack_archive" not in "".join(texts.values())


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest",
        "https://example.org/a",
        "file:///etc/passwd",
        "ftp://a/b",
        "//host/share",
        "gopher://x",
    ],
)
async def test_an_address_in_a_reference_is_no_key(tmp_path: Path, address: str) -> None:
    store = open_store(tmp_path.as_uri(), load())
    for ref in (
        ObjectRef(bucket="local", key=address, sha256="0" * 64),
        ObjectRef(bucket=address, key="a", sha256="0" * 64),
    ):
        # file:// begins images that stay outside: what follows it here is no bucket of theirs.
        words = "is no bucket" if ref.bucket.startswith("file://") else "refused|is in bucket"
        with pytest.raises(TesseraError, match=words):
            await asyncio.wait_for(store.get(ref), 20)
    assert not re.search(
        r"^\s*string (url|uri|endpoint) =", "".join(p.read_text() for p in (ROOT / "protos").rglob("*.proto")), re.M
    )
