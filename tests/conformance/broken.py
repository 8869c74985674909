"""The example's selector with one rule of the contract broken: the one that the file FAULT names now.

Copied beside the example and run there with a JetStream door of its own, so it uses none of our code.
"""

import asyncio
import contextlib
import io
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import jobs_door as jobs
import selector
from contract.selector_pb2 import SelectRequest, SelectResponse
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

FAULT = Path(os.environ["FAULT"])
SERVICE, VERSION = "tessera.v1.SelectorService", "plain/1"
_rows, _rank, _select = selector.rows, selector.rank, selector.Selector.select
_perform, _settle = jobs.Jobs.perform, jobs.Jobs.settle
busy, stuck = 0, False


def fault():
    return FAULT.read_text()


def rows(refs, *columns):
    for ref in refs:
        if fault() == "other bucket":
            ref.bucket = selector.BUCKET
        try:
            yield from _rows([ref], *columns)
        except FileNotFoundError as error:
            if fault() == "lost objects are bad input":
                raise ValueError(str(error)) from None
            if fault() == "unverified":
                with contextlib.suppress(selector.minio.error.MinioException):
                    data = selector.S3.get_object(selector.BUCKET, f"{selector.PREFIX}/{ref.key}").data
                    selector.pq.read_table(io.BytesIO(data))
            error.ref = type(ref)() if fault() == "unnamed object" else ref
            raise


def rank(request, pool):
    if fault() == "first shard only":
        pool &= set(_rows([request.shards[0].regions], *selector.REGION))
    if fault() == "any stage":
        request.stages[0].name = "top"
    ranked = _rank(request, pool)
    if fault() == "not deterministic":
        return [ranked[place] for place in selector.np.random.default_rng().permutation(len(ranked))]
    return ranked


def select(self, request):
    global busy
    busy += 1
    try:
        if fault() == "one at a time" and busy > 1:
            raise ValueError("busy")
        if fault() == "unknown fields" and b"\x9a\x3f" in request.SerializeToString():
            raise ValueError("unknown field 1011")
        return _selected(self, request)
    finally:
        busy -= 1


def _selected(self, request):
    if fault() == "labelled again":
        del request.ledgers[:]
    if fault() == "over budget":
        request.budget.amount += 1
    if fault() == "empty is fine" and not request.stages:
        return SelectResponse()
    if fault() == "budget is a wish":
        request.budget.amount = min(request.budget.amount, 8)
    if fault() == "the run counts" and request.context.round == 7:
        request.budget.amount -= 1
    response = _select(self, request)
    if fault() == "wrong hash":
        response.selection_sha256 = "0" * 64
    if fault() == "lost output":
        response.selection.key = response.selection.key[:-1] + "x"
    return response


def by_bytes(data):
    """What both doors of this process compute."""
    return selector.Selector().select(SelectRequest.FromString(data)).SerializeToString()


def answer(data, context):
    global stuck
    if fault() == "stuck after a cancellation":
        while stuck and fault():
            time.sleep(0.05)
        stuck = True
        time.sleep(0.5)
        stuck = not context.is_active()
    if fault() == "tracebacks" and not data.startswith(b"\n"):
        context.abort(grpc.StatusCode.INTERNAL, "Traceback (most recent call last): …")
    try:
        request = SelectRequest.FromString(data)
    except jobs.DecodeError:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request is no SelectRequest")
    response = selector.Selector().Select(request, context).SerializeToString()
    if fault() == "doors differ":
        return SelectResponse(notes=["by gRPC"]).SerializeToString() + response
    return response


async def perform(self, job):
    made = jobs.JobRecord(job_key=job.job_key, method="Select", algorithm=VERSION, worker="w")
    if fault() == "unrecorded":
        made.response = by_bytes(job.request)
        return made
    if fault() == "deaf to distrust":
        job.distrusted = ""
    if fault() == "no requests from the store":
        job.ClearField("request_ref")
    if fault() == "computed every time":
        made.response, made.job_seconds = by_bytes(job.request), time.monotonic()
        text = jobs.json_format.MessageToJson(made, preserving_proto_field_name=True).encode()
        ref = jobs.put(text, "application/json")
        named = jobs.json.dumps({"key": ref.key, "sha256": ref.sha256, "size": ref.size}).encode()
        await self.results.put(job.job_key, named)
        jobs.put(text, "application/json", f"jobs/Select/{job.job_key}.json")
        return made
    return await _perform(self, job)


async def settle(self, message):
    now, jetstream = fault(), self.jetstream
    if now in ("all versions", "other versions fail"):
        job = jobs.JobEnvelope()
        try:
            job.ParseFromString(message.data)
        except jobs.DecodeError:
            return await _settle(self, message)
        if job.algorithm != VERSION:
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
    job.algorithm = VERSION
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


selector.rows, selector.rank, selector.Selector.select = rows, rank, select
jobs.Jobs.perform, jobs.Jobs.settle = perform, settle
options = [("grpc.max_receive_message_length", 65536)] if "small messages" in sys.argv else []
server, alive = grpc.server(ThreadPoolExecutor(16), options=options), health.HealthServicer()
methods = {"Select": grpc.unary_unary_rpc_method_handler(answer)}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
if "no health" not in sys.argv:
    health_pb2_grpc.add_HealthServicer_to_server(alive, server)
    alive.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
port = server.add_insecure_port(os.environ["ADDRESS"])
server.start()
print(f"serving on port {port}", flush=True)
asyncio.run(jobs.Jobs("Select", VERSION, by_bytes).work())
server.stop(1).wait()
