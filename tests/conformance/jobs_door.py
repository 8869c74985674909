"""The JetStream door of a service, from the protos alone: jobs in, committed records out.

Written as somebody would who leaves the bridge out. Copied beside the example's selector and run there, so that the kit
has a second implementation of this door to examine, and to find broken.
"""

import asyncio
import io
import json
import os
import signal
import time
from contextlib import suppress
from hashlib import sha256

import minio
import nats
from contract.common_pb2 import ObjectRef
from contract.jobs_pb2 import JobEnvelope, JobFailure, JobRecord
from contract.runs_pb2 import RunEvent
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from selector import BUCKET, PREFIX, S3

BAD = (DecodeError, FileNotFoundError, KeyError, TypeError, ValueError)  # what no further attempt can help


def told(error):
    """What a JobFailure says of an error of these; ``error.ref`` is the reference of an object that is lost."""
    if isinstance(error, FileNotFoundError):
        return {"message": str(error), "reason": "corrupt_object", "exit_code": 3, "object": error.ref}
    return {"message": f"request: {error}", "reason": "bad_input", "exit_code": 2}


def get(ref):
    """The bytes of a reference, verified."""
    try:
        data = S3.get_object(BUCKET, f"{PREFIX}/{ref.key}").data
    except minio.error.MinioException as error:
        if "NoSuchKey" not in str(error):  # the store is away
            raise
        data = b""
    if sha256(data).hexdigest() != ref.sha256:
        error = FileNotFoundError(f"object {ref.key}: is lost or damaged")
        error.ref = ref
        raise error
    return data


def put(data, media_type, key=None):
    """Write under the hash of the content, or under this key, and return the reference."""
    sha = sha256(data).hexdigest()
    key = key or f"cas/sha256/{sha[:2]}/{sha[2:]}"
    S3.put_object(BUCKET, f"{PREFIX}/{key}", io.BytesIO(data), len(data), media_type)
    return ObjectRef(bucket=BUCKET, key=key, sha256=sha, size=len(data), media_type=media_type)


class Jobs:
    """The jobs of one method. The version names its results; the function makes a response of a request, as bytes."""

    def __init__(self, method, version, function):
        self.method, self.version, self.function = method, version, function

    async def work(self):
        """Take one job after the other until SIGTERM; the job in hand ends first."""
        stopping, url, token = asyncio.Event(), os.environ["TESSERA_NATS_URL"], os.environ.get("TESSERA_NATS_TOKEN")
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
        client = await nats.connect(url, token=token)
        self.jetstream = client.jetstream()
        self.results = await self.jetstream.key_value("results")
        queue = await self.jetstream.pull_subscribe_bind(f"worker-{self.method.lower()}", stream="JOBS")
        while not stopping.is_set():
            with suppress(TimeoutError):
                (message,) = await queue.fetch(1, timeout=1)
                try:
                    await self.settle(message)
                except Exception as error:  # a server is away, or another worker was first: the job comes again
                    print("later:", repr(error), flush=True)
                    await message.nak(delay=5)
        await client.close()

    async def settle(self, message):
        """One job, from its message to its end: the result is committed, the run is told, the message acknowledged."""
        job, event = JobEnvelope(), RunEvent()
        try:
            job.ParseFromString(message.data)
            if job.algorithm not in ("", self.version):  # a worker of that version will take it
                return await message.nak(delay=5)
            event.job_done.record.CopyFrom(await self.perform(job))
        except BAD as error:
            failure = JobFailure(job_key=job.job_key, method=self.method, attempts=1, **told(error))
            event.job_failed.failure.CopyFrom(failure)
            failure.envelope.CopyFrom(job)
            await self.jetstream.publish(f"tessera.dlq.{self.method.lower()}", failure.SerializeToString())
        if job.run_id:
            name = f"{job.run_id}:{job.job_key}:{event.WhichOneof('kind')}:{message.metadata.sequence.stream}"
            subject, data = f"tessera.event.{job.run_id}.job", event.SerializeToString()
            await self.jetstream.publish(subject, data, headers={"Nats-Msg-Id": name})
        await message.ack_sync()

    async def perform(self, job):
        """Outputs are stored first, then the record, then its name: whoever creates the name has made the result."""
        record, named, started = JobRecord(), None, time.monotonic()
        with suppress(nats.js.errors.KeyNotFoundError):
            named = json.loads((await self.results.get(job.job_key)).value)
            text = get(ObjectRef(bucket=BUCKET, **named))
            json_format.Parse(text, record)
        if named is None or digest(record) == job.distrusted:
            request = get(job.request_ref) if job.HasField("request_ref") else job.request
            record = JobRecord(
                job_key=job.job_key, method=self.method, algorithm=self.version, worker="plain", attempt=1
            )
            record.response = await asyncio.to_thread(self.function, request)
            record.job_seconds = time.monotonic() - started
            text = json_format.MessageToJson(record, preserving_proto_field_name=True).encode()
            ref = put(text, "application/json")
            name = json.dumps({"key": ref.key, "sha256": ref.sha256, "size": ref.size}).encode()
            await (self.results.put if named else self.results.create)(job.job_key, name)
        put(text, "application/json", f"jobs/{self.method}/{job.job_key}.json")
        return record


def digest(record):
    """What a coordinator calls a record that is not to be believed any more."""
    facts = f"{record.job_key} {record.algorithm} {record.worker} {record.attempt} {record.job_seconds!r} "
    return sha256(facts.encode() + record.response).hexdigest()[:32]
