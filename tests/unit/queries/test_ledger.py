import dataclasses

import numpy as np

from tessera.formats import schemas, tables
from tessera.pb.common_pb2 import AxisValue, ObjectRef
from tessera.queries import LedgerRow, Provenance, Question, ask, columns, event_id, total

SHARED = Provenance(2, AxisValue(name="mask", parameters="{}"), AxisValue(name="simulated", parameters="{}"), 7)
MAP, LABELS = ObjectRef(sha256="aa"), ObjectRef(sha256="bb")


def question(image_id="a", region_id=0, size=8):
    regions = np.full((size, size), region_id, np.int32)
    return Question.of(image_id, np.zeros((size, size), np.uint8), regions, region_id, (0, 0, size, size))


def row(image_id="a", region_id=0, size=8):
    asked = question(image_id, region_id, size)
    stored = ObjectRef(bucket="b", key="k", sha256="cc", size=3, media_type="image/png")
    return LedgerRow.of(asked, ask(asked, ("mask", {})), stored, event_id(asked, SHARED, MAP, LABELS), MAP)


def test_columns_fit_the_schema_and_round_trip():
    rows = [row("a", 0), row("b", 4, size=9)]
    data = tables.write(schemas.LEDGER, columns(rows, SHARED))
    read = tables.read(schemas.LEDGER, data, "ledger")
    assert list(read["image_id"]) == ["a", "b"]
    assert read["pixels"].tolist() == [64, 81]
    assert [list(classes) for classes in read["classes"]] == [[0], [0]]
    assert read["seed"].tolist() == [7, 7]
    assert list(read["seconds_model"]) == ["per_click", "per_click"]
    assert list(read["map_sha256"]) == ["aa", "aa"]
    assert total(read) == total(columns(rows, SHARED)), "the stored table sums to what the job reported"


def test_an_empty_ledger_is_still_a_table():
    read = tables.read(schemas.LEDGER, tables.write(schemas.LEDGER, columns([], SHARED)), "ledger")
    assert total(read).regions == 0


def test_event_id_names_the_question_and_nothing_else():
    first = question("a", 3)
    base = event_id(first, SHARED, MAP, LABELS)
    assert base == event_id(first, dataclasses.replace(SHARED, round=5), MAP, LABELS)
    changed = [
        event_id(question("b", 3), SHARED, MAP, LABELS),
        event_id(question("a", 4), SHARED, MAP, LABELS),
        event_id(first, dataclasses.replace(SHARED, seed=8), MAP, LABELS),
        event_id(first, dataclasses.replace(SHARED, query=AxisValue(name="pixel")), MAP, LABELS),
        event_id(first, dataclasses.replace(SHARED, oracle=AxisValue(name="people")), MAP, LABELS),
        event_id(first, SHARED, ObjectRef(sha256="dd"), LABELS),
        event_id(first, SHARED, MAP, ObjectRef(sha256="dd")),
    ]
    assert len({base, *changed}) == 1 + len(changed)


def test_total_pays_a_repeated_row_once_and_ignores_the_order():
    rows = [row("a", 0), row("a", 1), row("b", 0)]
    once = total(columns(rows, SHARED))
    assert (once.regions, once.images, once.pixels) == (3, 2, 3 * 64)
    assert once.clicks == sum(r.answer.clicks for r in rows)
    assert total(columns([*rows[::-1], rows[0]], SHARED)) == once
