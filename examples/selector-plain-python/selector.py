"""A selector in place of Tessera's, from the protos alone: the stages `random` and `top`, for budgets in regions."""

import asyncio
import hashlib
import io
import json
import os
import signal
import time
from contextlib import suppress

import grpc
import minio
import nats
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from contract.common_pb2 import ObjectRef
from contract.jobs_pb2 import JobEnvelope, JobFailure, JobRecord
from contract.runs_pb2 import RunEvent
from contract.selector_pb2 import SelectRequest, SelectResponse
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError

ENV, SERVICE, ALGORITHM = os.environ, "tessera.v1.SelectorService", "plain/1"
BUCKET, PREFIX = ENV["TESSERA_STORE"].removeprefix("s3://").split("/", 1)
USER = {"access_key": ENV["TESSERA_S3_ACCESS_KEY"], "secret_key": ENV["TESSERA_S3_SECRET_KEY"], "region": "us-east-1"}
S3 = minio.Minio(ENV["TESSERA_S3_ENDPOINT"], **USER, secure=ENV.get("TESSERA_S3_SECURE") != "false")
KEY = ["image_id", "region_id"]
IN_ORDER = [(name, "ascending") for name in KEY]


class Lost(Exception):
    """An object that is lost or damaged: a sentence, and its reference."""


BAD = (Lost, DecodeError, KeyError, TypeError, ValueError)  # what no further attempt can help


def told(error):
    """What a JobFailure says of an error of these."""
    if isinstance(error, Lost):
        return {"message": error.args[0], "reason": "corrupt_object", "exit_code": 3, "object": error.args[1]}
    return {"message": f"SelectRequest: {error}", "reason": "bad_input", "exit_code": 2}


def get(ref):
    """The bytes of a reference, verified."""
    if ref.bucket != BUCKET:
        raise ValueError(f"object {ref.key}: is in bucket {ref.bucket!r}, this store is {BUCKET!r}")
    try:
        data = S3.get_object(BUCKET, f"{PREFIX}/{ref.key}").data
    except minio.error.MinioException as error:
        if "NoSuchKey" not in str(error):  # the store is away
            raise
        data = None
    if data is None or hashlib.sha256(data).hexdigest() != ref.sha256:
        raise Lost(f"object {ref.key}: is lost or damaged", ref)
    return data


def put(data, media_type, key=None):
    """Write under the hash of the content, or under this key, and return the reference."""
    sha = hashlib.sha256(data).hexdigest()
    key = key or f"cas/sha256/{sha[:2]}/{sha[2:]}"
    S3.put_object(BUCKET, f"{PREFIX}/{key}", io.BytesIO(data), len(data), media_type)
    return ObjectRef(bucket=BUCKET, key=key, sha256=sha, size=len(data), media_type=media_type)


# ------------------------------------------------------------------------------------------------------- the strategy


def read(refs, columns):
    """These columns of all these Parquet tables, as one table."""
    return pa.concat_tables(pq.read_table(io.BytesIO(get(ref)), columns=columns) for ref in refs)


def choose(request, pool, budget):
    """The first regions that the stage ranks, and their scores."""
    stage = request.stages[0]
    given = json.loads(stage.parameters)
    count = min(given.get("count") or budget, budget)
    if stage.name == "random" and not given.get("share"):
        order = np.random.default_rng([request.seed, 0]).permutation(len(pool))
        return pool.take(order[:count]), pa.array([np.nan] * count, pa.float32())
    if stage.name == "top" and not given.get("share"):
        scored = pool.join(read(request.scores, [*KEY, given["by"]]), KEY, join_type="inner")
        direction = "descending" if given.get("descending", True) else "ascending"
        chosen = scored.sort_by([(given["by"], direction), *IN_ORDER]).slice(0, count)
        return chosen, chosen[given["by"]]
    raise ValueError(f"stages[0]: {stage.name!r} is not served here; known: random and top, without share")


def select(data):
    """SelectRequest in, SelectResponse out: equal requests give equal bytes, and labelled regions are never chosen."""
    request = SelectRequest.FromString(data)
    if len(request.stages) != 1 or request.HasField("candidates") or request.budget.unit != "regions":
        raise ValueError("this selector takes one stage, no candidates, and a budget in regions")
    pool, budget = read([shard.regions for shard in request.shards], KEY), int(request.budget.amount)
    if request.ledgers:
        pool = pool.join(read(request.ledgers, KEY), KEY, join_type="left anti")
    if not 1 <= budget <= len(pool):
        raise ValueError(f"budget: {budget} regions are asked for and {len(pool)} are left; lower it")
    chosen, score = choose(request, pool.sort_by(IN_ORDER), budget)
    ranks, clusters = pa.array(range(len(chosen)), pa.int32()), pa.array([-1] * len(chosen), pa.int32())
    columns = [ranks, chosen["image_id"], chosen["region_id"], score, clusters]
    table = pa.table(columns, names=["rank", *KEY, "score", "cluster"])
    pq.write_table(table, packed := io.BytesIO(), compression="zstd")
    lines = "".join(f"{row['image_id']}\t{row['region_id']}\n" for row in chosen.select(KEY).to_pylist())
    named = hashlib.sha256(lines.encode()).hexdigest()
    selection = put(packed.getvalue(), "application/vnd.apache.parquet")
    return SelectResponse(selection=selection, selection_sha256=named, count=len(chosen)).SerializeToString()


