"""HTTP/JSON of QuestionsService for the labelling page: the same calls, in the name of whoever is signed in."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.dashboard import web
from services.dashboard.pages import progress
from services.dashboard.sign_in import Door, Person
from tessera.errors import BadInput, Unavailable
from tessera.formats import images
from tessera.lru import CountLimitedLRU
from tessera.pb import questions_pb2 as pb
from tessera.pb.common_pb2 import ObjectRef
from tessera.reporting.markup import Markup
from tessera.runtime.objects import ObjectStore
from tessera.runtime.rpc import Channel

_SERVICE: Final = "tessera.v1.QuestionsService"
_CALL_SECONDS: Final = 20.0
_MOST: Final = 8
"""Questions that a page may hold: the one that is answered and those that it loads ahead."""
_PAGE_NAME: Final = "tessera-page/1"
_WAITS: Final = {value: name.removeprefix("NEXT_WAIT_").lower() for name, value in pb.NextWait.items()}
_ROUND_KEY: Final = re.compile(r"[0-9a-f]{1,128}")


class Questions:
    """Answers the page's requests; ``door`` signs the addresses of images."""

    def __init__(self, channel: Channel, store: ObjectStore, door: Door) -> None:
        self._channel, self._store, self._door = channel, store, door
        self._keys: CountLimitedLRU[str, frozenset[str]] = CountLimitedLRU(64)

    async def close(self) -> None:
        """Disconnect."""
        await self._channel.close()

    async def rounds(self, request: Request) -> Response:
        """Return the open rounds that this person may answer."""
        person = web.person_of(request)
        found = await self._call("ListRounds", pb.ListRoundsRequest(run_id=person.run), pb.ListRoundsResponse)
        return JSONResponse({"rounds": [_round(one) for one in found.rounds if one.state == pb.ROUND_STATE_OPEN]})

    async def next(self, request: Request) -> Response:
        """Lease questions; those that this person holds already come first."""
        person, asked = web.person_of(request), await web.json_object(request, web.FORM_BYTES)
        wanted = pb.NextQuestionsRequest(annotator=person.name, count=min(max(_int(asked, "count"), 1), _MOST))
        key = str(asked.get("round", ""))
        if person.run:
            wanted.run_id = person.run
        elif _ROUND_KEY.fullmatch(key):
            wanted.round_key = key
        else:
            raise web.Refused(400, "Say which round to answer.")
        found = await self._call("NextQuestions", wanted, pb.NextQuestionsResponse)
        return JSONResponse(
            {
                "questions": [self._question(one, person) for one in found.leases],
                "round": _round(found.round) if found.HasField("round") else None,
                "wait": _WAITS.get(found.wait, ""),
                "progress": _progress(found.progress, person),
            }
        )

    async def answer(self, request: Request) -> Response:
        """Send an answer, or, with ``corrects``, another answer to a question that this person has answered."""
        person, given = web.person_of(request), await web.json_object(request, web.ANSWER_BYTES)
        kind = "CorrectAnswer" if given.get("corrects") is True else "AnswerQuestion"
        question = _text(given, "question")
        await self._check_run(person, question)
        fields: dict[str, Any] = {
            "question_id": question,
            "annotator": person.name,
            "answer": _answer(given),
        }
        found: Any
        if kind == "CorrectAnswer":
            found = await self._call(kind, pb.CorrectAnswerRequest(**fields), pb.CorrectAnswerResponse)
        else:
            found = await self._call(kind, pb.AnswerQuestionRequest(**fields), pb.AnswerQuestionResponse)
        return JSONResponse({"outcome": _outcome(found.outcome), "progress": _progress(found.progress, person)})

    async def skip(self, request: Request) -> Response:
        """Say that this person cannot answer a question."""
        person, given = web.person_of(request), await web.json_object(request, web.FORM_BYTES)
        question = _text(given, "question")
        await self._check_run(person, question)
        wanted = pb.SkipQuestionRequest(
            question_id=question,
            annotator=person.name,
            answer_id=_text(given, "id"),
            reason=_text(given, "reason")[:500],
            seconds=_number(given, "seconds"),
            clicks=_int(given, "clicks"),
            page_version=_PAGE_NAME,
        )
        found = await self._call("SkipQuestion", wanted, pb.SkipQuestionResponse)
        return JSONResponse({"outcome": _outcome(found.outcome), "progress": _progress(found.progress, person)})

    async def renew(self, request: Request) -> Response:
        """Keep questions that this person works on."""
        person, given = web.person_of(request), await web.json_object(request, web.FORM_BYTES)
        ids = given.get("questions")
        if not isinstance(ids, list) or len(ids) > _MOST:
            raise web.Refused(400, "questions: give a short list.")
        wanted = pb.RenewLeasesRequest(annotator=person.name, question_ids=[str(one) for one in ids])
        for one in wanted.question_ids:
            await self._check_run(person, one)
        found = await self._call("RenewLeases", wanted, pb.RenewLeasesResponse)
        return JSONResponse({"held": [one.question.question_id for one in found.leases]})

    async def image(self, request: Request) -> Response:
        """Return an image of a question, by an address that was signed for this person and ends with the lease."""
        person = web.person_of(request)
        found = self._door.opened(request.path_params["token"])
        if found is None or found.get("for") != person.name:
            raise web.Refused(403, "This image was handed to somebody else, or its time is over; load the page again.")
        ref = ObjectRef(**found["ref"])
        content = await self._store.get(ref)
        name = f"object {ref.key}"
        if found["as"] == "image":
            media = (await asyncio.to_thread(images.probe, content, name)).media_type
        else:
            media = "application/octet-stream"
            content = await asyncio.to_thread(_plane, content, name, found["as"])
        headers = {"cache-control": "private, max-age=3600", "content-security-policy": "default-src 'none'; sandbox"}
        return Response(content, media_type=media, headers=headers)

    async def progress_of(self, run_id: str, request: Request) -> Markup | None:
        """Show how far people are with the open round of a run; None where it waits for nobody."""
        try:
            wanted = pb.GetProgressRequest(run_id=run_id)
            found = await self._call("GetProgress", wanted, pb.GetProgressResponse)
        except (BadInput, Unavailable):
            return None  # no round of people, or a coordinator that knows of none
        if not found.HasField("round"):
            return None
        return progress.box(found, run_id, web.acting_key(request))

    async def close_round(self, run_id: str, name: str) -> None:
        """End the open round of a run with the answers that it has."""
        wanted = pb.CloseRoundRequest(run_id=run_id, reason=f"closed by {name} on the dashboard")
        await self._call("CloseRound", wanted, pb.CloseRoundResponse)

    async def _check_run(self, person: Person, question: str) -> None:
        """Refuse a question of another run than the one that the person's link is for."""
        if not person.run:
            return
        key, known = question.partition(".")[0], self._keys.get(person.run)
        if known is None or key not in known:
            found = await self._call("ListRounds", pb.ListRoundsRequest(run_id=person.run), pb.ListRoundsResponse)
            known = frozenset(one.key for one in found.rounds)
            self._keys.put(person.run, known)
        if key not in known:
            raise web.Refused(403, "This question belongs to another run than your link.")

    async def _call(self, name: str, request: Message, response: type[Any]) -> Any:
        return await self._channel.call(f"{_SERVICE}/{name}", request, response, _CALL_SECONDS)

    def _question(self, lease: pb.QuestionLease, person: Person) -> dict[str, Any]:
        one = lease.question
        until = lease.expires.seconds + lease.expires.nanos / 1e9

        def address(ref: ObjectRef, kind: str) -> str:
            fields = {"bucket": ref.bucket, "key": ref.key, "sha256": ref.sha256, "size": ref.size}
            fields["media_type"] = ref.media_type
            return "/api/objects/" + self._door.sealed({"for": person.name, "as": kind, "ref": fields, "until": until})

        return {
            "id": one.question_id,
            "rank": one.rank,
            "imageId": one.image_id,
            "image": address(one.image, "image"),
            "width": one.image_width,
            "height": one.image_height,
            "box": [one.box.y0, one.box.x0, one.box.y1, one.box.x1],
            "region": list(one.region.counts),
            "points": [[point.y, point.x] for point in one.points],
            "prediction": address(one.prediction, "classes") if one.HasField("prediction") else None,
            "superpixels": address(one.superpixels, "ids") if one.HasField("superpixels") else None,
            "expires": until,
            "answered": _answered(lease.answered) if lease.HasField("answered") else None,
        }


