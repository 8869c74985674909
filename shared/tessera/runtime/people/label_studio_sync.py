"""Keep Label Studio's projects in step with a run's open rounds: questions go there, annotations come back.

Nothing is remembered between calls but to save work: what is there is read from Label Studio, what was answered from
QuestionsService. So a sync that is killed, or started on another machine, goes on where it was, and an annotation that
is read again is the same answer (`ToolReply.answer_id`). One project holds all rounds of a run with the same labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tessera.adapters.label_studio import config, reading, tasks
from tessera.adapters.replies import Rejection, outcomes_told
from tessera.adapters.tasks import ToolRound, ToolTask
from tessera.errors import BadInput, TesseraError
from tessera.formats.questions import place
from tessera.pb import questions_pb2 as pb
from tessera.runtime.objects import ObjectStore
from tessera.runtime.people.client import OpenRounds, QuestionsClient
from tessera.runtime.people.held_tasks import task_of
from tessera.runtime.people.label_studio_api import LabelStudioApi

HOLDER: Final = "label-studio"
_LEASE_SECONDS: Final = 3600.0
"""How long questions are kept for Label Studio after the sync has ended."""
_TRIES: Final = 3
"""How often a task gets the prediction that Label Studio loses."""
Address = Callable[[int, ToolTask], Awaitable[str]]
"""Project and question → the address under which Label Studio shows the image."""


@dataclass
class Synced:
    """What one look has changed."""

    asked: int = 0
    """Tasks that were made."""
    outcomes: dict[str, int] = field(default_factory=dict)
    """What became of annotations: counted, not_needed, late, replaced → how many; those known before are left out."""
    removed: int = 0
    """Tasks without annotations whose question needs no answer any more."""
    rejected: list[Rejection] = field(default_factory=list)
    """Annotations that are no answers; each is named once."""

    def __str__(self) -> str:
        """Say what was done; empty where nothing was."""
        parts = outcomes_told(self.outcomes)
        parts += [f"{self.asked} tasks made"] if self.asked else []
        parts += [f"{self.removed} tasks removed"] if self.removed else []
        return ", ".join(parts)


class CallBack(NamedTuple):
    """Where Label Studio tells of changes: an address that it reaches, and the headers of its calls."""

    url: str
    headers: Mapping[str, str]


class LabelStudioSync:
    """The sync of one run; ``hold`` is how many questions Label Studio has at a time."""

    def __init__(
        self,
        client: QuestionsClient,
        api: LabelStudioApi,
        run_id: str,
        image: Address,
        hold: int,
        call: CallBack | None = None,
    ) -> None:
        self._client, self._api, self._run_id, self._image, self._hold = client, api, run_id, image, hold
        self._call, self._webhooks = call, dict[int, int]()
        self._states = dict[str, int]()
        self._tries = dict[str, int]()
        self._rounds = OpenRounds(run_id, {})
        self._projects = dict[str, int]()
        self._shown = set[str]()
        self._seen: dict[int, tuple[Any, ...]] = {}
        self._named: set[tuple[str, str]] = set()

    async def look(self, store: ObjectStore) -> Synced:
        """Fetch new annotations, ask new questions, remove tasks that nobody needs; ``store`` has the predictions."""
        done = Synced()
        rounds = {one.key: one for one in await self._client.rounds(self._run_id)}
        self._rounds.known = rounds
        await self._rounds.load(self._client)
        for description in {describe(ToolRound.of(one)): one for one in rounds.values()}:
            mine = [one for one in rounds.values() if describe(ToolRound.of(one)) == description]
            open_ = [one for one in mine if one.state == pb.ROUND_STATE_OPEN]
            project = await self._found(description, open_)
            if project is not None:
                await self._project(project, rounds, open_, store, done)
        self._states = {key: one.state for key, one in rounds.items()}
        return done

    async def rounds_changed(self) -> bool:
        """Return whether a round has begun, or is in another state, since the last look."""
        return {one.key: one.state for one in await self._client.rounds(self._run_id)} != self._states

    async def close(self) -> None:
        """Have Label Studio call no more: it would wait for an address at which nobody listens.

        Each webhook is tried; the error of the first that stayed is raised afterwards.
        """
        failed = list[TesseraError]()
        for project in list(self._webhooks):
            try:
                await self._api.remove_webhook(self._webhooks.pop(project))
            except TesseraError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    async def _found(self, description: str, open_: list[pb.QuestionRound]) -> int | None:
        """Return the project with a description; make it where a round is open, else None where there is none."""
        if description not in self._projects and (open_ or not self._projects):
            self._projects = dict(await self._api.projects())
        if description not in self._projects and open_:
            first = ToolRound.of(open_[0])
            text = config.labelling_config(first)
            made = await self._api.make_project(f"{first.query} {self._run_id}", description, text, first.overlap)
            self._projects[description] = made
        return self._projects.get(description)

    async def _project(
        self,
        project: int,
        rounds: dict[str, pb.QuestionRound],
        open_: list[pb.QuestionRound],
        store: ObjectStore,
        done: Synced,
    ) -> None:
        if self._call is not None and project not in self._webhooks:
            self._webhooks[project] = await self._api.call_back(project, *self._call)
        listed = await self._api.tasks(project)
        await self._fetch(project, listed, done)
        wanted = set[str]()
        for one in open_:
            wanted |= await self._ask(project, one, listed, store, done)
        await self._tidy(listed, wanted, rounds, done)

    def _reject(self, one: Rejection, done: Synced) -> None:
        """Name what is no answer, once."""
        if (one.place, one.reason) not in self._named:
            self._named.add((one.place, one.reason))
            done.rejected.append(one)

    async def _fetch(self, project: int, listed: list[dict[str, Any]], done: Synced) -> None:
        """Give the annotations of tasks that have changed."""
        states = {
            int(one["id"]): (one["total_annotations"], one["cancelled_annotations"], one["updated_at"])
            for one in listed
        }
        changed = [id_ for id_, state in states.items() if sum(state[:2]) and self._seen.get(id_) != state]
        if not changed:
            return

        exported = await self._api.annotated(project, changed)
        said, rejected = reading.read(exported, self._rounds.asked, await self._api.people())
        for reply in said:
            try:
                outcome = await self._rounds.give(reply)
            except BadInput as error:
                rejected.append(
                    Rejection(f"task {reply.facts['task']} annotation {reply.facts['annotation']}", str(error))
                )
                continue
            if outcome != "known":
                done.outcomes[outcome] = done.outcomes.get(outcome, 0) + 1
        for one in rejected:
            self._reject(one, done)
        self._seen |= {id_: states[id_] for id_ in changed}

    async def _ask(
        self, project: int, message: pb.QuestionRound, listed: list[dict[str, Any]], store: ObjectStore, done: Synced
    ) -> set[str]:
        """Hold questions of a round and make tasks of those that have none; returns the questions that are held."""
        held = await self._client.hold(message.key, HOLDER, self._hold, _LEASE_SECONDS)
        there = {reading.question_of(one): one for one in listed}
        ids = {one.question_id for one in held.questions}
        if held.spent:
            # The round ends when nobody holds a question: what was not answered is given back.
            await self._client.release(HOLDER, ids)
            return set()
        round_, made = ToolRound.of(message), []
        for one in held.questions:
            known = there.get(one.question_id)
            if known is not None and not self._lacks_prediction(known, done):
                continue
            task = await task_of(one, store)
            told = tasks.to_task(round_, task, await self._image(project, task))
            if known is None:
                made.append(told)
            else:
                await self._api.add_prediction(int(known["id"]), told["predictions"][0])
        if made:
            await self._api.add_tasks(project, made)
        if ids and message.key not in self._shown:
            # Label Studio takes a version only where a prediction has it.
            await self._api.show_predictions(project, tasks.model_version(round_))
            self._shown.add(message.key)
        done.asked += len(made)
        return ids

    def _lacks_prediction(self, listed: dict[str, Any], done: Synced) -> bool:
        """Return whether a task lost its prediction, without which it shows no region, and should get it again.

        Label Studio 1.23 on SQLite tries an import again where its data base is locked, and then without predictions.
        """
        if listed["total_annotations"] or listed["cancelled_annotations"] or listed["total_predictions"]:
            return False
        id_ = reading.question_of(listed)
        self._tries[id_] = self._tries.get(id_, 0) + 1
        if self._tries[id_] > _TRIES:
            reason = "Label Studio keeps no prediction, so it shows no region"
            self._reject(Rejection(f"task {listed['id']}", reason), done)
        return self._tries[id_] <= _TRIES

    async def _tidy(
        self, listed: list[dict[str, Any]], wanted: set[str], rounds: dict[str, pb.QuestionRound], done: Synced
    ) -> None:
        """Remove tasks without annotations: of ended rounds, of questions answered elsewhere, and second ones."""
        first = set[str]()
        for one in listed:
            id_ = reading.question_of(one)
            if not id_ or place(id_)[0] not in rounds:
                continue
            again = id_ in first
            first.add(id_)
            touched = one["total_annotations"] or one["cancelled_annotations"]
            closing = rounds[place(id_)[0]].state in (pb.ROUND_STATE_CLOSING, pb.ROUND_STATE_PAUSED)
            if not touched and (again or (id_ not in wanted and not closing)):
                await self._api.remove_task(int(one["id"]))
                done.removed += 1


def describe(round_: ToolRound) -> str:
    """Return the description of the project for a round, by which the project is found again."""
    digest = hashlib.sha256(f"{config.labelling_config(round_)} {round_.overlap}".encode()).hexdigest()[:12]
    return f"Questions of Tessera, run {round_.run_id}, query {round_.query}, labels {digest}. Do not change this text."
