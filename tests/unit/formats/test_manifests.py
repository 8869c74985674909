"""Manifests: canonical JSON, ranges, and damage named by field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tessera.errors import BadInput
from tessera.formats import keys
from tessera.formats.manifests import (
    ClassInfo,
    DatasetManifest,
    ImageItem,
    LabelManifest,
    dataset_from_json,
    dataset_to_json,
    labels_from_json,
    labels_to_json,
)
from tessera.pb.common_pb2 import ImageRange, ObjectRef


def _ref(key: str) -> ObjectRef:
    return ObjectRef(bucket="b", key=key, sha256="0" * 64, size=3, media_type="image/png")


def _manifest() -> DatasetManifest:
    items = tuple(
        ImageItem(f"s_{at}", _ref(f"datasets/d/images/train/s_{at}.png"), 40, 24, "s", at / 30) for at in range(5)
    )
    classes = (ClassInfo("road", (128, 64, 128)), ClassInfo("sky", (1, 2, 3)))
    return DatasetManifest("d", classes, {"train": items, "val": ()})


def test_round_trip_is_exact_and_canonical() -> None:
    manifest = _manifest()
    data = dataset_to_json(manifest)
    assert dataset_from_json(data) == manifest
    assert dataset_to_json(dataset_from_json(data)) == data
    labels = LabelManifest("val", {"b": _ref("b.png"), "a": _ref("a.png")})
    assert labels_from_json(labels_to_json(labels)) == labels
    swapped = LabelManifest("val", dict(reversed(labels.labels.items())))
    assert labels_to_json(swapped) == labels_to_json(labels)


def test_a_dataset_manifest_names_no_label() -> None:
    assert b"label" not in dataset_to_json(_manifest())


def test_ranges_and_ids() -> None:
    manifest = _manifest()
    assert [item.image_id for item in manifest.items(ImageRange(split="train", start=1, end=3))] == ["s_1", "s_2"]
    for start, end in ((3, 2), (0, 6), (-1, 2)):
        with pytest.raises(BadInput, match=r"it has 5"):
            manifest.items(ImageRange(split="train", start=start, end=end))
    with pytest.raises(BadInput, match="no split 'test'; it has train, val"):
        manifest.items(ImageRange(split="test"))
    assert [item.image_id for item in manifest.by_id("train", ["s_4", "s_0"])] == ["s_4", "s_0"]
    with pytest.raises(BadInput, match="no image 'nope'"):
        manifest.by_id("train", ["nope"])
    with pytest.raises(BadInput, match="none for image 'nope'"):
        LabelManifest("val", {}).label("nope")


def _change(path: str, value: Any) -> bytes:
    top = json.loads(dataset_to_json(_manifest()))
    at = top
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        at = at[part]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return json.dumps(top).encode()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("version", 2, "version 1"),
        ("kind", "labels", "not a dataset manifest"),
        ("name", None, "name: missing"),
        ("classes", [], "0 classes"),
        ("classes.0.color", [1, 2, 256], r"classes\[0\]\.color"),
        ("ignore_index", 1, "ignore_index 1"),
        ("splits.train.2.image_id", "../x", "image id '../x'"),
        ("splits.train.2.image_id", "s_1", "'s_1' appears twice"),
        ("splits.train.2.width", 0, "size 0×24"),
        ("splits.train.2.width", True, "wrong type"),
        ("splits.train.2.time", float("nan"), "finite"),
        ("splits.train.2.image.key", "datasets/../secret", r"train\[2\]\.image: object key"),
        ("splits.train.2.image.sha256", "xyz", "not a sha256"),
        ("splits.train.2.image.size", -1, "not a size"),
        ("splits.train", {}, "expected a list"),
    ],
)
def test_damage_is_named(path: str, value: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        dataset_from_json(_change(path, value), "m.json")


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"[" * 100_000, b"{}"])
def test_garbage_is_bad_input(data: bytes) -> None:
    with pytest.raises(BadInput, match=r"^m\.json: not"):
        dataset_from_json(data, "m.json")


_HOSTILE = [
    "", ".", "..", "../a", "a/../b", "/a", "a//b", "a\0b", "a\n", "a b", "%2e%2e", "é", "\u0430", "a\\b", "a" * 1025,
    "-a", "CON:", "a/", "./a", "~", "a?b", "a#b", "a*b", " a", "a\t", "\u202ea", "a\r\n", "$(a)", "`a`", "a;b",
]  # fmt: skip


@pytest.mark.parametrize("text", _HOSTILE)
def test_hostile_identifiers_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        keys.check_image_id(text, "x")
    with pytest.raises(BadInput):
        keys.check_split(text, "x")
    with pytest.raises(BadInput):
        keys.check_key(text, "x")
    with pytest.raises(BadInput):
        keys.dataset_image("d", "train", text, "png")


def test_keys_are_as_documented() -> None:
    assert keys.cas("ab" + "0" * 62) == "cas/sha256/ab/" + "0" * 62
    assert keys.dataset_image("d", "train", "0006R0_f00930", "jpg") == "datasets/d/images/train/0006R0_f00930.jpg"
    assert keys.dataset_label("d", "val", "x") == "datasets/d/labels/val/x.png"
    assert keys.dataset_labels("d", "val") == "datasets/d/labels/val.json"
    assert keys.dataset_manifest("d") == "datasets/d/manifest.json"
