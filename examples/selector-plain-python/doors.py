"""Tessera's contract for one method of a service, from the protos alone: the store, the record of a job, both doors."""

import asyncio
import contextlib
import hashlib
import io
import json
import os
import signal
import time

import grpc
import minio.error
import nats
from contract.common_pb2 import ObjectRef
from contract.jobs_pb2 import JobEnvelope, JobFailure, JobRecord
from contract.runs_pb2 import RunEvent
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError

ENV = os.environ
BUCKET, *PREFIX = ENV["TESSERA_STORE"].removeprefix("s3://").split("/")
USER = {"access_key": ENV["TESSERA_S3_ACCESS_KEY"], "secret_key": ENV["TESSERA_S3_SECRET_KEY"], "region": "us-east-1"}
S3 = minio.Minio(ENV["TESSERA_S3_ENDPOINT"], **USER, secure=ENV.get("TESSERA_S3_SECURE") != "false")


class Refused(Exception):
    """A job that no further attempt can help; `ref` is the object that is lost or damaged, if that is the reason."""

    def __init__(self, text, ref=None):
        super().__init__(text)
        self.ref, self.reason = ref, "corrupt_object" if ref else "bad_input"


def get(ref):
    """The bytes of a reference, verified."""
    if ref.bucket != BUCKET:
        raise Refused(f"object {ref.key}: is in bucket {ref.bucket!r}, this store is {BUCKET!r}")
    try:
        data = S3.get_object(BUCKET, "/".join([*PREFIX, ref.key])).read()
    except minio.error.MinioException as error:  # some servers answer with XML that the client does not take for it
        if "NoSuchKey" not in str(error):
            raise
        raise Refused(f"object {ref.key}: is not in the store", ref) from None
    if hashlib.sha256(data).hexdigest() != ref.sha256:
        raise Refused(f"object {ref.key}: its bytes are not those of its reference", ref)
    return data


def put(data, media_type, key=None):
    """Write under this key, else under the hash of the content, and return the reference."""
    digest = hashlib.sha256(data).hexdigest()
    key = key or f"cas/sha256/{digest[:2]}/{digest[2:]}"
    S3.put_object(BUCKET, "/".join([*PREFIX, key]), io.BytesIO(data), len(data), media_type, {"sha256": digest})
    return ObjectRef(bucket=BUCKET, key=key, sha256=digest, size=len(data), media_type=media_type)


