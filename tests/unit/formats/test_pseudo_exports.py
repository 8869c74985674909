"""Pseudo labels in exports: people's labels stay, every pixel has its source, and both can be told apart again."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter

import numpy as np
import pytest

from tessera.errors import BadInput
from tessera.formats import exports, images, pseudo_exports
from tessera.formats.manifests import DatasetManifest, ImageItem
from tessera.formats.pseudo_exports import SOURCES, Maker
from tessera.pb.common_pb2 import ObjectRef
from unit.formats.test_exports import CLASSES, PICTURE, row

NAME = "berlin_000001_000019"
UNDEFINED = len(CLASSES)
MAKER = Maker("run-1", 3, "c" * 64)
RNG = np.random.default_rng(11)
REGIONS = np.repeat(np.repeat(np.arange(12, dtype=np.int32).reshape(3, 4), 3, 0), 3, 1)  # 9×12 pixels, 3×3 each


def box(region):
    y, x = divmod(region, 4)
    return (3 * y, 3 * x, 3 * y + 3, 3 * x + 3)


CROPS = {
    0: ("mask", RNG.choice([0, 1, 255], (3, 3)).astype(np.uint8)),
    5: ("pixel", np.array([[255, 2, 255], [255, 255, 255], [1, 255, 255]], np.uint8)),
}
CLASSES_OF = {6: [1], 7: [0, 2], 9: [2, 255]}


@pytest.fixture
def made():
    """Two answers with pixels, three by classes, and planes that also say something where people have answered."""
    item = ImageItem(NAME, ObjectRef(), 12, 9, "berlin_000001", 1.0)
    drawn = [row(region, box(region), query=query) for region, (query, _) in CROPS.items()]
    named = [
        row(region, box(region), query="multi_class", answer_sha256="", classes=classes)
        for region, classes in CLASSES_OF.items()
    ]
    answered = exports.paint(item, drawn, [images.encode_png(crop) for _, crop in CROPS.values()])
    planes = {
        "classes": RNG.choice([0, 1, 2, UNDEFINED], (9, 12)).astype(np.uint8),
        "provenance": RNG.choice([2, 3], (9, 12)).astype(np.uint8),
    }
    planes["classes"][REGIONS == 6], planes["provenance"][REGIONS == 6] = 1, 1
    planes["classes"][REGIONS == 11], planes["provenance"][REGIONS == 11] = 255, 0
    return pseudo_exports.add(answered, [*drawn, *named], planes, REGIONS, UNDEFINED, MAKER), planes


def by_hand(planes):
    """Labels and sources, pixel by pixel."""
    labels, sources = np.full((9, 12), 255, np.uint8), np.zeros((9, 12), np.uint8)
    for y, x in np.ndindex(9, 12):
        region = int(REGIONS[y, x])
        y0, x0, _, _ = box(region)
        query, crop = CROPS.get(region, ("", np.full((3, 3), 255)))
        person = int(crop[y - y0, x - x0])
        if query == "mask" or person != 255:
            labels[y, x], sources[y, x] = person, 1
        else:
            value = int(planes["classes"][y, x])
            labels[y, x], sources[y, x] = 255 if value >= UNDEFINED else value, planes["provenance"][y, x]
    return labels, sources


def test_pixels_of_people_are_never_overwritten_and_all_others_are_the_training_s(made):
    image, planes = made
    labels, sources = by_hand(planes)
    assert np.array_equal(image.labels, labels)
    assert np.array_equal(image.sources, sources)
    for region, (_, crop) in CROPS.items():
        y0, x0, y1, x1 = box(region)
        drawn = crop != 255
        assert (image.labels[y0:y1, x0:x1][drawn] == crop[drawn]).all()
        assert (image.sources[y0:y1, x0:x1][drawn] == 1).all()


def test_the_table_has_every_pixel_once_with_the_answer_or_the_model(made):
    image, planes = made
    labels, sources = by_hand(planes)
    found = list(csv.DictReader(io.StringIO(pseudo_exports.table(image.table).decode())))
    expected = Counter(
        (int(region), SOURCES[source]) for region, source in zip(REGIONS.flat, sources.flat, strict=True) if source
    )
    assert {(int(one["region_id"]), one["source"]): int(one["pixels"]) for one in found} == expected
    for one in found:
        region = int(one["region_id"])
        here = (region == REGIONS) & (sources == SOURCES.index(one["source"])) & (labels != 255)
        assert one["classes"] == " ".join(map(str, sorted(set(labels[here].tolist()))))
        answered = region in CROPS or region in CLASSES_OF
        assert (one["annotator"], one["event_id"]) == (("ann", f"e{region}") if answered else ("", ""))
        model = ("", "", "") if one["source"] == "human" else ("run-1", "3", "c" * 64)
        assert (one["run"], one["round"], one["model_sha256"]) == model


@pytest.mark.parametrize(
    ("layout", "labels_at", "sources_at"),
    [
        ("png", "labels/{}.png", "provenance/{}.png"),
        ("mmseg", "ann_dir/train/{}.png", "provenance_dir/train/{}.png"),
        (
            "cityscapes",
            "gtFine/train/berlin/{}_gtFine_labelTrainIds.png",
            "gtFine/train/berlin/{}_gtFine_provenance.png",
        ),
    ],
)
def test_a_reader_separates_people_from_the_training_exactly(made, layout, labels_at, sources_at):
    image, planes = made
    export = exports.export_as(layout, DatasetManifest("toy", CLASSES, {"train": (image.item,)}))
    files = dict([*export.image(image, PICTURE), *export.end()])
    labels = images.decode_labels(files[labels_at.format(NAME)], "labels", UNDEFINED)
    sources = images.decode_labels(files[sources_at.format(NAME)], "sources", len(SOURCES))
    assert np.array_equal(labels, by_hand(planes)[0])
    assert np.array_equal(sources, by_hand(planes)[1])


def test_coco_annotations_say_where_each_comes_from(made):
    image, planes = made
    labels, sources = by_hand(planes)
    export = exports.export_as("coco", DatasetManifest("toy", CLASSES, {"train": (image.item,)}))
    files = dict([*export.image(image, PICTURE), *export.end()])
    assert np.array_equal(images.decode_labels(files[f"provenance/{NAME}.png"], "sources"), sources)
    seen, told = np.full((9, 12), 255, np.uint8), np.zeros((9, 12), np.uint8)
    for one in json.loads(files["annotations/stuff_train.json"])["annotations"]:
        flat = [at % 2 for at, count in enumerate(one["segmentation"]["counts"]) for _ in range(count)]
        mask = np.array(flat, bool).reshape(12, 9).T
        assert (seen[mask] == 255).all(), "annotations do not overlap"
        seen[mask], told[mask] = one["category_id"] - 1, SOURCES.index(one["attributes"]["source"])
        if one["attributes"]["source"] == "localised" and one["attributes"]["region_id"] == 7:
            assert one["attributes"]["answer"]["annotator"] == "ann"
            assert one["attributes"]["round"] == 3
    assert np.array_equal(seen, labels)
    assert np.array_equal(told[labels != 255], sources[labels != 255])


def test_an_image_without_pseudo_labels_keeps_its_answers():
    item = ImageItem(NAME, ObjectRef(), 12, 9, "s", 1.0)
    rows = [row(0, box(0))]
    answered = exports.paint(item, rows, [images.encode_png(CROPS[0][1])])
    image = pseudo_exports.add(answered, rows, {}, REGIONS, UNDEFINED, MAKER)
    assert np.array_equal(image.labels, answered.labels)
    assert set(image.sources[REGIONS == 0].tolist()) == {1}
    assert not image.sources[REGIONS != 0].any()


@pytest.mark.parametrize(
    ("planes", "message"),
    [
        ({"classes": np.zeros((3, 3), np.uint8)}, r"classes has shape \(3, 3\)"),
        ({"provenance": np.full((9, 12), 9, np.uint8)}, "source 9; known are 0 to 3"),
    ],
)
def test_planes_that_do_not_fit_are_refused(planes, message):
    item = ImageItem(NAME, ObjectRef(), 12, 9, "s", 1.0)
    with pytest.raises(BadInput, match=message):
        pseudo_exports.add(exports.paint(item, [], []), [], planes, REGIONS, UNDEFINED, MAKER)
