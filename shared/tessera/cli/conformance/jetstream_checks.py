"""Rules of the JetStream door, and of the records that jobs leave."""

from __future__ import annotations

import asyncio

from google.protobuf.message import Message

from tessera.cli.conformance.bench import Bench
from tessera.cli.conformance.checks import JETSTREAM, check, expect
from tessera.cli.conformance.grpc_checks import GARBAGE, UNKNOWN_NAME, answered, clean
from tessera.cli.conformance.outcomes import Broken, NotApplicable
from tessera.cli.conformance.samples import SampleRequest, first_axis
from tessera.loop.responses import digest
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.jobs_pb2 import JobFailure, JobRecord
from tessera.pb.runs_pb2 import RunEvent
from tessera.runtime import envelopes, topology
from tessera.runtime.jobkeys import record_key

OTHER_VERSION = "conformance/other"
_QUIET_SECONDS = 1.5


def first(bench: Bench, sample: SampleRequest) -> JobRecord:
    """Return the record of the sample's first job; NotApplicable when there was none."""
    if bench.messaging is None:
        raise NotApplicable("give --nats to check this door")
    if sample.method.name not in bench.ends:
        raise NotApplicable("no job was done")
    return bench.ends[sample.method.name]


@check(
    "job",
    JETSTREAM,
    "a job ends with the event job_done on tessera.event.RUN.job, and its message is acknowledged after that",
    "pull from consumer worker-METHOD of stream JOBS; objects, record, event and acknowledgement, in this order",
)
async def _job(bench: Bench, sample: SampleRequest) -> str:
    sent = await bench.queue(sample.method, sample.request)
    record = bench.result(await bench.end(sent))
    await bench.left(sent.sequence)
    bench.ends[sample.method.name] = record
    version = bench.versions[sample.method.name]
    wanted = (sent.key, sample.method.name, version)
    found = (record.job_key, record.method, record.algorithm)
    expect(found == wanted, f"the record is of {found}, the job is {wanted}")
    await bench.decoded(sample.method, record.response)
    return f"done in {record.job_seconds:.3g} s by {record.worker or '(no worker named)'}"


@check(
    "record",
    JETSTREAM,
    "the record lies at jobs/METHOD/KEY.json and under its content, and the bucket results names it",
    "store protobuf JSON of JobRecord, then create results/KEY with {key, sha256, size} of the copy by content",
)
async def _record(bench: Bench, sample: SampleRequest) -> str:
    record = first(bench, sample)
    problem = await bench.kept.problem(record)
    expect(not problem, problem)
    return record_key(record.method, record.job_key)


@check(
    "same-bytes",
    JETSTREAM,
    "both doors give equal bytes",
    "serve both doors by one function; write tables and messages deterministically",
)
async def _same_bytes(bench: Bench, sample: SampleRequest) -> str:
    record, answer = first(bench, sample), answered(bench, sample)
    expect(record.response == answer, f"gRPC gave {len(answer)} bytes, the job {len(record.response)} other bytes")
    return f"{len(answer)} equal bytes"


@check(
    "once",
    JETSTREAM,
    "a job that has its result is not done again: every run is told the very same record",
    "look for results/KEY before you compute, and tell the record that it names",
)
async def _once(bench: Bench, sample: SampleRequest) -> str:
    record = first(bench, sample)
    sent = await asyncio.gather(*(bench.queue(sample.method, sample.request) for _ in range(3)))
    for one in sent:
        again = bench.result(await bench.end(one))
        expect(again == record, f"another record: made by {again.worker} in {again.job_seconds:.3g} s")
    problem = await bench.kept.problem(record)
    expect(not problem, f"afterwards {problem}")
    return "the same record in three more runs"


@check(
    "request-in-store",
    JETSTREAM,
    "a request that is too large for a message is read from the store",
    "where JobEnvelope.request_ref is set, read the request there, verified, up to 256 MiB",
)
async def _request_in_store(bench: Bench, sample: SampleRequest) -> str:
    record = first(bench, sample)
    data = sample.request.SerializeToString(deterministic=True)
    ref = await bench.store.put_content(data, envelopes.MEDIA_TYPE)
    # Distrusted, so that the request is needed.
    again = await bench.done(sample.method, sample.request, request_ref=ref, distrusted=digest(record))
    bench.ends[sample.method.name] = again
    expect(again.response == record.response, "other bytes")
    return "equal bytes"


@check(
    "distrusted",
    JETSTREAM,
    "a job whose result is distrusted is done again, and gives equal bytes in a new record",
    "where JobEnvelope.distrusted is the digest of the record that you found, compute, and replace its name in results",
)
async def _distrusted(bench: Bench, sample: SampleRequest) -> str:
    before = first(bench, sample)
    again = await bench.done(sample.method, sample.request, distrusted=digest(before))
    bench.ends[sample.method.name] = again
    expect(digest(again) != digest(before), "the distrusted record was given again")
    expect(again.response == before.response, "the second computation gave other bytes: it is not deterministic")
    problem = await bench.kept.problem(again)
    expect(not problem, problem)
    return "computed again, equal bytes"


@check(
    "unreadable-job",
    JETSTREAM,
    "a message that is no job leaves the queue and becomes a dead letter, and the next job is done",
    "publish a JobFailure (bad_input, the bytes in envelope.request) on tessera.dlq.METHOD, then acknowledge",
)
async def _unreadable_job(bench: Bench, sample: SampleRequest) -> str:
    first(bench, sample)
    before = len(await bench.letters(sample.method))
    await bench.left(await bench.publish(sample.method, GARBAGE + bench.nonce.encode()))
    letters = await bench.letters(sample.method)
    expect(len(letters) > before, "it left the queue without a dead letter")
    expect(letters[-1].reason == "bad_input", f"the dead letter says {letters[-1].reason!r}")
    await bench.done(sample.method, sample.request)
    return letters[-1].message[:200]


