"""When each alert fires and when it does not: series as promtool has them, one value a minute.

``0+1x5`` is 0, 1, 2, 3, 4, 5; ``7x5`` is six times 7; ``_`` is a scrape that did not have the series.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

GIB = 1 << 30


@dataclass(frozen=True)
class Case:
    """An alert fires after ``minutes`` with ``labels``, its annotations saying ``value``; it is silent otherwise."""

    alert: str
    fires: Mapping[str, str]
    minutes: int
    value: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    quiet: tuple[Mapping[str, str], ...] = ()
    """Series under which it does not fire within these minutes, beside those that fire before its time is over."""
    early: int | None = None
    """Minutes after which the first series do not fire yet; None: it fires at once."""


def _queue(method: str, waiting: str, taken: str, unseen: str = "0x120") -> dict[str, str]:
    return {
        f'tessera_queue_waiting_jobs{{method="{method}", pod="coordinator-0"}}': waiting,
        f'tessera_queue_waiting_jobs{{method="{method}", pod="coordinator-1"}}': waiting,
        f'tessera_queue_taken_jobs{{method="{method}", pod="coordinator-0"}}': taken,
        f'tessera_queue_taken_jobs{{method="{method}", pod="coordinator-1"}}': taken,
        f'tessera_queue_unseen_seconds{{method="{method}", pod="coordinator-0"}}': unseen,
        f'tessera_queue_unseen_seconds{{method="{method}", pod="coordinator-1"}}': unseen,
    }


def _ends(**ends: str) -> dict[str, str]:
    return {
        f'tessera_job_seconds_count{{method="Score", outcome="{outcome}", pod="scorer-0"}}': values
        for outcome, values in ends.items()
    }


def _stream(name: str, what: str, used: str, limit: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pod in ("coordinator-0", "coordinator-1"):
        found[f'tessera_stream_{what}{{stream="{name}", pod="{pod}"}}'] = used
        found[f'tessera_stream_{what}_limit{{stream="{name}", pod="{pod}"}}'] = limit
    return found


def _jetstream(used: str, limit: str = f"{GIB}x600") -> dict[str, str]:
    found: dict[str, str] = {}
    for pod in ("coordinator-0", "coordinator-1"):
        found[f'tessera_jetstream_bytes{{pod="{pod}"}}'] = used
        found[f'tessera_jetstream_bytes_limit{{pod="{pod}"}}'] = limit
    return found


def _volume(left: int) -> dict[str, str]:
    claim = 'persistentvolumeclaim="data-nats-0", namespace="tessera"'
    return {
        f"kubelet_volume_stats_available_bytes{{{claim}}}": f"{left}x60",
        f"kubelet_volume_stats_capacity_bytes{{{claim}}}": "100x60",
    }


def _store(used: int) -> dict[str, str]:
    return {
        'tessera_store_bytes{pod="coordinator-0"}': f"{used}x60",
        'tessera_store_bytes_limit{pod="coordinator-0"}': "100x60",
    }


def _ended(reason: str, restarts: str) -> dict[str, str]:
    pod = 'namespace="tessera", pod="scorer-0", container="service"'
    return {
        f'kube_pod_container_status_last_terminated_reason{{{pod}, reason="{reason}"}}': "1x60",
        f"kube_pod_container_status_restarts_total{{{pod}}}": restarts,
    }


_NATS = 'statefulset="nats", namespace="tessera"'
_COORDINATOR = 'deployment="coordinator", namespace="tessera"'
_SERVER = 'server_name="nats-0", server_id="nats-0"'
_POD = 'namespace="tessera", pod="scorer-0", container="service"'

CASES = (
    Case(
        "TesseraDeadLetters",
        {'tessera_dead_letters{pod="coordinator-0"}': "0 0 2x20", 'tessera_dead_letters{pod="coordinator-1"}': "0x22"},
        4, "2", early=2,
        quiet=({'tessera_dead_letters{pod="coordinator-0"}': "0x20"},),
    ),
    Case(
        "TesseraJobsWait", _queue("Score", "5x120", "0x120"), 40, "5", {"method": "Score"}, early=29,
        # Somebody works; nobody needs to; each waits a little.
        quiet=(
            _queue("Score", "5x120", "1x120"),
            _queue("Score", "0x120", "0x120"),
            _queue("Score", "5x20 0 5x20 0 5x20", "0x120"),
        ),
    ),
    Case(
        "TesseraWorkersSilent", _queue("Train", "0x120", "2x120", "0+60x120"), 20, "2", {"method": "Train"}, early=10,
        quiet=(_queue("Train", "0x120", "2x120", "10x120"), _queue("Train", "0x120", "0x120", "0+60x120")),
    ),
    Case(
        # The first that ever happened: the series is at 0 before (observing.begin).
        "TesseraJobsBreak", _ends(broken="0x10 1x60", done="0+1x70"), 12, "1", {"method": "Score"}, early=9,
        quiet=(_ends(broken="0x70", done="0+1x70"), _ends(broken="3x180", done="0+1x180")),
    ),
    Case(
        "TesseraRetries", _ends(retried="0+1x120", done="0+1x120"), 60, "50%", {"method": "Score"}, early=20,
        quiet=(_ends(retried="0+1x120", done="0+9x120"), _ends(retried="0x120", done="0x120")),
    ),
    Case(
        "TesseraQueueAlmostFull", _stream("JOBS", "messages", "90x60", "100x60"), 10, "90%", early=4,
        quiet=(_stream("JOBS", "messages", "70x60", "100x60"), _stream("EVENTS", "messages", "90x60", "100x60")),
    ),
    Case(
        "TesseraStreamAlmostFull", _stream("EVENTS", "bytes", "90x60", "100x60"), 15, "90%", {"stream": "EVENTS"},
        early=9, quiet=(_stream("EVENTS", "bytes", "70x60", "100x60"),),
    ),
    Case(
        "TesseraJetStreamAlmostFull", _jetstream(f"{GIB * 9 // 10}x60"), 15, "90%", early=9,
        quiet=(_jetstream(f"{GIB * 7 // 10}x60"), {'tessera_jetstream_bytes{pod="coordinator-0"}': f"{GIB}x60"}),
    ),
    Case(
        # A GiB in 1,440 minutes is 745,654 bytes a minute; twice that.
        "TesseraJetStreamFullInADay", _jetstream("0+1491308x600"), 500, "2.694Gi", early=30,
        quiet=(_jetstream("0+100000x600"), _jetstream(f"{GIB // 2}x600")),
    ),
    Case(
        "TesseraNatsStorageAlmostFull",
        {
            f"jetstream_server_total_message_bytes{{{_SERVER}}}": "90x60",
            f"jetstream_server_max_storage{{{_SERVER}}}": "100x60",
        },
        15, "90%", {"server_name": "nats-0", "server_id": "nats-0"}, early=9,
        quiet=(
            {
                f"jetstream_server_total_message_bytes{{{_SERVER}}}": "70x60",
                f"jetstream_server_max_storage{{{_SERVER}}}": "100x60",
            },
        ),
    ),
    Case(
        "TesseraVolumeAlmostFull", _volume(10), 15, "10%",
        {"persistentvolumeclaim": "data-nats-0", "namespace": "tessera"}, early=9, quiet=(_volume(40),),
    ),
    Case("TesseraStoreAlmostFull", _store(90), 15, "90%", early=9, quiet=(_store(70),)),
    Case(
        # promtool's clock begins at 0: collected then, and never since.
        "TesseraStoreNotMeasured", {'tessera_store_measured_timestamp_seconds{pod="coordinator-0"}': "0x6000"},
        4500, "3d 3h 0m 0s", early=4300,
        quiet=({'tessera_store_measured_timestamp_seconds{pod="coordinator-0"}': "0x2000 120000x4000"}, {}),
    ),
    Case(
        "TesseraNotMeasured", {'tessera_process_info{service="scorer", pod="scorer-0"}': "1x60"}, 20, "", early=14,
        quiet=({'tessera_dead_letters{pod="coordinator-0"}': "0x60"},),
    ),
    Case(
        "TesseraNatsAway",
        {'tessera_nats_connected{pod="scorer-0"}': "1x5 0x20", 'tessera_nats_connected{pod="scorer-1"}': "1x25"},
        15, "", {"pod": "scorer-0"}, early=9,
        quiet=({'tessera_nats_connected{pod="scorer-0"}': "1x5 0x2 1x20"},),
    ),
    Case(
        "TesseraNatsServerMissing",
        {f"kube_statefulset_status_replicas_ready{{{_NATS}}}": "2x60", f"kube_statefulset_replicas{{{_NATS}}}": "3x60"},
        15, "", {"statefulset": "nats", "namespace": "tessera"}, early=9,
        quiet=(
            {
                f"kube_statefulset_status_replicas_ready{{{_NATS}}}": "3x60",
                f"kube_statefulset_replicas{{{_NATS}}}": "3x60",
            },
        ),
    ),
    Case(
        "TesseraCoordinatorMissing", {f"kube_deployment_status_replicas_available{{{_COORDINATOR}}}": "1x5 0x60"},
        15, "", {"deployment": "coordinator", "namespace": "tessera"}, early=9,
        quiet=({f"kube_deployment_status_replicas_available{{{_COORDINATOR}}}": "1x60"},),
    ),
    Case(
        "TesseraOutOfMemory", _ended("OOMKilled", "0x10 1x60"), 12, "",
        {"namespace": "tessera", "pod": "scorer-0", "container": "service", "reason": "OOMKilled"}, early=9,
        # Long ago; for another reason.
        quiet=(_ended("OOMKilled", "1x120"), _ended("Error", "0x10 1x60")),
    ),
    Case(
        "TesseraHousekeepingFailed", {'kube_job_status_failed{job_name="gc-29384", namespace="tessera"}': "1x60"},
        5, "", {"job_name": "gc-29384", "namespace": "tessera"}, early=0,
        quiet=(
            {'kube_job_status_failed{job_name="gc-29384", namespace="tessera"}': "0x60"},
            {'kube_job_status_failed{job_name="somebody-else", namespace="tessera"}': "1x60"},
        ),
    ),
)  # fmt: skip
