"""What the store and NATS keep of rounds of questions, for `tessera gc`: their answers, and the runs that asked."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from google.protobuf import json_format

from tessera.formats import questions
from tessera.pb.questions_pb2 import CollectRequest
from tessera.registry import canonical_json
from tessera.runtime import topology
from tessera.runtime.messaging import Messaging
from tessera.runtime.objects import ObjectStore
from tessera.runtime.people.round import RoundHead
from tessera.runtime.references import StoredObject

_OBJECT: Final = re.compile(r"answers/([0-9a-f]{64})/(?:runs/([^/]+)\.json|[0-9]+/.+)")
_ENTRY: Final = re.compile(r"[0-9a-f]{64}")
_HASH: Final = re.compile(rb"[0-9a-f]{64}")
_BYTES: Final = 4 << 20
_STREAM: Final = f"KV_{topology.QUESTIONS}"
_SUBJECT: Final = f"$KV.{topology.QUESTIONS}."


@dataclass
class KeptRound:
    """One round: its answers, the runs known to have asked it, and the hashes that its request names."""

    key: str
    answers: list[StoredObject] = field(default_factory=list)
    asked: list[StoredObject] = field(default_factory=list)
    """One for each run: written before its first question was handed out (`remember`)."""
    runs: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def given_up(self, alive: Collection[str], before: float) -> bool:
        """Return whether the answers can go: the runs are known, none is alive, and nothing was written lately."""
        late = any(one.modified >= before for one in (*self.answers, *self.asked))
        return bool(self.runs) and not any(run in alive for run in self.runs) and not late


async def remember(store: ObjectStore, key: str, run_id: str, request: CollectRequest) -> None:
    """Write that a run asks the questions of a round, so that this outlives NATS; idempotent."""
    asked = json_format.MessageToDict(request, preserving_proto_field_name=True)
    data = canonical_json({"kind": "asked", "version": 1, "run": run_id, "request": asked}).encode()
    await store.put(questions.asked_key(key, run_id), data, "application/json")


async def rounds(messaging: Messaging, store: ObjectStore, kept: Iterable[StoredObject]) -> dict[str, KeptRound]:
    """Return all rounds by key; ``kept`` are the objects of the store."""
    made: dict[str, KeptRound] = {}
    for one in kept:
        if found := _OBJECT.fullmatch(one.key):
            round_ = made.setdefault(found[1], KeptRound(found[1]))
            if found[2] is None:
                round_.answers.append(one)
                continue
            round_.asked.append(one)
            round_.runs.add(found[2])
            round_.names |= _names(await store.read_key(one.key, _BYTES) or b"")
    async for batch in messaging.batches(_STREAM, f"{_SUBJECT}*"):
        for stored in batch:
            key = stored.subject.removeprefix(_SUBJECT)
            if _ENTRY.fullmatch(key) and stored.data:
                head, round_ = RoundHead.from_json(stored.data), made.setdefault(key, KeptRound(key))
                round_.runs |= {*head.runs}
                response = b"" if head.response is None else head.response.SerializeToString()
                round_.names |= _names(head.request.SerializeToString() + response)
    return made


async def forget(messaging: Messaging, key: str) -> None:
    """Delete what NATS knows of a round: the states of its questions, then its entry; idempotent."""
    end = await messaging.position(_STREAM) + 1
    for subject in (f"{_SUBJECT}{key}.*", f"{_SUBJECT}{key}"):
        await messaging.purge(_STREAM, subject, end)


def _names(data: bytes) -> set[str]:
    return {name.decode() for name in _HASH.findall(data)}