class Doors:
    """One method: `compute(request)` returns the response, and raises Refused, KeyError, TypeError or ValueError."""

    def __init__(self, method, algorithm, request, compute, jetstream, results):
        self.method, self.algorithm, self.request, self.compute = method, algorithm, request, compute
        self.jetstream, self.results = jetstream, results

    async def answer(self, data):
        try:
            return (await asyncio.to_thread(self.compute, self.request.FromString(data))).SerializeToString()
        except (DecodeError, KeyError, TypeError, ValueError) as error:
            raise Refused(f"{self.method} request: {error}") from error

    async def grpc(self, data, context):
        """The gRPC door: bytes of a request in, bytes of its response out."""
        try:
            return await self.answer(data)
        except Refused as error:
            code = grpc.StatusCode.DATA_LOSS if error.ref else grpc.StatusCode.INVALID_ARGUMENT
            await context.abort(code, str(error), (("tessera-reason", error.reason),))

    async def find(self, key):
        """The record that was committed for this job, or None."""
        with contextlib.suppress(KeyNotFoundError):
            named = ObjectRef(bucket=BUCKET, **json.loads((await self.results.get(key)).value))
            return json_format.Parse(get(named), JobRecord())

    async def perform(self, job):
        """Objects first, then the record, then its name: whoever creates the name has made the job's result."""
        found, started = await self.find(job.job_key), time.monotonic()
        if found is None or digest(found) == job.distrusted:
            response = await self.answer(get(job.request_ref) if job.HasField("request_ref") else job.request)
            made = JobRecord(job_key=job.job_key, method=self.method, algorithm=self.algorithm, response=response)
            made.worker, made.attempt, made.job_seconds = f"plain:{os.getpid()}", 1, time.monotonic() - started
            ref = put(spelled(made), "application/json")
            name = json.dumps({"key": ref.key, "sha256": ref.sha256, "size": ref.size}).encode()
            with contextlib.suppress(KeyWrongLastSequenceError):  # else another worker's is the result
                await (self.results.put if found else self.results.create)(job.job_key, name)
            found = await self.find(job.job_key)
        put(spelled(found), "application/json", f"jobs/{self.method}/{job.job_key}.json")
        return found

    async def settle(self, message):
        """The JetStream door: one job, from its message to its end."""
        job, event = JobEnvelope(), RunEvent()
        try:
            job.ParseFromString(message.data)
            if job.algorithm not in ("", self.algorithm):  # a worker of that version will take it
                return await message.nak(delay=5)
            event.job_done.record.CopyFrom(await self.perform(job))
        except (DecodeError, Refused) as error:
            ref, reason = getattr(error, "ref", None), getattr(error, "reason", "bad_input")
            failure = JobFailure(job_key=job.job_key, method=self.method, reason=reason, message=str(error), object=ref)
            failure.attempts, failure.exit_code = 1, 3 if ref else 2
            event.job_failed.failure.CopyFrom(failure)
            failure.envelope.CopyFrom(job)
            await self.jetstream.publish(f"tessera.dlq.{self.method.lower()}", failure.SerializeToString())
        if job.run_id:
            name = f"{job.run_id}:{job.job_key}:{event.WhichOneof('kind')}:{message.metadata.sequence.stream}"
            told = {"Nats-Msg-Id": name}
            await self.jetstream.publish(f"tessera.event.{job.run_id}.job", event.SerializeToString(), headers=told)
        await message.ack_sync()

    async def work(self, stopping):
        queue = await self.jetstream.pull_subscribe_bind(f"worker-{self.method.lower()}", stream="JOBS")
        while not stopping.is_set():  # the job in hand ends first
            with contextlib.suppress(TimeoutError):
                (message,) = await queue.fetch(1, timeout=1)
                beat = asyncio.create_task(keep(message))
                try:
                    await self.settle(message)
                except Exception as error:  # the store or NATS is away: the job comes again, as often as it takes
                    print("later:", repr(error), flush=True)
                    await message.nak(delay=min(2**message.metadata.num_delivered, 30))
                finally:
                    beat.cancel()


async def keep(message):
    """Say that the job is in hand, or another worker gets it after TESSERA_ACK_WAIT."""
    while True:
        await asyncio.sleep(3)
        await message.in_progress()


def digest(record):
    """The name of one result of a job, by which a coordinator says that it is not to be believed any more."""
    facts = f"{record.job_key} {record.algorithm} {record.worker} {record.attempt} {record.job_seconds!r} ".encode()
    return hashlib.sha256(facts + record.response).hexdigest()[:32]


def spelled(record):
    return json_format.MessageToJson(record, preserving_proto_field_name=True).encode()


async def serve(service, method, algorithm, request, compute):
    """Serve both doors until SIGTERM; `algorithm` is the version of the results, which job keys are made with."""
    client, stopping = await nats.connect(ENV["TESSERA_NATS_URL"], token=ENV.get("TESSERA_NATS_TOKEN")), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    jetstream = client.jetstream()
    doors = Doors(method, algorithm, request, compute, jetstream, await jetstream.key_value("results"))
    server, alive, name = grpc.aio.server(), health.aio.HealthServicer(), f"tessera.v1.{service}"
    handlers = {method: grpc.unary_unary_rpc_method_handler(doors.grpc)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    health_pb2_grpc.add_HealthServicer_to_server(alive, server)
    await alive.set("", health_pb2.HealthCheckResponse.SERVING)
    await alive.set(name, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port(ENV.get("ADDRESS", "127.0.0.1:50061"))
    await server.start()
    print(f"{name} on port {port}", flush=True)
    await doors.work(stopping)
    await server.stop(1)
    await client.close()
