"""Rules of the gRPC door."""

from __future__ import annotations

import asyncio
import contextlib

from google.protobuf.message import Message

from tessera.cli.conformance.bench import Bench
from tessera.cli.conformance.checks import GRPC, check, expect
from tessera.cli.conformance.outcomes import NotApplicable
from tessera.cli.conformance.samples import SampleRequest, first_axis
from tessera.pb.common_pb2 import ObjectRef
from tessera.runtime import rpc

UNKNOWN_NAME = "no-such-name"
GARBAGE = b"\xff" * 20
LIMIT = 4 << 20
"""Bytes of a request that every gRPC door takes."""
_UNKNOWN_TAG = b"\x9a\x3f"
"""Field 1011, length-delimited, as a later version of a message may have."""


def padded(data: bytes, size: int) -> bytes:
    """Return a request that is ``size`` bytes long by an unknown field."""
    room = size - len(data) - len(_UNKNOWN_TAG)
    length = bytearray()
    for place in range(4):
        length.append(((room - 4) >> 7 * place) & 0x7F | (0x80 if place < 3 else 0))
    return data + _UNKNOWN_TAG + bytes(length) + b"\0" * (room - 4)


def clean(text: str) -> None:
    """Raise Broken when an error text shows internals of the service."""
    expect("Traceback" not in text and 'File "' not in text, f"the error shows a traceback: {text[:200]}")


async def refused(
    bench: Bench, sample: SampleRequest, request: Message | bytes, status: str, reason: str, named: str = ""
) -> str:
    """Raise Broken unless the request is refused in this way, by a text that names the error."""
    ended = await bench.call(sample.method, request)
    clean(ended.text)
    seen = f"{ended.code} {ended.reason or '(no reason)'}: {ended.text[:200]}"
    expect((ended.code, ended.reason) == (status, reason), seen)
    expect(named in ended.text, f"{seen}; {named} is not named")
    return seen


@check(
    "health",
    GRPC,
    "grpc.health.v1 says SERVING, for the server and for the service by name",
    "serve grpc.health.v1.Health, and set SERVING for '' and for the service's full name",
)
async def _health(bench: Bench, sample: SampleRequest) -> str:
    for name in ("", sample.method.service):
        expect(await rpc.is_serving(bench.channel.address, name), f"not SERVING for {name or 'the server'!r}")
    return "SERVING"


@check(
    "deadline",
    GRPC,
    "a call that nobody waits for any more does no harm: the same request is answered right afterwards",
    "heed cancellation, and keep no half-made state under the job key",
)
async def _deadline(bench: Bench, sample: SampleRequest) -> str:
    ended = await bench.call(sample.method, sample.request, 0.001)
    call = asyncio.create_task(bench.call(sample.method, sample.request))
    await asyncio.sleep(0.002)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    await bench.answer(sample)
    return f"{ended.code}, then an answer"


@check(
    "answer",
    GRPC,
    "a valid request is answered, and every object that the response names can be read and verified",
    "store outputs before you answer; name bucket, key, sha256, size and media type of each",
)
async def _answer(bench: Bench, sample: SampleRequest) -> str:
    data = await bench.answer(sample)
    await bench.decoded(sample.method, data)
    bench.answers[sample.method.name] = data
    return f"{len(data)} bytes"


def answered(bench: Bench, sample: SampleRequest) -> bytes:
    """Return the first answer; NotApplicable when there was none."""
    if sample.method.name not in bench.answers:
        raise NotApplicable("no request was answered")
    return bench.answers[sample.method.name]


@check(
    "repeat",
    GRPC,
    "an equal request gives equal bytes, whatever its run, round or shard",
    "leave JobContext out of the computation and of the job key; draw random numbers from the request's seed alone",
)
async def _repeat(bench: Bench, sample: SampleRequest) -> str:
    first, other = answered(bench, sample), sample.copy()
    other.context.run_id, other.context.round = f"conformance-{bench.nonce}", 7
    for request in (sample.request, other):
        again = await bench.answer(sample, request)
        expect(again == first, f"{len(first)} bytes first, then {len(again)} other bytes")
    return "equal bytes three times"


@check(
    "at-once",
    GRPC,
    "four equal requests at once give equal bytes",
    "let one computation win: the result of a job key is the one that was committed first",
)
async def _at_once(bench: Bench, sample: SampleRequest) -> str:
    first = answered(bench, sample)
    found = await asyncio.gather(*(bench.answer(sample) for _ in range(4)))
    expect(set(found) == {first}, f"{len({*found, first})} different answers")
    return "equal bytes four times"


