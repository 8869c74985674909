"""Tables: exact round trips, stable bytes, and differences named."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.errors import BadInput
from tessera.formats import schemas, tables

_SELECTION = {
    "rank": np.arange(3),
    "image_id": ["a", "b", "b"],
    "region_id": [0, 3, 1],
    "score": np.array([0.5, np.nan, -1], np.float64),
    "cluster": np.array([-1, 2, 1], np.int64),
}


def _ledger(rows: int) -> dict[str, object]:
    columns: dict[str, object] = {}
    for field in schemas.LEDGER:
        if field.name == "classes":
            columns[field.name] = [list(range(row)) for row in range(rows)]
        elif pa.types.is_string(field.type):
            columns[field.name] = [f"{field.name}{row}" for row in range(rows)]
        else:
            columns[field.name] = np.arange(rows)
    columns["seed"] = np.array([2**64 - 1] * rows, np.uint64)
    return columns


def test_round_trip_keeps_values_types_and_nan() -> None:
    read = tables.read(schemas.SELECTION, tables.write(schemas.SELECTION, _SELECTION), "selection")
    assert read["image_id"].tolist() == ["a", "b", "b"]
    assert read["image_id"].dtype == object
    assert read["region_id"].dtype == np.int32
    assert read["score"].dtype == np.float32
    np.testing.assert_array_equal(read["score"], np.array([0.5, np.nan, -1], np.float32))
    read["rank"][0] = 7  # the caller owns the arrays


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_ledger_round_trip_with_lists_and_unsigned_seeds(rows: int) -> None:
    columns = _ledger(rows)
    read = tables.read(schemas.LEDGER, tables.write(schemas.LEDGER, columns), "ledger")
    assert read["classes"] == columns["classes"]
    assert read["seed"].tolist() == [2**64 - 1] * rows
    assert read["seed"].dtype == np.uint64


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.text(max_size=5), st.integers(-(2**31), 2**31 - 1)), max_size=20))
def test_any_keys_round_trip_with_equal_bytes(rows: list[tuple[str, int]]) -> None:
    columns = {"image_id": [row[0] for row in rows], "region_id": [row[1] for row in rows]}
    data = tables.write(schemas.TARGETS, columns)
    assert data == tables.write(schemas.TARGETS, {name: list(values) for name, values in columns.items()})
    read = tables.read(schemas.TARGETS, data, "targets")
    assert read["image_id"].tolist() == columns["image_id"]
    assert read["region_id"].tolist() == columns["region_id"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rank": None}, "missing columns"),
        ({"extra": [1, 2, 3]}, "unexpected columns \\['extra'\\]"),
        ({"score": [1.0]}, "different lengths"),
        ({"cluster": [1, 2, 2**31]}, "cluster does not hold int32"),
        ({"image_id": [1, 2, 3]}, "image_id does not hold string"),
        ({"image_id": ["a", None, "c"]}, "image_id has 1 missing"),
    ],
)
def test_write_refuses_what_does_not_fit(change: dict[str, object], words: str) -> None:
    columns = {name: value for name, value in {**_SELECTION, **change}.items() if value is not None}
    with pytest.raises(BadInput, match=words):
        tables.write(schemas.SELECTION, columns)


def test_read_names_the_first_difference() -> None:
    data = tables.write(schemas.TARGETS, {"image_id": ["a"], "region_id": [1]})
    with pytest.raises(BadInput, match=r"^s\.parquet: column 0 is image_id \(string\), expected rank \(int32\)"):
        tables.read(schemas.SELECTION, data, "s.parquet")
    with pytest.raises(BadInput, match="column pixels is missing"):
        tables.read(schemas.REGIONS, data, "r")
    scores = tables.write(schemas.scores(["e"]), {"image_id": ["a"], "region_id": [1], "pixels": [2], "e": [0.5]})
    with pytest.raises(BadInput, match="unexpected column pixels"):
        tables.read(schemas.TARGETS, scores, "t")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"\x80\x04pickle", b"PAR1" * 40])
def test_damaged_bytes_are_bad_input(data: bytes) -> None:
    with pytest.raises(BadInput, match=r"^broken: not a readable Parquet table"):
        tables.read(schemas.TARGETS, data, "broken")


def test_flipped_bytes_never_escape_as_other_errors() -> None:
    data = tables.write(schemas.SELECTION, _SELECTION)
    rng = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), 4):
            broken[at] = rng.integers(0, 256)
        try:
            tables.read(schemas.SELECTION, bytes(broken), "x")
        except BadInput:
            continue


def test_missing_values_are_refused_on_read() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"image_id": ["a", None], "region_id": [1, 2]}, schema=schemas.TARGETS), sink)
    with pytest.raises(BadInput, match="image_id has 1 missing"):
        tables.read(schemas.TARGETS, sink.getvalue(), "x")


def test_too_many_rows_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_ROWS", 2)
    with pytest.raises(BadInput, match="3 rows"):
        tables.read(schemas.SELECTION, tables.write(schemas.SELECTION, _SELECTION), "x")


def test_scores_and_embeddings_with_columns_of_any_name() -> None:
    columns = {"image_id": ["a"], "region_id": [1], "pixels": [9], "entropy_mean": [0.25]}
    read = tables.read_scores(tables.write(schemas.scores(["entropy_mean"]), columns))
    assert list(read) == list(columns)
    assert read["entropy_mean"].dtype == np.float32
    points = {"image_id": ["a"], "region_id": [1], "x0": [0.5], "x1": [2]}
    assert list(tables.read_scores(tables.write(schemas.embedding(2), points))) == list(points)
    with pytest.raises(BadInput, match="column 0 is rank"):
        tables.read_scores(tables.write(schemas.SELECTION, _SELECTION), "sel")


def test_concat_keeps_order_and_types() -> None:
    one, two = (tables.read(schemas.LEDGER, tables.write(schemas.LEDGER, _ledger(n)), "x") for n in (2, 3))
    both = tables.concat([one, two])
    assert both["image_id"].tolist() == [*one["image_id"], *two["image_id"]]
    assert both["classes"] == [[], [0], [], [0], [0, 1]]
    assert both["seed"].dtype == np.uint64
    with pytest.raises(BadInput, match="at least one"):
        tables.concat([])
    with pytest.raises(BadInput, match="table 1: columns"):
        tables.concat([one, {"image_id": two["image_id"]}])


def test_equal_image_ids_are_one_object_and_columns_can_be_left_out():
    ids = [f"im{at // 100}" for at in range(500)]
    columns = {"image_id": ids, "region_id": np.arange(500) % 100}
    data = tables.write(schemas.TARGETS, columns)
    read = tables.read(schemas.TARGETS, data, "targets")
    assert read["image_id"].tolist() == ids
    assert len({id(one) for one in read["image_id"]}) == 5
    assert list(tables.read(schemas.TARGETS, data, "targets", ["region_id"])) == ["region_id"]
    broken = pa.array([b"a", b"\xff"], pa.binary()).view(pa.string())
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"image_id": broken, "region_id": pa.array([1, 2], pa.int32())}), sink)
    with pytest.raises(BadInput, match=r"targets: column image_id is not text in UTF-8"):
        tables.read(schemas.TARGETS, sink.getvalue().to_pybytes(), "targets")
