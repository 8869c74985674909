"""What each service may publish and subscribe at NATS, as one table, and the server's configuration made from it.

The table is made of the topology's own names, so that a renamed stream or subject renames both. A worker may queue jobs
of its own methods alone: who may queue an evaluation of a model of its own making can read test labels out of its
counts. It can neither read nor delete waiting jobs, nor write a run's log, nor make or change streams.

Replies come to a prefix of the user's own, so that nobody reads the answers to another's requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tessera.errors import BadInput
from tessera.runtime import catalogue, topology
from tessera.runtime.settings import Settings, load
from tessera.runtime.wire import inbox

ADMIN: Final = "admin"
"""User of ``tessera topology`` and of an operator's commands (doctor, audit, dlq, gc): everything in the account."""
COORDINATOR: Final = "coordinator"
DASHBOARD: Final = "dashboard"
_API: Final = "$JS.API"
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Permissions:
    """Patterns of subjects, as the server's configuration spells them."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def table() -> Mapping[str, Permissions]:
    """Return the permissions of every user: each service that has methods, the two that have none, and ``admin``."""
    verbs: dict[str, list[str]] = {}
    for service, method in catalogue.methods().values():
        verbs.setdefault(service, []).append(method.verb)
    workers = {service: _worker(service, sorted(mine)) for service, mine in sorted(verbs.items())}
    alone = {COORDINATOR: _coordinator(), DASHBOARD: _dashboard()}
    return {**alone, **workers, ADMIN: Permissions((">",), (">",))}


def has_own_user(settings: Settings) -> bool:
    """Return whether this process may do at NATS only what its service has to. Then it makes nothing there."""
    return settings.nats_user not in ("", ADMIN)


def settles(verbs: list[str], settings: Settings, *, coordinates: bool) -> list[str] | None:
    """Return the methods whose messages past their deliveries a process settles; None: it settles none.

    Without users every process settles its own ``verbs``, and what advisories tell. With users the coordinator does it
    for all: who may settle messages of any method may read, delete and queue every job.
    """
    if not has_own_user(settings):
        return verbs
    return [method.verb for _, method in catalogue.methods().values()] if coordinates else None


def _worker(service: str, verbs: Iterable[str]) -> Permissions:
    """Take jobs of its methods, store results, tell ends; look at what it was told is there."""
    publish = [*_looks(), *_bucket(topology.RESULTS), *_bucket(topology.ATTEMPTS), *_reads(topology.CANCELLED)]
    for verb in verbs:
        consumer = f"{topology.JOBS}.{topology.consumer_name(verb)}"
        publish += [
            f"{_API}.CONSUMER.INFO.{consumer}",
            f"{_API}.CONSUMER.MSG.NEXT.{consumer}",
            f"$JS.ACK.{consumer}.>",
            # Back into its own queue, where the server's count of deliveries is used up.
            topology.job_subject(verb),
            topology.dlq_subject(verb),
        ]
    publish += ["tessera.event.*.job", "tessera.progress.*"]
    return Permissions(tuple(publish), (f"{inbox(service)}.>",))


def _coordinator() -> Permissions:
    """Write the logs of runs, queue and look after jobs of every method, settle those that nobody can; ask people."""
    jobs, events, poison = topology.JOBS, topology.EVENTS, f"{topology.ADVISORIES}.{topology.POISON}"
    publish = [
        *_looks(),
        *_bucket(topology.RESULTS),
        *_bucket(topology.ATTEMPTS),
        *_bucket(topology.CANCELLED),
        # Questions to people: it hands them out, and reads the whole bucket when it starts.
        *_bucket(topology.QUESTIONS),
        *_log(f"KV_{topology.QUESTIONS}"),
        f"{_API}.STREAM.PURGE.KV_{topology.QUESTIONS}",
        "tessera.job.*",
        "tessera.dlq.*",
        "tessera.event.*.log",
        "tessera.event.*.job",
        "tessera.progress.*",
        "tessera.notice.*",
        "tessera.notice.*",
        f"{_API}.INFO",
        f"{_API}.STREAM.NAMES",
        *(f"{_API}.STREAM.MSG.GET.{stream}" for stream in (jobs, events)),
        f"{_API}.STREAM.MSG.DELETE.{jobs}",
        f"{_API}.STREAM.PURGE.{events}",
        f"{_API}.CONSUMER.INFO.{jobs}.*",
        *_log(events),
        f"{_API}.CONSUMER.MSG.NEXT.{poison}",
        f"$JS.ACK.{poison}.>",
    ]
    # Signs of life of workers, and the progress of their jobs.
    heard = (f"$JS.ACK.{jobs}.>", "tessera.progress.*")
    return Permissions(tuple(publish), (f"{inbox(COORDINATOR)}.>", *heard))


def _dashboard() -> Permissions:
    """Show dead letters and queue them again, keep annotators' links; all else goes through the coordinator."""
    again = ("tessera.job.*", f"{_API}.STREAM.MSG.DELETE.{topology.DLQ}")
    # Annotators' links: it writes its own entries beside the coordinator's.
    links = (*_log(f"KV_{topology.QUESTIONS}"), f"$KV.{topology.QUESTIONS}.{topology.LINK}.*")
    return Permissions((*_looks(), *_log(topology.DLQ), *again, *links), (f"{inbox(DASHBOARD)}.>",))


