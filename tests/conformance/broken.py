"""The example's selector with one rule of the contract broken: the one that the file FAULT names now.

Copied beside the example and run there, so it uses the example's code and none of ours.
"""

import asyncio
import os
import sys
from pathlib import Path

import doors
import selector
from contract.jobs_pb2 import JobEnvelope

from contract import selector_pb2

FAULT = Path(os.environ["FAULT"])
_get, _answer, _perform, _settle = doors.get, doors.Doors.answer, doors.Doors.perform, doors.Doors.settle
_choose, _select, _read = selector.choose, selector.select, selector.read
busy, stuck = 0, False


def fault():
    return FAULT.read_text()


def get(ref):
    if fault() == "other bucket":
        ref = type(ref).FromString(ref.SerializeToString())
        ref.bucket = doors.BUCKET
    try:
        return _get(ref)
    except doors.Refused as error:
        if fault() == "lost objects are bad input":
            raise doors.Refused(str(error)) from None
        if fault() == "unverified" and "its bytes" in str(error):
            return doors.S3.get_object(doors.BUCKET, "/".join([*doors.PREFIX, ref.key])).read()
        if fault() == "unnamed object":
            error.ref.key = ""
        raise


def choose(request, stage, given, pool, count):
    if fault() == "first shard only":
        first = set(selector.keys(_read([request.shards[0].regions], selector.KEY)))
        pool = pool.filter(selector.pa.array([key in first for key in selector.keys(pool)]))
    if fault() == "any stage":
        stage.name, given = "top", {"by": "entropy_mean"}
    chosen, score = _choose(request, stage, given, pool, count)
    if fault() == "not deterministic":
        order = selector.np.random.default_rng().permutation(len(chosen))
        return chosen.take(order), score.take(order)
    return chosen, score


def select(request):
    if fault() == "labelled again":
        del request.ledgers[:]
    if fault() == "over budget":
        request.budget.amount += 1
    if fault() == "empty is fine" and not request.stages:
        return selector_pb2.SelectResponse()
    if fault() == "budget is a wish":
        request.budget.amount = min(request.budget.amount, 8)
    if fault() == "the run counts" and request.context.round == 7:
        request.budget.amount -= 1
    response = _select(request)
    if fault() == "wrong hash":
        response.selection_sha256 = "0" * 64
    if fault() == "lost output":
        response.selection.key = response.selection.key[:-1] + "x"
    return response


class Broken(doors.Doors):
    async def answer(self, data):
        global busy
        busy += 1
        try:
            if fault() == "one at a time" and busy > 1:
                raise doors.Refused("busy")
            if fault() == "unknown fields" and b"\x9a\x3f" in data:
                raise doors.Refused("unknown field 1011")
            return await _answer(self, data)
        finally:
            busy -= 1

    async def grpc(self, data, context):
        global stuck
        if fault() == "stuck after a cancellation":
            while stuck and fault():
                await asyncio.sleep(0.05)
            stuck = True
            await asyncio.sleep(0.5)
            stuck = False
        if fault() == "tracebacks" and not data.startswith(b"\n"):
            await context.abort(doors.grpc.StatusCode.INTERNAL, "Traceback (most recent call last): …")
        response = await super().grpc(data, context)
        if fault() == "doors differ":
            return selector_pb2.SelectResponse(notes=["by gRPC"]).SerializeToString() + response
        return response

    async def find(self, key):
        if fault() == "computed every time":
            return None
        return await super().find(key)

    async def perform(self, job):
        if fault() == "unrecorded":
            response = await self.answer(job.request)
            return doors.JobRecord(job_key=job.job_key, method="Select", algorithm="plain/1", response=response)
        if fault() == "deaf to distrust":
            job.distrusted = ""
        if fault() == "no requests from the store":
            job.ClearField("request_ref")
        if fault() == "computed every time":
            record = doors.JobRecord(job_key=job.job_key, method="Select", algorithm="plain/1", worker="w")
            record.response, record.job_seconds = await self.answer(job.request), doors.time.monotonic()
            ref = doors.put(doors.spelled(record), "application/json")
            named = doors.json.dumps({"key": ref.key, "sha256": ref.sha256, "size": ref.size}).encode()
            await self.results.put(job.job_key, named)
            doors.put(doors.spelled(record), "application/json", f"jobs/Select/{job.job_key}.json")
            return record
        return await _perform(self, job)

    async def settle(self, message):
        now = fault()
        if now in ("all versions", "other versions fail"):
            job = JobEnvelope()
            try:
                job.ParseFromString(message.data)
            except doors.DecodeError:
                return await _settle(self, message)
            if job.algorithm != "plain/1":
                message.data = _as_ours(job, now)
        if now == "no acknowledgement":
            message.ack_sync = _nothing
        if now in ("no events", "no dead letters"):
            return await _settle(_Deaf(self, "tessera.event" if now == "no events" else "tessera.dlq"), message)
        if now == "dies of garbage" and message.data.startswith(b"\xff"):
            while fault():
                await asyncio.sleep(0.05)
        return await _settle(self, message)


def _as_ours(job, now):
    job.algorithm = "plain/1"
    if now == "other versions fail":
        job.request = b"\xff"
    return job.SerializeToString()


async def _nothing():
    pass


class _Deaf:
    """Doors whose stream publishes nothing below a subject."""

    def __init__(self, whole, prefix):
        self.method, self.algorithm, self.perform, self.jetstream = whole.method, whole.algorithm, whole.perform, self
        self._publish, self._prefix = whole.jetstream.publish, prefix

    async def publish(self, subject, data, **options):
        if not subject.startswith(self._prefix):
            await self._publish(subject, data, **options)


doors.get = selector.get = get
selector.choose, doors.Doors = choose, Broken
if "no health" in sys.argv:
    doors.health_pb2_grpc.add_HealthServicer_to_server = lambda *_: None
if "small messages" in sys.argv:
    plain = doors.grpc.aio.server
    doors.grpc.aio.server = lambda: plain(options=[("grpc.max_receive_message_length", 65536)])
asyncio.run(doors.serve("SelectorService", "Select", "plain/1", selector_pb2.SelectRequest, select))
