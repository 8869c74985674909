"""safetensors: round trip, and hostile files that must end in a clear error."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.errors import BadInput
from tessera.formats import weights


class Canary:
    """Creates a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def raw(header: dict | bytes, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def entry(first, last, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [first, last]}


def test_round_trip_keeps_types_shapes_and_scalars():
    tensors = {
        "b": np.arange(6, dtype=np.float16).reshape(2, 3),
        "a": np.array(7, dtype=np.int64),
        "c": np.zeros((0, 4), np.float32),
    }
    data = weights.save(tensors, {"kind": "test"})
    assert data == weights.save(dict(reversed(tensors.items())), {"kind": "test"})
    loaded = weights.load(data, "w")
    assert set(loaded) == set(tensors)
    for key, value in tensors.items():
        assert loaded[key].dtype == value.dtype
        assert np.array_equal(loaded[key], value)


def test_the_reference_implementation_reads_what_is_written_and_the_reverse():
    from safetensors import numpy as reference

    tensors = {"x": np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32), "n": np.array(3, np.int64)}
    assert np.array_equal(reference.load(weights.save(tensors))["x"], tensors["x"])
    assert np.array_equal(weights.load(reference.save(tensors), "w")["x"], tensors["x"])


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_refused_before_any_unpickling(tmp_path, protocol):
    target = tmp_path / "canary"
    data = pickle.dumps(Canary(target), protocol=protocol)
    with pytest.raises(BadInput, match=r"model\.safetensors: .*save_file"):
        weights.load(data, "model.safetensors")
    assert not target.exists()


def test_a_torch_archive_is_named_as_one(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Canary(tmp_path / "canary")))
    with pytest.raises(BadInput, match="pickle"):
        weights.load(buffer.getvalue(), "renamed.safetensors")
    assert not (tmp_path / "canary").exists()


def _wrapped(kind: str, canary: Canary) -> bytes:
    """A pickle as libraries that are not torch wrap it."""
    buffer = io.BytesIO()
    held = np.array([canary], dtype=object)
    if kind == "npy":
        np.save(buffer, held, allow_pickle=True)
    elif kind == "npz":
        np.savez(buffer, weights=held)
    elif kind == "gzip":
        return gzip.compress(pickle.dumps(canary))
    else:
        data, info = pickle.dumps(canary), tarfile.TarInfo("pickle")
        info.size = len(data)
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["npy", "npz", "gzip", "tar"])
def test_a_pickle_inside_another_format_is_refused_as_well(tmp_path, kind):
    target = tmp_path / "canary"
    with pytest.raises(BadInput, match=r"renamed\.safetensors"):
        weights.load(_wrapped(kind, Canary(target)), "renamed.safetensors")
    assert not target.exists()


@pytest.mark.parametrize("length", [128, 384, 640])
def test_a_header_whose_length_begins_like_a_pickle_is_no_pickle(length):
    metadata = next(
        {"pad": "x" * size}
        for size in range(length)
        if int.from_bytes(weights.save({"a": np.ones(2, np.float32)}, {"pad": "x" * size})[:8], "little") == length
    )
    data = weights.save({"a": np.ones(2, np.float32)}, metadata)
    assert data[:1] == b"\x80"
    assert weights.load(data, "w")["a"].tolist() == [1, 1]


HOSTILE = {
    "empty": b"",
    "short": b"\x00" * 7,
    "garbage": bytes(range(200)),
    "huge header": raw({"a": entry(0, 4)}, b"\0" * 4, length=2**40),
    "header past the end": raw({"a": entry(0, 4)}, b"\0" * 4, length=5000),
    "not json": raw(b"{nonsense}"),
    "deep json": raw(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "duplicate names": raw(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":1}'),
    "overlap": raw({"a": entry(0, 4), "b": entry(2, 6)}, b"\0" * 6),
    "same range twice": raw({"a": entry(0, 4), "b": entry(0, 4)}, b"\0" * 4),
    "gap": raw({"a": entry(0, 4), "b": entry(8, 12)}, b"\0" * 12),
    "cut short": raw({"a": entry(0, 400, (100,))}, b"\0" * 4),
    "trailing bytes": raw({"a": entry(0, 4)}, b"\0" * 9),
    "shape does not fit": raw({"a": entry(0, 4, (1000, 1000, 1000))}, b"\0" * 4),
    "negative": raw({"a": entry(-4, 0)}, b"\0" * 4),
    "negative shape": raw({"a": entry(0, 4, (-1, -1))}, b"\0" * 4),
    "many dimensions": raw({"a": entry(0, 4, (1,) * 1000)}, b"\0" * 4),
    "huge numbers": raw({"a": entry(0, 10**30, (10**30,))}, b"\0" * 4),
    "unknown dtype": raw({"a": entry(0, 4, (1,), "PICKLE")}, b"\0" * 4),
    "dtype of another type": raw({"a": entry(0, 4, (1,), ["F32"])}, b"\0" * 4),
    "entry is a number": raw({"a": 3}),
    "offsets are text": raw({"a": {"dtype": "F32", "shape": [1], "data_offsets": "ab"}}),
    "not a number": raw({"a": entry(0, 4)}, np.float32(np.nan).tobytes()),
    "infinite": raw({"a": entry(0, 2, (1,), "F16")}, np.float16(np.inf).tobytes()),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused_by_name(data):
    with pytest.raises(BadInput, match=r"offered\.bin"):
        weights.load(data, "offered.bin")


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damaged_files_raise_only_bad_input(data):
    good = bytearray(weights.save({"a": np.ones((2, 3), np.float32), "b": np.arange(4, dtype=np.int64)}))
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(good[: data.draw(st.integers(0, len(good)))])
    try:
        loaded = weights.load(cut, "damaged")
    except BadInput:
        return
    assert all(isinstance(value, np.ndarray) for value in loaded.values())


def test_nan_is_never_stored():
    with pytest.raises(BadInput, match="bias"):
        weights.save({"bias": np.array([np.nan], np.float32)})
