"""Questions that a tool holds, with the predictions that it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tessera.adapters.tasks import ToolRound, ToolTask
from tessera.errors import BadInput
from tessera.pb import questions_pb2 as pb

if TYPE_CHECKING:
    from tessera.runtime.objects import ObjectStore
    from tessera.runtime.people.client import QuestionsClient

_LONGEST = 2_592_000.0
"""Seconds that questions are held at most: 30 days."""


async def held_tasks(
    client: QuestionsClient, message: pb.QuestionRound, tool: str, count: int, seconds: float, store: ObjectStore
) -> tuple[ToolRound, list[ToolTask]]:
    """Hold questions of an open round for a tool, and read their predictions; BadInput if none is left."""
    found = await client.hold(message.key, tool, count, min(seconds, _LONGEST))
    round_ = ToolRound.of(message)
    if not found.questions:
        raise BadInput(
            f"run {round_.run_id}: round {round_.round} has no question left; others hold or have answered them"
        )
    return round_, [await task_of(one, store) for one in found.questions]


async def task_of(question: pb.PersonQuestion, store: ObjectStore) -> ToolTask:
    """Return a question as a tool sees it, with its prediction."""
    prediction = await store.get(question.prediction) if question.HasField("prediction") else None
    return ToolTask.of(question, prediction)
