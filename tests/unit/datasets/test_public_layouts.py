"""The published layouts on small trees that the tests write: names, videos, splits, every value of every mapping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataset_trees import SHAPE, TREES, coco_tree, colours, ids, image, indices, mask, read_tree, voc_tree
from tessera.datasets.definitions import a2d2, cityscapes, coco_stuff, voc
from tessera.datasets.layouts import LAYOUTS
from tessera.datasets.making import make_pool
from tessera.datasets.reader import detect_layout, read_dataset
from tessera.errors import BadInput
from tessera.formats.images import decode_labels, encode_jpeg
from tessera.formats.manifests import labels_from_json
from tessera.runtime.importing import import_dataset
from tessera.runtime.objects import open_store
from tessera.runtime.settings import load


@pytest.fixture(params=sorted(TREES))
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    folder = tmp_path / "set"
    TREES[request.param](folder)
    return request.param, folder


def test_every_layout_is_tested() -> None:
    of_classification = {"cifar", "class_folders"}  # test_classification_layouts
    assert set(LAYOUTS.names()) == {*TREES, "native", "folders"} | of_classification


def test_a_layout_is_found_out_and_is_the_only_one(tree: tuple[str, Path]) -> None:
    name, folder = tree
    assert detect_layout(folder) == name
    assert [other for other in LAYOUTS.names() if LAYOUTS.entry(other).traits.detect(folder)] == [name]


def test_class_names_are_unique_and_all_values_decode(tree: tuple[str, Path]) -> None:
    source = read_dataset(tree[1])
    names = [info.name for info in source.classes.classes]
    assert len(set(names)) == len(names)
    for samples in source.splits.values():
        for sample in samples:
            assert len(indices(source, sample)) > 0


async def test_import_by_name(tree: tuple[str, Path], tmp_path: Path) -> None:
    name, folder = tree
    url = f"file://{tmp_path / 'store'}"
    store = open_store(url, load(store=url))
    source = read_dataset(folder)
    dataset, manifest = await import_dataset(store, folder, name)
    assert {split: [item.image_id for item in of] for split, of in manifest.splits.items()} == ids(source)
    assert set(dataset.labels) == set(source.splits)
    for split, samples in source.splits.items():
        labels = labels_from_json(await store.get(dataset.labels[split]))
        for item, sample in zip(manifest.splits[split], samples, strict=True):
            assert (item.sequence, item.time) == (sample.sequence, sample.time)
            stored = decode_labels(await store.get(labels.label(item.image_id)), "label", len(manifest.classes))
            assert stored.ravel().tolist() == indices(source, sample)


def test_a_label_map_of_another_size_is_named(tree: tuple[str, Path], tmp_path: Path) -> None:
    source = read_dataset(tree[1])
    sample = source.splits["val"][0]
    image(sample.image_path, (20, 30))
    with pytest.raises(BadInput, match=r"the label map is \d+×\d+ pixels but its image is 30×20"):
        make_pool("copy", tree[1], tmp_path / "pool", {})


def test_a_missing_label_map_is_named(tree: tuple[str, Path]) -> None:
    sample = read_dataset(tree[1]).splits["train"][0]
    sample.label_path.unlink()
    with pytest.raises(BadInput) as caught:
        read_dataset(tree[1])
    assert str(sample.image_path) in str(caught.value)
    assert str(sample.label_path) in str(caught.value)


def test_unknown_settings_are_refused(tree: tuple[str, Path]) -> None:
    with pytest.raises(BadInput, match=rf"layout\.{tree[0]}\.tests: unknown key; did you mean test"):
        read_dataset(tree[1], settings={"tests": "half"})


def test_cityscapes(tmp_path: Path) -> None:
    source = read_tree("cityscapes", tmp_path)
    assert list(source.splits) == ["train", "val"]
    first, second = source.splits["train"]
    assert (first.image_id, first.sequence, first.time) == ("aachen_000000_000019", "aachen_000000", 19 / 17)
    assert (second.sequence, second.time) == ("hamburg_000000", 106102 / 17)
    got = indices(source, first)[:34]
    assert [value for value in range(34) if got[value] != 255] == list(cityscapes.IDS)
    assert [got[value] for value in cityscapes.IDS] == list(range(19))
    names = [info.name for info in source.classes.classes]
    assert {names[got[value]]: value for value in cityscapes.IDS} == {
        "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
        "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26,
        "truck": 27, "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
    }  # fmt: skip


def test_cityscapes_test_by_city_and_train_ids(tmp_path: Path) -> None:
    halves = ids(read_tree("cityscapes", tmp_path, test="half"))
    assert {name.split("_")[0] for name in halves["test"]} == {"frankfurt"}
    assert {name.split("_")[0] for name in halves["val"]} == {"lindau", "munster"}
    folder = tmp_path / "set"
    for path in (folder / "gtFine").rglob("*_labelIds.png"):
        mask(path.with_name(path.name.replace("labelIds", "labelTrainIds")), [*range(19), 255], (5, 8))
        assert read_dataset(folder).labels is not None
    assert read_dataset(folder, settings={"labels": "labelTrainIds"}).labels is None
    for path in (folder / "gtFine").rglob("*_labelIds.png"):
        path.unlink()
    source = read_dataset(folder)
    assert indices(source, source.splits["val"][0])[:20] == [*range(19), 255]


def test_an_unknown_id_of_cityscapes_is_named(tmp_path: Path) -> None:
    source = read_tree("cityscapes", tmp_path)
    sample = source.splits["train"][0]
    mask(sample.label_path, [7, 34], (5, 8))
    with pytest.raises(BadInput, match=r"labelIds\.png: value 34 at row 0, column 1 .* 34 ids of Cityscapes"):
        indices(source, sample)


def test_bdd100k(tmp_path: Path) -> None:
    source = read_tree("bdd100k", tmp_path)
    assert ids(source) == {"train": ["0a0a0b1a-7c39d841"], "val": ["7d06fefd-f7be05a6", "7d128593-0ccfea4c"]}
    assert indices(source, source.splits["train"][0])[:20] == [*range(19), 255]
    assert {(s.sequence, s.time) for of in source.splits.values() for s in of} == {("", 0.0)}
    assert [len(of) for of in read_tree("bdd100k", tmp_path, test="half").splits.values()] == [1, 1, 1]


def test_voc(tmp_path: Path) -> None:
    source = read_tree("voc", tmp_path)
    assert ids(source) == {"train": ["2007_000032", "2007_000039"], "val": ["2007_000033"]}
    assert indices(source, source.splits["val"][0])[:22] == [*range(21), 255]
    assert {s.sequence for of in source.splits.values() for s in of} == {""}
    assert [voc.CLASSES[at].name for at in (0, 1, 11, 15, 20)] == [
        "background", "aeroplane", "diningtable", "person", "tvmonitor",
    ]  # fmt: skip
    assert [voc.CLASSES[at].color for at in (0, 1, 15)] == [(0, 0, 0), (128, 0, 0), (192, 128, 128)]


def test_voc_with_sbd_and_above_its_folder(tmp_path: Path) -> None:
    voc_tree(tmp_path / "VOCdevkit/VOC2012")
    source = read_dataset(tmp_path, settings={"train": "train_aug"})
    assert [(s.image_id, s.label_path.parent.name) for s in source.splits["train"]] == [
        ("2007_000032", "SegmentationClass"),
        ("2008_000002", "SegmentationClassAug"),
    ]
    with pytest.raises(BadInput, match=r"no list trainaug\.txt; it has train, train_aug, val"):
        read_dataset(tmp_path, settings={"train": "trainaug"})
    with pytest.raises(BadInput, match=r"layout\.voc\.train"):
        read_dataset(tmp_path, settings={"train": "../train"})
    (tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").write_text("2007_000033\n2007_1\n")
    with pytest.raises(BadInput, match=r"val\.txt: line 2: '2007_1' is not in"):
        read_dataset(tmp_path)


def test_a2d2_sequences_and_splits(tmp_path: Path) -> None:
    source = read_tree("a2d2", tmp_path)
    assert [(s.image_id, s.sequence, round(s.time, 6)) for s in source.splits["train"]] == [
        ("20180807145028_camera_frontcenter_000000091", "20180807145028_camera_frontcenter", round(91 / 30, 6)),
        ("20180807145028_camera_frontcenter_000000101", "20180807145028_camera_frontcenter", round(101 / 30, 6)),
        ("20180807145028_camera_sideleft_000000091", "20180807145028_camera_sideleft", round(91 / 30, 6)),
    ]
    assert [len(of) for of in source.splits.values()] == [3, 2]
    # One video: the later half of it.
    halves = ids(read_tree("a2d2", tmp_path, test="half"))
    assert halves["val"] == ["20180925112730_camera_frontcenter_000000020"]
    assert halves["test"] == ["20180925112730_camera_frontcenter_000000030"]
    one = read_tree("a2d2", tmp_path, cameras=["cam_side_left"], val=["20180925_112730"])
    assert ids(one) == {"train": ["20180807145028_camera_sideleft_000000091"]}
    with pytest.raises(BadInput, match=r"no scene '2019'.*it has 20180807_145028, 20180925_112730"):
        read_tree("a2d2", tmp_path, val=["2019"])


def test_a2d2_every_colour_in_every_mapping(tmp_path: Path) -> None:
    listed = [(name, text) for name, entry in a2d2.CLASSES.items() for text in entry.colours]
    assert (len(a2d2.CLASSES), len(listed), len({text for _, text in listed})) == (38, 55, 55)
    expected = {
        "original": {name: name for name in a2d2.CLASSES},
        "cityscapes": {
            "Car": "car", "Bicycle": "bicycle", "Pedestrian": "person", "Truck": "truck", "Tractor": "truck",
            "Utility vehicle": "truck", "Small vehicles": "motorcycle", "Traffic signal": "traffic light",
            "Signal corpus": "traffic light", "Traffic sign": "traffic sign", "Sidebars": "fence",
            "Road blocks": "fence", "Grid structure": "fence", "Curbstone": "sidewalk", "Sidewalk": "sidewalk",
            "Non-drivable street": "sidewalk", "Poles": "pole", "Nature object": "vegetation", "Sky": "sky",
            "Buildings": "building",
            **dict.fromkeys(
                ["Speed bumper", "Solid line", "Dashed line", "Zebra crossing", "RD restricted area",
                 "Drivable cobblestone", "Slow drive area", "Painted driv. instr.", "RD normal street"], "road"
            ),
            **dict.fromkeys(
                ["Irrelevant signs", "Obstacles / trash", "Animals", "Electronic traffic", "Parking area", "Ego car",
                 "Traffic guide obj.", "Blurred area", "Rain dirt"], ""
            ),
        },
        "study": {
            "Car": "car", "Bicycle": "bicycle", "Pedestrian": "pedestrian", "Truck": "truck",
            "Traffic signal": "traffic signal", "Traffic sign": "traffic sign", "Nature object": "nature",
            "Sky": "sky", "Buildings": "building", "Small vehicles": "small vehicle",
            "Utility vehicle": "utility vehicle", "Traffic guide obj.": "traffic guide object",
            "Curbstone": "curbstone",
            **dict.fromkeys(["Sidewalk", "Non-drivable street"], "sidewalk"),
            **dict.fromkeys(["Road blocks", "Grid structure"], "barrier"),
            **dict.fromkeys(["Sidebars", "Poles", "Signal corpus"], "pole"),
            **dict.fromkeys(["Solid line", "Dashed line", "Painted driv. instr."], "lane marking"),
            **dict.fromkeys(
                ["RD normal street", "Speed bumper", "Zebra crossing", "RD restricted area", "Drivable cobblestone",
                 "Slow drive area"], "road"
            ),
            **dict.fromkeys(
                ["Irrelevant signs", "Tractor", "Obstacles / trash", "Animals", "Electronic traffic", "Parking area",
                 "Ego car", "Blurred area", "Rain dirt"], "other"
            ),
        },
    }  # fmt: skip
    for mapping, of in expected.items():
        source = read_tree("a2d2", tmp_path, mapping=mapping)
        names = [info.name for info in source.classes.classes]
        got = [names[index] if index != 255 else "" for index in indices(source, source.splits["train"][0])]
        assert got[:55] == [of[name] for name, _ in listed], mapping
        assert len(names) == (38 if mapping == "original" else 19)


def test_a2d2_with_another_class_list_or_colour(tmp_path: Path) -> None:
    source = read_tree("a2d2", tmp_path)
    sample = source.splits["train"][0]
    colours(sample.label_path, [(255, 0, 0), (1, 1, 1)], (8, 8))
    with pytest.raises(BadInput, match=r"colour \(1, 1, 1\) at row 0, column 1 .* 55 colours of A2D2"):
        indices(source, sample)
    path = tmp_path / "set/class_list.json"
    for text, words in (
        ('{"#ff0000": "Bus"}', "#ff0000 is 'Bus', but 'Car 1'"),
        ('{"#010101": "Car 1"}', "'not a colour'"),
        ("[]", "not an object"),
        ("{", "cannot be read"),
    ):
        path.write_text(text)
        with pytest.raises(BadInput, match=rf"class_list\.json: .*{words}"):
            read_tree("a2d2", tmp_path)


def test_mmseg_sub_folders_lists_and_suffixes(tmp_path: Path) -> None:
    source = read_tree("mmseg", tmp_path)
    assert ids(source) == {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    assert indices(source, source.splits["val"][0])[:4] == [0, 1, 2, 255]
    folder = tmp_path / "lists"
    for name in ("a", "b", "c"):
        image(folder / "img_dir" / f"{name}_img.png")
        mask(folder / "ann_dir" / f"{name}_lab.png", [0, 1, 255])
    (folder / "splits").mkdir()
    (folder / "splits/train.txt").write_text("b\na\n")
    (folder / "splits/val.txt").write_text("c")
    (folder / "classes.txt").write_text("one\n")
    given = {"image_suffix": "_img.png", "label_suffix": "_lab.png", "reduce_zero_label": True}
    source = read_dataset(folder, settings=given)
    assert ids(source) == {"train": ["b", "a"], "val": ["c"]}
    assert indices(source, source.splits["train"][0])[:3] == [255, 0, 255]
    mask(folder / "ann_dir/c_lab.png", [2])
    with pytest.raises(BadInput, match=r"value 2 at row 0, column 0 .* 1 classes from 1"):
        indices(source, source.splits["val"][0])
    (folder / "classes.txt").unlink()
    with pytest.raises(BadInput, match="neither"):
        read_dataset(folder, settings=given)


def test_coco_stuff(tmp_path: Path) -> None:
    source = read_tree("coco_stuff", tmp_path)
    assert list(source.splits) == ["train", "val"]
    names = [info.name for info in source.classes.classes]
    got = indices(source, source.splits["train"][0])[:172]
    assert got == [*range(171), 255]
    by_value = dict(zip(coco_stuff.USED, names, strict=True))
    # Numbers from the published list: id - 1.
    assert {value: by_value[value] for value in (0, 9, 12, 89, 91, 148, 168, 181)} == {
        0: "person", 9: "traffic light", 12: "stop sign", 89: "toothbrush", 91: "banner", 148: "road", 168: "tree",
        181: "wood",
    }  # fmt: skip
    unused = [name for value, name in enumerate(coco_stuff.NAMES) if value not in coco_stuff.USED]
    assert unused == [
        "street sign", "hat", "shoe", "eye glasses", "plate", "mirror", "window", "desk", "door", "blender",
        "hair brush",
    ]  # fmt: skip
    raw = read_tree("coco_stuff", tmp_path, ids=182)
    assert (len(raw.classes.classes), raw.labels) == (182, None)
    assert indices(raw, raw.splits["train"][0])[:172] == [*coco_stuff.USED, 255]
    mask(source.splits["val"][0].label_path, [0, 11], (14, 14))
    with pytest.raises(BadInput, match=r"value 11 at row 0, column 1"):
        indices(source, source.splits["val"][0])


def test_coco_stuff_in_other_folders(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    coco_tree(folder)
    (folder / "images").mkdir()
    for split in ("train2017", "val2017"):
        (folder / split).rename(folder / "images" / split)
    (folder / "stuffthingmaps").rename(folder / "stuffthingmaps_trainval2017")
    assert read_dataset(folder).layout == "coco_stuff"


def test_half_of_val_only_where_there_is_no_test(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"test=half cuts a test split from val, but there are 1 images in test"):
        read_tree("camvid", tmp_path, test="half")


def test_a_jpeg_label_map_is_refused(tmp_path: Path) -> None:
    source = read_tree("camvid_original", tmp_path)
    sample = source.splits["train"][0]
    sample.label_path.write_bytes(encode_jpeg(np.zeros((*SHAPE, 3), np.uint8)))
    with pytest.raises(BadInput, match="must be PNG, JPEG changes the colours"):
        indices(source, sample)