def _round(one: pb.QuestionRound) -> dict[str, Any]:
    return {
        "key": one.key,
        "runs": list(one.run_ids),
        "round": one.round,
        "query": one.query.name,
        "parameters": json.loads(one.query.parameters or "{}"),
        "classes": [{"index": each.index, "name": each.name, "color": each.color} for each in one.classes],
        "ignore": one.ignore_index,
        "questions": one.questions,
        "dataset": one.dataset_name,
    }


def _progress(found: pb.RoundProgress, person: Person) -> dict[str, Any]:
    """Return the counts that an annotator sees: the round's, and their own."""
    mine = next((one for one in found.annotators if one.annotator == person.name), pb.AnnotatorProgress())
    settled = found.answered + found.skipped
    return {"questions": found.questions, "settled": settled, "mine": mine.answered, "seconds": mine.seconds}


def _answer(given: Mapping[str, Any]) -> pb.PersonAnswer:
    """Make the answer of a request; BadInput names the field that does not fit."""
    answer = pb.PersonAnswer(
        answer_id=_text(given, "id"),
        seconds=_number(given, "seconds"),
        clicks=_int(given, "clicks"),
        page_version=_PAGE_NAME,
        drawing=str(given.get("drawing") or "").encode(),
    )
    try:
        if "values" in given:
            answer.raster.CopyFrom(pb.RasterAnswer(values=given["values"], lengths=given["lengths"]))
        elif "points" in given:
            answer.points.CopyFrom(pb.PointsAnswer(classes=given["points"]))
        else:
            answer.classes.CopyFrom(pb.ClassesAnswer(classes=given["classes"]))
    except (TypeError, ValueError, KeyError) as error:
        raise BadInput(f"answer: cannot be read ({error}); reload the page") from None
    return answer


