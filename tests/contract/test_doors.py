"""Both doors of a method, in a real process: equal bytes, one computation, the same errors."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tessera.errors import BadInput, CorruptObject, TesseraError
from tessera.pb.scorer_pb2 import ScoreRequest, ScoreResponse
from tessera.runtime import rpc
from toy.harness import RUN, Bed, ToyService, bed, envelope, request

SCORE = "tessera.v1.ScorerService/Score"


@pytest.fixture
async def served(tmp_path: Path, nats_url: str) -> AsyncIterator[tuple[Bed, ToyService]]:
    async with bed(tmp_path, nats_url) as made:
        yield made, await made.start()


async def _through_grpc(service: ToyService, job: ScoreRequest) -> bytes:
    response = await rpc.call(service.address, SCORE, job, ScoreResponse, 20)
    return response.SerializeToString(deterministic=True)


async def test_both_doors_give_equal_bytes_from_one_computation(served: tuple[Bed, ToyService]) -> None:
    made, service = served
    manifest = await made.store.put_content(b"input", "text/plain")
    for seed, grpc_first in ((1, True), (2, False)):
        job = request(seed, "noise")
        job.manifest.CopyFrom(manifest)
        if grpc_first:
            from_grpc = await _through_grpc(service, job)
        await made.submit(job)
        events = await made.ends(seed)
        if not grpc_first:
            from_grpc = await _through_grpc(service, job)
        assert events[-1].job_done.record.response == from_grpc
        assert made.runs(seed) == 1
        response = ScoreResponse.FromString(from_grpc)
        assert (await made.store.get(response.scores)).startswith(b"toy %d input" % seed)
    await made.idle()


async def test_ten_equal_requests_at_once_are_computed_once(served: tuple[Bed, ToyService]) -> None:
    made, service = served
    job = request(7, "sleep:0.2", "noise")
    await made.submit(job)
    for number in range(4):
        await made.submit(job, run_id=f"other-{number}")
    answers = await asyncio.gather(*(_through_grpc(service, job) for _ in range(5)))
    records = [(await made.ends(1, run_id=run))[0].job_done.record for run in (RUN, *(f"other-{n}" for n in range(4)))]
    assert len({*answers, *(record.response for record in records)}) == 1
    assert made.runs(7) == 1


async def test_a_mistake_is_the_same_through_both_doors(served: tuple[Bed, ToyService]) -> None:
    made, service = served
    job = request(3, "bad:the image is odd")
    with pytest.raises(BadInput, match="the image is odd"):
        await _through_grpc(service, job)
    await made.submit(job)
    failure = (await made.ends(1))[0].job_failed.failure
    assert failure.reason == "bad_input"
    assert failure.exit_code == 2
    assert failure.message == "toy: the image is odd"


async def test_no_traceback_leaves_the_service(served: tuple[Bed, ToyService]) -> None:
    made, service = served
    with pytest.raises(TesseraError) as caught:
        await _through_grpc(service, request(4, "bug:secret-thing"))
    assert "Traceback" not in str(caught.value)
    assert "compute.py" not in str(caught.value)
    await made.submit(request(4, "bug:secret-thing"))
    message = (await made.ends(1))[0].job_failed.failure.message
    assert "Traceback" not in message


async def test_health_and_reflection_answer(served: tuple[Bed, ToyService]) -> None:
    _, service = served
    assert await rpc.is_serving(service.address)
    assert await rpc.is_serving(service.address, "tessera.v1.ScorerService")
    assert not await rpc.is_serving(service.address, "tessera.v1.NoService")
    assert "tessera.v1.ScorerService" in await rpc.reflected(service.address)


async def test_garbage_is_invalid_on_both_doors_and_the_service_lives(served: tuple[Bed, ToyService]) -> None:
    made, service = served
    garbage = [b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f", b"\x00", bytes(range(256))]
    async with rpc.Channel(service.address) as channel:
        for data in garbage:
            stub = channel._channel.unary_unary(f"/{SCORE}")
            with pytest.raises(Exception, match="INVALID_ARGUMENT"):
                await stub(data, timeout=5)
    for index, data in enumerate(garbage):
        await made.messaging.publish("tessera.job.score", data)
        broken = envelope(request(index))
        broken.request = data
        await made.events.dispatch(broken)
    await made.idle()
    from tessera.runtime.dead_letters import DeadLetters

    letters = await DeadLetters(made.messaging).list()
    assert len(letters) == 2 * len(garbage)
    assert {letter.failure.reason for letter in letters} == {"bad_input"}
    assert await _through_grpc(service, request(9))


def _mutated(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(3):
            case 0:
                changed[at:at] = rng.randbytes(rng.randint(1, 8))
            case 1:
                del changed[at : at + rng.randint(1, 4)]
            case _:
                changed[at : at + 1] = rng.randbytes(1)
    return bytes(changed)


async def test_mutated_requests_get_an_answer_or_a_clean_refusal(served: tuple[Bed, ToyService]) -> None:
    made, service = served
    rng = random.Random(7)
    job = request(1, "noise")
    job.manifest.CopyFrom(await made.store.put_content(b"input", "text/plain"))
    plain = request(1, "noise", "one", "two").SerializeToString()
    said = ""
    ends: Counter[str] = Counter()
    async with rpc.Channel(service.address) as channel:
        stub = channel._channel.unary_unary(f"/{SCORE}")
        for data in [job.SerializeToString(), plain] * 100:
            try:
                await stub(_mutated(data, rng), timeout=10)
                ends["OK"] += 1
            except grpc.aio.AioRpcError as error:
                ends[error.code().name] += 1
                said += error.details() or ""
    print(dict(ends))
    assert "Traceback" not in said
    assert ".py" not in said
    assert set(ends) <= {"OK", "INVALID_ARGUMENT", "DATA_LOSS"}
    assert len(ends) == 3
    sealed = envelope(job).SerializeToString()
    for _ in range(40):
        await made.messaging.publish("tessera.job.score", _mutated(sealed, rng))
    await made.idle()
    assert await _through_grpc(service, request(2)), "the service lives"


async def test_a_job_whose_key_does_not_match_its_content_is_refused(served: tuple[Bed, ToyService]) -> None:
    made, _ = served
    sealed = envelope(request(5))
    sealed.job_key = "0" * 64
    await made.events.dispatch(sealed)
    failure = (await made.ends(1))[0].job_failed.failure
    assert failure.reason == "bad_input"
    assert "different versions" in failure.message
    assert made.runs(5) == 0


async def test_a_damaged_input_is_named_at_both_doors(served: tuple[Bed, ToyService], tmp_path: Path) -> None:
    made, service = served
    job = request(6)
    job.manifest.CopyFrom(await made.store.put_content(b"whole input", "text/plain"))
    for path in (tmp_path / "store").rglob("*"):
        if path.is_file() and path.read_bytes() == b"whole input":
            path.chmod(0o600)
            path.write_bytes(b"whale input")
    with pytest.raises(CorruptObject, match=job.manifest.key):
        await _through_grpc(service, job)
    await made.submit(job)
    failure = (await made.ends(1))[0].job_failed.failure
    assert failure.reason == "corrupt_object"
    assert job.manifest.key in failure.message


async def test_labels_beyond_the_services_policy_are_refused(served: tuple[Bed, ToyService]) -> None:
    made, service = served
    job = request(8)
    job.manifest.CopyFrom(await made.store.put("datasets/d/labels/test/a.png", b"truth", "image/png"))
    with pytest.raises(BadInput, match="permission denied"):
        await _through_grpc(service, job)