# -------------------------------------------------------------------------------------------------------- the two doors


async def answer(data, context):
    """The gRPC door."""
    try:
        return await asyncio.to_thread(select, data)
    except BAD as error:
        code = grpc.StatusCode.DATA_LOSS if isinstance(error, Lost) else grpc.StatusCode.INVALID_ARGUMENT
        await context.abort(code, told(error)["message"], (("tessera-reason", told(error)["reason"]),))


async def perform(job, results):
    """Objects first, then the record, then its name: whoever creates the name has made the job's result."""
    found, started = await find(job, results), time.monotonic()
    if found is None or digest(found) == job.distrusted:
        request = get(job.request_ref) if job.HasField("request_ref") else job.request
        made = JobRecord(job_key=job.job_key, method="Select", algorithm=ALGORITHM, worker="plain", attempt=1)
        made.response, made.job_seconds = await asyncio.to_thread(select, request), time.monotonic() - started
        ref = put(spelled(made), "application/json")
        name = json.dumps({"key": ref.key, "sha256": ref.sha256, "size": ref.size}).encode()
        with suppress(KeyWrongLastSequenceError):  # else another worker was first
            await (results.put if found else results.create)(job.job_key, name)
        found = await find(job, results)
    put(spelled(found), "application/json", f"jobs/Select/{job.job_key}.json")
    return found


async def find(job, results):
    """The record that was committed for this job, or None."""
    with suppress(KeyNotFoundError):
        named = json.loads((await results.get(job.job_key)).value)
        return json_format.Parse(get(ObjectRef(bucket=BUCKET, **named)), JobRecord())


def digest(record):
    """What a coordinator calls a record that is not to be believed any more."""
    facts = f"{record.job_key} {record.algorithm} {record.worker} {record.attempt} {record.job_seconds!r} "
    return hashlib.sha256(facts.encode() + record.response).hexdigest()[:32]


def spelled(record):
    return json_format.MessageToJson(record, preserving_proto_field_name=True).encode()


async def settle(message, jetstream, results):
    """The JetStream door: one job, from its message to its end."""
    job, event = JobEnvelope(), RunEvent()
    try:
        job.ParseFromString(message.data)
        if job.algorithm not in ("", ALGORITHM):  # a worker of that version will take it
            return await message.nak(delay=5)
        event.job_done.record.CopyFrom(await perform(job, results))
    except BAD as error:
        failure = JobFailure(job_key=job.job_key, method="Select", attempts=1, **told(error))
        event.job_failed.failure.CopyFrom(failure)
        failure.envelope.CopyFrom(job)
        await jetstream.publish("tessera.dlq.select", failure.SerializeToString())
    if job.run_id:
        name = f"{job.run_id}:{job.job_key}:{event.WhichOneof('kind')}:{message.metadata.sequence.stream}"
        subject, data = f"tessera.event.{job.run_id}.job", event.SerializeToString()
        await jetstream.publish(subject, data, headers={"Nats-Msg-Id": name})
    await message.ack_sync()


async def main():
    """Serve both doors until SIGTERM; the job in hand ends first."""
    client, stopping = await nats.connect(ENV["TESSERA_NATS_URL"], token=ENV.get("TESSERA_NATS_TOKEN")), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    jetstream = client.jetstream()
    results = await jetstream.key_value("results")
    server, alive = grpc.aio.server(), health.aio.HealthServicer()
    handlers = {"Select": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    health_pb2_grpc.add_HealthServicer_to_server(alive, server)
    await alive.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port(ENV.get("ADDRESS", "127.0.0.1:50061"))
    await server.start()
    print(f"{SERVICE} on port {port}", flush=True)
    queue = await jetstream.pull_subscribe_bind("worker-select", stream="JOBS")
    while not stopping.is_set():
        with suppress(TimeoutError):
            (message,) = await queue.fetch(1, timeout=1)
            try:
                await settle(message, jetstream, results)
            except Exception as error:  # the store or NATS is away: the job comes again, as often as it takes
                print("later:", repr(error), flush=True)
                await message.nak(delay=5)
    await server.stop(1)
    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
