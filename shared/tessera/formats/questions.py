"""Questions to people and their answers: table rows ↔ messages, and answers as they lie in the store."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from google.protobuf import json_format

from tessera.errors import BadInput, CorruptObject
from tessera.formats import schemas, tables
from tessera.pb.common_pb2 import ObjectRef
from tessera.pb.questions_pb2 import Box, BoxMask, PersonAnswer, PersonQuestion, Point
from tessera.queries.given import Given, runs_to_raster, shape_of
from tessera.registry import canonical_json

ANSWER_ID: Final = re.compile(r"[A-Za-z0-9_-]{8,64}")
ANNOTATOR: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
DRAWING_BYTES: Final = 1 << 20
MAX_SECONDS: Final = 86_400.0
_PARTS = ("bucket", "key", "sha256", "size", "media_type")


def question(table: Mapping[str, Any], key: str, row: int) -> PersonQuestion:
    """Return one row of a table `schemas.QUESTIONS` as a message; ``key`` names the round."""
    made = PersonQuestion(
        question_id=question_id(key, row),
        rank=row,
        image_id=str(table["image_id"][row]),
        image=_ref(table, "image", row),
        image_width=int(table["width"][row]),
        image_height=int(table["height"][row]),
        region_id=int(table["region_id"][row]),
        box=Box(**{name: int(table[name][row]) for name in ("y0", "x0", "y1", "x1")}),
        region=BoxMask(counts=np.frombuffer(table["region"][row], "<u4").tolist()),
        points=[Point(y=y, x=x) for y, x in np.frombuffer(table["points"][row], "<i4").reshape(-1, 2).tolist()],
        sequence=str(table["sequence"][row]),
        time=float(table["time"][row]),
        pixels=int(table["pixels"][row]),
    )
    for name in ("prediction", "superpixels"):
        ref = _ref(table, name, row)
        if ref.sha256:
            getattr(made, name).CopyFrom(ref)
    return made


def _ref(table: Mapping[str, Any], name: str, row: int) -> ObjectRef:
    bucket, key, sha256, size, media_type = (table[f"{name}_{part}"][row] for part in _PARTS)
    return ObjectRef(bucket=bucket, key=key, sha256=sha256, size=int(size), media_type=media_type)


def question_id(key: str, rank: int) -> str:
    """Return the public id of a question."""
    return f"{key}.{rank}"


def place(id_: str) -> tuple[str, int]:
    """Return round key and rank of a question's id; BadInput when it is none."""
    key, _, rank = id_.partition(".")
    if not re.fullmatch(r"[0-9a-f]{64}", key) or not re.fullmatch(r"[0-9]{1,9}", rank):
        raise BadInput(f"question_id {id_[:80]!a}: is no question's; use the ids that NextQuestions returns")
    return key, int(rank)


def check_annotator(name: str) -> str:
    """Return the name; BadInput when it cannot name an annotator."""
    if not ANNOTATOR.fullmatch(name):
        raise BadInput(f"annotator {name[:80]!a}: use 1 to 64 of A-Z a-z 0-9 . _ @ -")
    return name


def check_answer(answer: PersonAnswer) -> None:
    """Raise BadInput for an id, time, number of clicks, page version or drawing that cannot be."""
    if not ANSWER_ID.fullmatch(answer.answer_id):
        raise BadInput(f"answer_id {answer.answer_id[:80]!a}: use 8 to 64 of A-Z a-z 0-9 _ -")
    if not 0 <= answer.seconds <= MAX_SECONDS:
        raise BadInput(f"seconds: {answer.seconds}; give 0 to {MAX_SECONDS:,.0f}")
    if not 0 <= answer.clicks <= 1_000_000:
        raise BadInput(f"clicks: {answer.clicks}; give 0 to 1,000,000")
    if len(answer.page_version) > 64 or not answer.page_version.isprintable():
        raise BadInput(f"page_version {answer.page_version[:80]!a}: use at most 64 printable characters")
    if len(answer.drawing) > DRAWING_BYTES:
        raise BadInput(f"drawing: {len(answer.drawing):,} bytes, at most {DRAWING_BYTES:,}")