def _answered(one: pb.PersonAnswer) -> dict[str, Any]:
    kind = one.WhichOneof("content")
    if kind == "raster":
        return {"values": list(one.raster.values), "lengths": list(one.raster.lengths)}
    if kind == "points":
        return {"points": list(one.points.classes)}
    return {"classes": list(one.classes.classes)} if kind == "classes" else {}


def _plane(content: bytes, name: str, kind: str) -> bytes:
    """Return a map as raw pixels, row by row: classes as bytes, ids as 16-bit numbers, low byte first."""
    if kind == "classes":
        return images.decode_labels(content, name).tobytes()
    return images.decode_map(content, name).astype(np.dtype("<u2")).tobytes()


def _outcome(value: int) -> str:
    return pb.AnswerOutcome.Name(value).removeprefix("ANSWER_OUTCOME_").lower()


def _text(given: Mapping[str, Any], name: str) -> str:
    found = given.get(name)
    if not isinstance(found, str) or not 0 < len(found) <= 600:
        raise web.Refused(400, f"{name}: is missing.")
    return found


def _number(given: Mapping[str, Any], name: str) -> float:
    found = given.get(name, 0)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= 86_400:
        raise web.Refused(400, f"{name}: is no number from 0 to 86400.")
    return float(found)


def _int(given: Mapping[str, Any], name: str) -> int:
    return int(_number(given, name))
