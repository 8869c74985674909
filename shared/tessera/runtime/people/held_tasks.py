"""Questions that a tool holds, with the predictions that it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tessera.adapters.tasks import ToolRound, ToolTask
from tessera.errors import BadInput
from tessera.pb import questions_pb2 as pb

if TYPE_CHECKING:
    from tessera.runtime.objects import ObjectStore
    from tessera.runtime.people.client import QuestionsClient


async def held_tasks(
    client: QuestionsClient, run: str, tool: str, count: int, seconds: float, store: ObjectStore
) -> tuple[ToolRound, list[ToolTask]]:
    """Hold questions of the run's open round for a tool, and read their predictions; BadInput if nothing is open."""
    open_ = [one for one in await client.rounds(run) if one.state == pb.ROUND_STATE_OPEN]
    if not open_:
        raise BadInput(f"run {run}: has no open round; tessera status shows what it waits for")
    found = await client.hold(open_[-1].key, tool, count, min(seconds, 2_592_000.0))
    if not found.questions:
        raise BadInput(f"run {run}: round {open_[-1].round} has no question left; others hold or have answered them")
    made = []
    for one in found.questions:
        prediction = await store.get(one.prediction) if one.HasField("prediction") else None
        made.append(ToolTask.of(one, prediction))
    return ToolRound.of(open_[-1]), made