def given(answer: PersonAnswer, query: str, box: Box) -> Given:
    """Return what an answer says; BadInput where the query is answered in another way or the runs do not fit the box.

    Classes are checked by `tessera.queries.given.check`.
    """
    height, width = box.y1 - box.y0, box.x1 - box.x0
    kind, shape = answer.WhichOneof("content"), shape_of(query)
    if kind != {"one": "classes", "all": "classes", "points": "points", "raster": "raster"}[shape]:
        raise BadInput(f"answer: {kind or 'nothing'} is given, and query {query} is answered by {shape}")
    if kind == "raster":
        return Given((), runs_to_raster(answer.raster.values, answer.raster.lengths, height, width))
    return Given(tuple(answer.classes.classes if kind == "classes" else answer.points.classes))


def answer_prefix(key: str) -> str:
    """Return the folder of a round's answers in the store."""
    return f"answers/{key}/"


def answer_key(key: str, rank: int, answer_id: str) -> str:
    """Return the object key of one answer."""
    return f"{answer_prefix(key)}{rank}/{answer_id}.json"


def asked_key(key: str, run_id: str) -> str:
    """Return the object key that tells that a run asked the questions of a round."""
    return f"{answer_prefix(key)}runs/{run_id}.json"


def to_json(question_: PersonQuestion, annotator: str, answer: PersonAnswer, at: float) -> bytes:
    """Return an answer as it lies in the store: with everything needed to understand it alone."""
    return canonical_json(
        {
            "kind": "answer",
            "version": 1,
            "question_id": question_.question_id,
            "image_id": question_.image_id,
            "image_sha256": question_.image.sha256,
            "region_id": question_.region_id,
            "annotator": annotator,
            "at": at,
            "answer": json_format.MessageToDict(answer, preserving_proto_field_name=True),
        }
    ).encode()


def from_json(data: bytes, name: str) -> tuple[str, str, float, PersonAnswer]:
    """Read a stored answer: question id, annotator, time, content; CorruptObject when it is none."""
    try:
        top = json.loads(data)
        answer = json_format.ParseDict(top["answer"], PersonAnswer(), ignore_unknown_fields=True)
        return str(top["question_id"]), str(top["annotator"]), float(top["at"]), answer
    except (ValueError, KeyError, TypeError, json_format.ParseError):
        raise CorruptObject(f"object {name}: is not the answer of a person; restore it from a backup") from None


class AnswerColumns:
    """Rows of a table `schemas.ANSWERS` as they are added; ``questions`` is the table `schemas.QUESTIONS`."""

    def __init__(self, questions: Mapping[str, Any]) -> None:
        self._questions = questions
        self._columns: dict[str, list[Any]] = {name: [] for name in schemas.ANSWERS.names}

    def add(self, rank: int, annotator: str, answer: PersonAnswer, measured: tuple[float, int, float]) -> None:
        """Add an answer; ``measured``: seconds and clicks, corrections included, and time of the answer."""
        seconds, clicks, at = measured
        row = {
            "rank": rank,
            "image_id": str(self._questions["image_id"][rank]),
            "region_id": int(self._questions["region_id"][rank]),
            "annotator": annotator,
            "answer_id": answer.answer_id,
            "skipped": answer.skipped,
            "classes": list(answer.classes.classes or answer.points.classes),
            "values": np.array(answer.raster.values, "<u4").tobytes(),
            "lengths": np.array(answer.raster.lengths, "<u4").tobytes(),
            "seconds": seconds,
            "clicks": clicks,
            "page_version": answer.page_version,
            "answered_at": at,
        }
        for name, column in self._columns.items():
            column.append(row[name])

    def table(self) -> bytes:
        """Encode the rows."""
        return tables.write(schemas.ANSWERS, self._columns)