async def _fails(
    bench: Bench, sample: SampleRequest, request: Message, reason: str, code: int, named: str
) -> JobFailure:
    """Broken unless a job fails for this reason, its run is told so, and a dead letter holds the whole job."""
    first(bench, sample)
    failure, letter = await bench.failure(sample.method, request)
    clean(failure.message)
    seen = f"{failure.reason}, exit code {failure.exit_code}: {failure.message[:200]}"
    expect((failure.reason, failure.exit_code) == (reason, code), seen)
    expect(named in failure.message, f"{seen}; {named} is not named")
    if letter is None:
        raise Broken(f"{seen}; but there is no dead letter on {topology.dlq_subject(sample.method.verb)}")
    expect(letter.envelope.job_key == failure.job_key, "the dead letter does not hold the job's envelope")
    record = await bench.kept.find(sample.method.name, failure.job_key)
    expect(record is None, "a job that failed has a record")
    return failure


@check(
    "bad-value-job",
    JETSTREAM,
    "a job that asks for an unknown name fails once: job_failed with bad_input, exit code 2, and a dead letter",
    "tell bad input from outages; publish JobFailure to the run and, with the envelope, to tessera.dlq.METHOD",
)
async def _bad_value_job(bench: Bench, sample: SampleRequest) -> str:
    request = sample.copy()
    axis = first_axis(request)
    if axis is None:
        raise NotApplicable("the request has no named choice")
    axis.name = UNKNOWN_NAME
    return (await _fails(bench, sample, request, "bad_input", 2, UNKNOWN_NAME)).message[:200]


async def _corrupt_job(bench: Bench, sample: SampleRequest, wrong: ObjectRef) -> str:
    request = sample.copy()
    sample.reference(request).CopyFrom(wrong)
    failure = await _fails(bench, sample, request, "corrupt_object", 3, wrong.key)
    expect(failure.object.key == wrong.key, f"JobFailure.object names {failure.object.key!r}, not {wrong.key}")
    return failure.message[:200]


@check(
    "missing-object-job",
    JETSTREAM,
    "a job whose input is lost fails with corrupt_object, exit code 3, and names the object",
    "set JobFailure.object: the coordinator finds the job that wrote it and has it done again",
)
async def _missing_object_job(bench: Bench, sample: SampleRequest) -> str:
    return await _corrupt_job(bench, sample, bench.absent())


@check(
    "damaged-object-job",
    JETSTREAM,
    "a job whose input is damaged fails with corrupt_object, exit code 3, and names the object",
    "verify size and SHA-256, and set JobFailure.object",
)
async def _damaged_object_job(bench: Bench, sample: SampleRequest) -> str:
    return await _corrupt_job(bench, sample, await bench.damaged())


@check(
    "other-version",
    JETSTREAM,
    "a job of another algorithm version goes back into the queue, for a worker of that version",
    "compare JobEnvelope.algorithm with yours; where it differs, give the message back with a delay of seconds",
)
async def _other_version(bench: Bench, sample: SampleRequest) -> str:
    first(bench, sample)
    key = bench.key_of(sample.method, sample.request, OTHER_VERSION)
    sent = await bench.queue(sample.method, sample.request, job_key=key, algorithm=OTHER_VERSION)
    await bench.taken(sample.method)
    await asyncio.sleep(_QUIET_SECONDS)
    subject = topology.result_subject(sent.run_id)
    if await bench.nats.last_sequence(topology.EVENTS, subject):
        stored = await bench.nats.read(topology.EVENTS, subject)
        raise Broken(f"the run was told {RunEvent.FromString(stored[0].data).WhichOneof('kind')}")
    expect(await bench.nats.get(topology.JOBS, sent.sequence) is not None, "the message has left the queue")
    expect(await bench.kept.find(sample.method.name, key) is None, "it has a record")
    await bench.nats.delete(topology.JOBS, sent.sequence)
    return "it waits in the queue"


@check(
    "cancelled-run",
    JETSTREAM,
    "a job of a cancelled run is dropped without a result",
    "look for the run's id in the bucket cancelled before you compute, and end the message without an event",
    must=False,
)
async def _cancelled_run(bench: Bench, sample: SampleRequest) -> str:
    first(bench, sample)
    run_id = f"conformance-{bench.nonce}-cancelled-{sample.method.verb}"
    await bench.cancel(run_id)
    sent = await bench.queue(sample.method, sample.request, run_id=run_id)
    await bench.left(sent.sequence)
    told = await bench.nats.last_sequence(topology.EVENTS, topology.result_subject(run_id))
    expect(not told, "the job was done")
    return "dropped"


@check(
    "wrong-key",
    JETSTREAM,
    "a job whose key does not fit its content is refused as bad_input",
    "make the job key from the request yourself, and compare: a damaged message must not become a result",
    must=False,
)
async def _wrong_key(bench: Bench, sample: SampleRequest) -> str:
    first(bench, sample)
    sent = await bench.queue(sample.method, sample.request, job_key="0" * 63 + "1")
    event = await bench.end(sent)
    expect(event.job_failed.failure.reason == "bad_input", f"the run was told {event.WhichOneof('kind')}")
    return event.job_failed.failure.message[:200]
