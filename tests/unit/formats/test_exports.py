"""Labels in the layouts of other tools: read back by their rules, pixel by pixel."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tessera.datasets.reader import read_dataset
from tessera.errors import BadInput
from tessera.formats import exports, images
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem
from tessera.pb.common_pb2 import ObjectRef

CLASSES = tuple(ClassInfo(f"class {index}", (index, 10 * index, 255 - index)) for index in range(3))
RNG = np.random.default_rng(5)
PICTURE = images.encode_png(RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8))


def row(region, box, **more):
    y0, x0, y1, x1 = box
    return {
        "image_id": "berlin_000001_000019", "region_id": region, "y0": y0, "x0": x0, "y1": y1, "x1": x1, "round": 1,
        "query": "mask", "oracle": "human", "classes": [0, 1], "answer_sha256": "ab", "event_id": f"e{region}",
        "annotator": "ann", "answered_at": 1_700_000_000.0, "measured_seconds": 2.5, "measured_clicks": 4,
        "page_version": "page/1", "agreement": -1.0, **more,
    }  # fmt: skip


@pytest.fixture
def answered():
    item = ImageItem("berlin_000001_000019", ObjectRef(), 12, 9, "berlin_000001", 1.0)
    first = RNG.choice([0, 1, 2, 255], (5, 6)).astype(np.uint8)
    second = np.full((4, 4), 2, np.uint8)
    second[0] = 255
    return exports.paint(
        item, [row(0, (0, 0, 5, 6)), row(1, (3, 4, 7, 8))], [images.encode_png(c) for c in (first, second)]
    )


def by_hand(answered):
    """The labels, painted pixel by pixel."""
    made = np.full((9, 12), 255, np.uint8)
    for one, crop in answered.crops:
        for y, x in np.ndindex(crop.shape):
            if crop[y, x] != 255:
                made[one["y0"] + y, one["x0"] + x] = crop[y, x]
    return made


def files(layout, answered):
    made = exports.export_as(layout, DatasetManifest("toy", CLASSES, {"train": (answered.item,)}))
    return dict([*made.image(answered, PICTURE), *made.end()])


def test_later_answers_lie_over_earlier_ones(answered):
    assert np.array_equal(answered.labels, by_hand(answered))


def test_indexed_png_has_the_classes_and_their_colours(answered):
    found = files("png", answered)
    data = found["labels/berlin_000001_000019.png"]
    assert np.array_equal(images.decode_labels(data, "map", 3), answered.labels)
    colours = images.decode_rgb(data, "map")
    for index, one in enumerate(CLASSES):
        assert (colours[answered.labels == index] == one.color).all()
    assert json.loads(found["classes.json"])["classes"][2]["name"] == "class 2"


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("mmseg", "ann_dir/train/berlin_000001_000019.png"),
        ("cityscapes", "gtFine/train/berlin/berlin_000001_000019_gtFine_labelTrainIds.png"),
    ],
)
def test_the_layouts_are_read_back(tmp_path, answered, layout, name):
    found = files(layout, answered)
    assert np.array_equal(images.decode_labels(found[name], "map", 3), answered.labels)
    for path, data in found.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    (sample,) = read_dataset(tmp_path, layout).splits["train"]
    assert sample.label_path == tmp_path / name
    rgb = images.decode_rgb(PICTURE, "image")
    assert np.array_equal(images.decode_rgb(sample.image_path.read_bytes(), "image"), rgb)


def test_coco_masks_are_the_answers_column_by_column(answered):
    found = files("coco", answered)
    top = json.loads(found["annotations/stuff_train.json"])
    assert [one["name"] for one in top["categories"]] == ["class 0", "class 1", "class 2"]
    (picture,) = top["images"]
    assert f"images/{picture['file_name']}" in found
    made = np.full((9, 12), 255, np.uint8)
    for one in top["annotations"]:
        # The run-length code of COCO: column by column, outside first.
        flat = [at % 2 for at, count in enumerate(one["segmentation"]["counts"]) for _ in range(count)]
        mask = np.array(flat, bool).reshape(12, 9).T
        x, y, width, height = one["bbox"]
        ys, xs = np.nonzero(mask)
        assert (ys.min(), xs.min(), ys.max() + 1, xs.max() + 1) == (y, x, y + height, x + width)
        assert one["area"] == mask.sum()
        assert one["attributes"]["annotator"] == "ann"
        made[mask] = one["category_id"] - 1
    assert np.array_equal(made, by_hand(answered))
    assert len({one["id"] for one in top["annotations"]}) == len(top["annotations"])


def test_provenance_says_who_answered_what_and_when(answered):
    simulated = row(7, (0, 0, 1, 1), oracle="simulated", annotator="", answer_sha256="")
    dataset = DatasetManifest("toy", CLASSES, {"train": (answered.item,)})
    both, machine = json.loads(exports.provenance("run-1", dataset, [row(0, (0, 0, 5, 6), agreement=0.5), simulated]))[
        "answers"
    ]
    assert (both["annotator"], both["source"], both["answered_at"]) == ("ann", "human", "2023-11-14T22:13:20+00:00")
    assert (both["measured_seconds"], both["agreement"], both["box"]) == (2.5, 0.5, [0, 0, 5, 6])
    assert machine["source"] == "simulated"
    assert not machine["pixels_labelled"]
    assert "annotator" not in machine


def test_an_unknown_layout_is_named():
    with pytest.raises(BadInput, match=r"--layout 'coc'.*coco"):
        exports.export_as("coc", DatasetManifest("toy", CLASSES, {}))
