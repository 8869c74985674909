"""The example's selector with one rule of the contract broken: the one that the file FAULT names now.

Copied beside the example and run there, so it uses the example's code and none of ours.
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import jobs
import selector
import store

FAULT = Path(os.environ["FAULT"])
_get, _rank, _select, _answer = store.get, selector.rank, selector.select, selector.answer
_perform, _settle = jobs.Jobs.perform, jobs.Jobs.settle
busy, stuck = 0, False


def fault():
    return FAULT.read_text()


def get(ref):
    if fault() == "other bucket":
        ref = type(ref).FromString(ref.SerializeToString())
        ref.bucket = store.BUCKET
    try:
        return _get(ref)
    except store.Lost as error:
        if fault() == "lost objects are bad input":
            raise ValueError(str(error)) from None
        if fault() == "unverified":
            with contextlib.suppress(store.minio.error.MinioException):
                return store.S3.get_object(store.BUCKET, f"{store.PREFIX}/{ref.key}").data
        if fault() == "unnamed object":
            error.args[1].key = ""
        raise


def rank(request, pool):
    if fault() == "first shard only":
        first = store.rows([request.shards[0].regions], *selector.REGION)
        pool = [region for region in pool if region in first]
    if fault() == "any stage":
        request.stages[0].name = "top"
    ranked = _rank(request, pool)
    if fault() == "not deterministic":
        return [ranked[place] for place in selector.np.random.default_rng().permutation(len(ranked))]
    return ranked


def select(data):
    global busy
    busy += 1
    try:
        if fault() == "one at a time" and busy > 1:
            raise ValueError("busy")
        if fault() == "unknown fields" and b"\x9a\x3f" in data:
            raise ValueError("unknown field 1011")
        return _selected(data)
    finally:
        busy -= 1


def _selected(data):
    request = selector.SelectRequest.FromString(data)
    if fault() == "labelled again":
        del request.ledgers[:]
    if fault() == "over budget":
        request.budget.amount += 1
    if fault() == "empty is fine" and not request.stages:
        return b""
    if fault() == "budget is a wish":
        request.budget.amount = min(request.budget.amount, 8)
    if fault() == "the run counts" and request.context.round == 7:
        request.budget.amount -= 1
    response = selector.SelectResponse.FromString(_select(request.SerializeToString()))
    if fault() == "wrong hash":
        response.selection_sha256 = "0" * 64
    if fault() == "lost output":
        response.selection.key = response.selection.key[:-1] + "x"
    return response.SerializeToString()


async def answer(data, context):
    global stuck
    if fault() == "stuck after a cancellation":
        while stuck and fault():
            await asyncio.sleep(0.05)
        stuck = True
        await asyncio.sleep(0.5)
        stuck = False
    if fault() == "tracebacks" and not data.startswith(b"\n"):
        await context.abort(selector.grpc.StatusCode.INTERNAL, "Traceback (most recent call last): …")
    response = await _answer(data, context)
    if fault() == "doors differ":
        return selector.SelectResponse(notes=["by gRPC"]).SerializeToString() + response
    return response


async def perform(self, job):
    made = jobs.JobRecord(job_key=job.job_key, method="Select", algorithm=selector.VERSION, worker="w")
    if fault() == "unrecorded":
        made.response = select(job.request)
        return made
    if fault() == "deaf to distrust":
        job.distrusted = ""
    if fault() == "no requests from the store":
        job.ClearField("request_ref")
    if fault() == "computed every time":
        made.response, made.job_seconds = select(job.request), jobs.time.monotonic()
        text = jobs.json_format.MessageToJson(made, preserving_proto_field_name=True).encode()
        ref = store.put(text, "application/json")
        named = jobs.json.dumps({"key": ref.key, "sha256": ref.sha256, "size": ref.size}).encode()
        await self.results.put(job.job_key, named)
        store.put(text, "application/json", f"jobs/Select/{job.job_key}.json")
        return made
    return await _perform(self, job)


async def settle(self, message):
    now, jetstream = fault(), self.jetstream
    if now in ("all versions", "other versions fail"):
        job = jobs.JobEnvelope()
        try:
            job.ParseFromString(message.data)
        except store.DecodeError:
            return await _settle(self, message)
        if job.algorithm != selector.VERSION:
            message.data = _as_ours(job, now)
    if now == "no acknowledgement":
        message.ack_sync = _nothing
    if now in ("no events", "no dead letters"):
        self.jetstream = _Deaf(jetstream, "tessera.event" if now == "no events" else "tessera.dlq")
    if now == "dies of garbage" and message.data.startswith(b"\xff"):
        while fault():
            await asyncio.sleep(0.05)
    try:
        return await _settle(self, message)
    finally:
        self.jetstream = jetstream


def _as_ours(job, now):
    job.algorithm = selector.VERSION
    if now == "other versions fail":
        job.request = b"\xff"
    return job.SerializeToString()


async def _nothing():
    pass


class _Deaf:
    """A stream that takes nothing below a subject."""

    def __init__(self, jetstream, prefix):
        self._publish, self._prefix = jetstream.publish, prefix

    async def publish(self, subject, data, **options):
        if not subject.startswith(self._prefix):
            await self._publish(subject, data, **options)


store.get, selector.rank, selector.select, selector.answer = get, rank, select, answer
jobs.Jobs.perform, jobs.Jobs.settle = perform, settle
if "no health" in sys.argv:
    selector.health_pb2_grpc.add_HealthServicer_to_server = lambda *_: None
if "small messages" in sys.argv:
    plain = selector.grpc.aio.server
    selector.grpc.aio.server = lambda: plain(options=[("grpc.max_receive_message_length", 65536)])
asyncio.run(selector.main())