def _log(stream: str) -> list[str]:
    """Read a stream from any place on, by readers that live in the server's memory."""
    return [
        f"{_API}.CONSUMER.CREATE.{stream}",
        f"{_API}.CONSUMER.CREATE.{stream}.>",
        f"{_API}.CONSUMER.INFO.{stream}.*",
        f"{_API}.CONSUMER.MSG.NEXT.{stream}.*",
        f"{_API}.CONSUMER.DELETE.{stream}.*",
    ]


def _looks() -> list[str]:
    """Look at the configuration of everything that the topology has, as every process does when it starts."""
    settings = load()
    names = [stream.name for stream in topology.streams(settings)]
    names += [f"KV_{bucket.name}" for bucket in topology.buckets(settings)]
    return [
        *(f"{_API}.STREAM.INFO.{name}" for name in names),
        f"{_API}.CONSUMER.INFO.{topology.ADVISORIES}.{topology.POISON}",
    ]


def _reads(bucket: str) -> list[str]:
    """Read a bucket, and never by DIRECT.GET: its answer is the stored bytes as they are, sent wherever the asker says,
    and so would carry a forged job into a queue that the asker may not write."""
    return [f"{_API}.STREAM.MSG.GET.KV_{bucket}"]


def _bucket(bucket: str) -> list[str]:
    return [*_reads(bucket), f"$KV.{bucket}.>"]


def variable(user: str) -> str:
    """Return the environment variable of nats-server that holds a user's password."""
    return f"NATS_PASSWORD_{user.upper().replace('-', '_')}"


def configuration(account: str = "") -> str:
    """Return a part for nats-server's configuration: every user and its permissions; no password is in it.

    Without an ``account`` the users are those of the default one, in which streams made before users were known stay
    visible; a server that others share gives Tessera an account of its own. BadInput for a name that cannot be one.
    """
    if account and not _NAME.fullmatch(account):
        raise BadInput(f"account {account[:80]!a}: use letters, digits, _ and -, beginning with a letter")
    users = "".join(_user(name, permissions) for name, permissions in table().items())
    head = (
        "# Made by tessera nats-permissions; include it in nats-server's configuration. Passwords are variables of\n"
        "# the server's environment: letters and digits, beginning with a letter.\n"
    )
    if account:
        return f"{head}accounts {{\n  {account} {{\n    jetstream: enabled\n    users: [\n{users}    ]\n  }}\n}}\n"
    return f"{head}authorization {{\n  users: [\n{users}  ]\n}}\n"


def _user(name: str, permissions: Permissions) -> str:
    def patterns(found: Iterable[str]) -> str:
        return "".join(f'          "{pattern}"\n' for pattern in found)

    return (
        f'    {{ user: "{name}", password: ${variable(name)}, permissions: {{\n'
        f"        publish: {{ allow: [\n{patterns(permissions.publish)}        ] }}\n"
        f"        subscribe: {{ allow: [\n{patterns(permissions.subscribe)}        ] }}\n"
        f"    }} }}\n"
    )