@check(
    "unknown-fields",
    GRPC,
    "a field that a later version added is ignored",
    "read requests with a protobuf library that skips unknown fields (all do unless told otherwise)",
)
async def _unknown_fields(bench: Bench, sample: SampleRequest) -> str:
    request = padded(sample.request.SerializeToString(deterministic=True), sample.request.ByteSize() + 64)
    expect(await bench.answer(sample, request) == answered(bench, sample), "other bytes")
    return "equal bytes"


@check(
    "large",
    GRPC,
    "a request of up to 4 MiB is taken, and a larger one does no harm",
    "set the server's largest message to 4 MiB or more; larger requests end with RESOURCE_EXHAUSTED",
)
async def _large(bench: Bench, sample: SampleRequest) -> str:
    data = sample.request.SerializeToString(deterministic=True)
    expect(await bench.answer(sample, padded(data, LIMIT - 1024)) == answered(bench, sample), "other bytes")
    ended = await bench.call(sample.method, padded(data, LIMIT + (1 << 20)))
    expect(ended.code in ("OK", "RESOURCE_EXHAUSTED"), f"5 MiB: {ended.code}: {ended.text[:200]}")
    return f"4 MiB taken, 5 MiB: {ended.code}"


@check(
    "unreadable",
    GRPC,
    "bytes that are no request end with a status that shows nothing of the service's inside",
    "let the gRPC library or the handler refuse them (INTERNAL and INVALID_ARGUMENT are both fine)",
)
async def _unreadable(bench: Bench, sample: SampleRequest) -> str:
    ended = await bench.call(sample.method, GARBAGE)
    expect(ended.code != "OK", "they were answered")
    clean(ended.text)
    return ended.code


@check(
    "bad-value",
    GRPC,
    "a name that the service does not know is refused: INVALID_ARGUMENT, tessera-reason bad_input, and named",
    "check every name and parameter, and put field and value into the status text",
)
async def _bad_value(bench: Bench, sample: SampleRequest) -> str:
    request = sample.copy()
    axis = first_axis(request)
    if axis is None:
        raise NotApplicable("the request has no named choice")
    axis.name = UNKNOWN_NAME
    return await refused(bench, sample, request, "INVALID_ARGUMENT", "bad_input", UNKNOWN_NAME)


@check(
    "empty",
    GRPC,
    "an empty request is refused: INVALID_ARGUMENT, tessera-reason bad_input",
    "check that the fields that the computation needs are set",
)
async def _empty(bench: Bench, sample: SampleRequest) -> str:
    return await refused(bench, sample, b"", "INVALID_ARGUMENT", "bad_input")


@check(
    "other-bucket",
    GRPC,
    "a reference into another bucket is refused unread: INVALID_ARGUMENT, tessera-reason bad_input, the key named",
    "compare ObjectRef.bucket with the bucket that you serve",
)
async def _other_bucket(bench: Bench, sample: SampleRequest) -> str:
    request = sample.copy()
    ref = sample.reference(request)
    # With other bytes, too: the bucket alone does not change the key, and the result may exist.
    ref.CopyFrom(bench.absent())
    ref.bucket = "another-bucket"
    return await refused(bench, sample, request, "INVALID_ARGUMENT", "bad_input", ref.key)


async def _unreadable_object(bench: Bench, sample: SampleRequest, wrong: ObjectRef) -> str:
    request = sample.copy()
    sample.reference(request).CopyFrom(wrong)
    return await refused(bench, sample, request, "DATA_LOSS", "corrupt_object", wrong.key)


@check(
    "missing-object",
    GRPC,
    "a reference to nothing ends with DATA_LOSS, tessera-reason corrupt_object, the key named",
    "tell an object that is not there from a store that is away; the coordinator has the object made again",
)
async def _missing_object(bench: Bench, sample: SampleRequest) -> str:
    return await _unreadable_object(bench, sample, bench.absent())


@check(
    "damaged-object",
    GRPC,
    "bytes that are not those of their reference end with DATA_LOSS, tessera-reason corrupt_object, the key named",
    "compare size and SHA-256 of every object with its reference before you use it",
)
async def _damaged_object(bench: Bench, sample: SampleRequest) -> str:
    return await _unreadable_object(bench, sample, await bench.damaged())
