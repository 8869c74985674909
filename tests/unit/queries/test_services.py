"""The compute halves of partitioner and oracle, on a store that is a dictionary."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memory_blobs import served
from services.oracle.compute import answer
from tessera.errors import BadInput
from tessera.formats import images, manifests, schemas, selections, tables
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem, LabelManifest
from tessera.queries import total
from unit.queries.answer_world import SIZES, answer_request, cut, partition_request, world

oracle = served("oracle")
partitioner = served("partitioner")

__all__ = ["world"]


def test_partition_tables_describe_the_maps(world):
    response = cut(world)
    assert response.pixel_count == sum(h * w for h, w in SIZES)
    assert response.shard.region_count == 12
    assert not {item.image.sha256 for item in world.items} & set(world.reads), "a grid needs no pixels"
    regions = tables.read(schemas.REGIONS, world.read(response.shard.regions), "regions")
    maps = tables.read(schemas.MAPS, world.read(response.shard.maps), "maps")
    assert list(maps["image_id"]) == ["im0", "im1", "im2"]
    assert maps["sha256"][0] == maps["sha256"][1] != maps["sha256"][2], "images of one size share one map"
    for row in range(12):
        which = int(str(regions["image_id"][row])[2:])
        stored = images.decode_map(world.objects[maps["sha256"][which]], "map")
        assert stored.shape == SIZES[which]
        ys, xs = np.nonzero(stored == regions["region_id"][row])
        assert regions["pixels"][row] == len(ys)
        found = [int(regions[name][row]) for name in ("y0", "x0", "y1", "x1")]
        assert found == [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]


def test_more_than_256_regions_use_16_bits(world):
    response = cut(world, 0, 1, "grid", '{"height":1,"width":1}')
    assert response.shard.region_count == 120
    big = ImageItem("big", world.items[0].image, 40, 40, "s", 0.0)
    manifest = DatasetManifest("toy", (ClassInfo("c", (0, 0, 0)),), {"train": (big,)})
    world.manifest = world.write(manifests.dataset_to_json(manifest), "application/json")
    response = cut(world, 0, 1, "grid", '{"height":1,"width":1}')
    maps = tables.read(schemas.MAPS, world.read(response.shard.maps), "maps")
    stored = images.decode_map(world.objects[maps["sha256"][0]], "map")
    assert stored.ravel().tolist() == list(range(1600))


def ask_all(world, chosen, shards):
    response = answer(answer_request(world, chosen, shards), world)
    return response, tables.read(schemas.LEDGER, world.read(response.ledger), "ledger")


def test_answers_paste_back_to_the_truth(world):
    shards = [cut(world, 0, 2).shard, cut(world, 2, 3).shard]
    chosen = [("im2", 3), ("im0", 0), ("im2", 1), ("im1", 2)]
    response, ledger = ask_all(world, chosen, shards)
    assert list(zip(ledger["image_id"], ledger["region_id"].tolist(), strict=True)) == chosen
    assert response.cost == total(ledger)
    assert (response.cost.regions, response.cost.images) == (4, 3)
    for row, (image_id, _) in enumerate(chosen):
        y0, x0, y1, x1 = (int(ledger[name][row]) for name in ("y0", "x0", "y1", "x1"))
        crop = images.decode_labels(world.objects[ledger["answer_sha256"][row]], "crop")
        assert (crop == world.truth[image_id][y0:y1, x0:x1]).all()
    assert set(ledger["round"].tolist()) == {1}


def test_answering_twice_is_the_same_ledger_and_other_regions_do_not_matter(world):
    shards = [cut(world).shard]
    first, ledger = ask_all(world, [("im0", 0), ("im1", 1)], shards)
    again, _ = ask_all(world, [("im0", 0), ("im1", 1)], shards)
    assert first == again
    _, alone = ask_all(world, [("im1", 1)], shards)
    assert alone["event_id"][0] == ledger["event_id"][1]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [([("im9", 0)], "im9"), ([("im0", 4)], "region 4 of image im0 does not exist")],
)
def test_questions_about_nothing_are_refused(world, chosen, message):
    shards = [cut(world).shard]
    with pytest.raises(BadInput, match=message):
        ask_all(world, chosen, shards)


def test_labels_of_another_size_or_class_are_refused(world):
    shards = [cut(world).shard]
    for wrong, message in ((np.zeros((10, 11), np.uint8), "im0"), (np.full((10, 12), 7, np.uint8), "7")):
        refs = {"im0": world.write(images.encode_png(wrong), "image/png")}
        world.labels = world.write(manifests.labels_to_json(LabelManifest("train", refs)), "application/json")
        with pytest.raises(BadInput, match=message):
            ask_all(world, [("im0", 0)], shards)


async def test_handlers_name_exactly_what_the_computation_reads(world):
    response = await partitioner.partition(partition_request(world), world)
    assert response == cut(world)
    request = answer_request(world, [("im2", 0)], [response.shard])
    answered = await oracle.answer(request, world)
    assert answered == answer(request, world)
    labels = manifests.labels_from_json(world.objects[world.labels.sha256]).labels
    assert labels["im2"].sha256 in world.reads
    assert labels["im0"].sha256 not in world.reads, "labels that were not asked for stay unread"


def whole(world, name="mask", parameters="{}", budget=None, seed=3):
    """Ask about every region in an order that jumps between images."""
    shards = [cut(world, 0, 2).shard, cut(world, 2, 3).shard]
    chosen = [(f"im{image}", region) for region in range(4) for image in (2, 0, 1)]
    request = answer_request(world, chosen, shards, seed)
    request.query.name, request.query.parameters = name, parameters
    if budget is not None:
        request.budget.unit, request.budget.amount = budget
    response = answer(request, world)
    return chosen, response, tables.read(schemas.LEDGER, world.read(response.ledger), "ledger")


def test_each_image_is_decoded_once_and_rows_stay_in_rank_order(world):
    world.reads.clear()
    chosen, _, ledger = whole(world)
    assert list(zip(ledger["image_id"], ledger["region_id"].tolist(), strict=True)) == chosen
    labels = manifests.labels_from_json(world.objects[world.labels.sha256]).labels
    counts = [world.reads.count(ref.sha256) for ref in labels.values()]
    assert counts == [1, 1, 1]


@pytest.mark.parametrize("query", ["mask", "multi_class", "dominant", "pixel", "polygon_in_patch"])
def test_an_answer_does_not_depend_on_what_else_is_asked_or_in_which_order(world, query):
    _, _, ledger = whole(world, query)
    shards = [cut(world, 0, 3).shard]
    request = answer_request(world, [("im1", 2), ("im0", 1)], shards)
    request.query.name = query
    alone = tables.read(schemas.LEDGER, world.read(answer(request, world).ledger), "ledger")
    for row, where in enumerate([("im1", 2), ("im0", 1)]):
        other = list(zip(ledger["image_id"], ledger["region_id"].tolist(), strict=True)).index(where)
        for name in ("event_id", "clicks", "clicks_without_undefined", "seconds", "pixels", "answer_sha256", "classes"):
            assert alone[name][row] == ledger[name][other], name


@pytest.mark.parametrize(("unit", "column"), [("clicks", "clicks"), ("seconds", "seconds"), ("pixels", "pixels")])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.7, 1.0, 5.0])
def test_the_ranking_is_cut_behind_the_answer_that_reaches_the_budget(world, unit, column, share):
    chosen, everything, ledger = whole(world, "multi_class")
    prices = ledger[column].astype(float)
    amount = share * prices.sum()
    _, response, asked = whole(world, "multi_class", budget=(unit, amount))
    expected = next((n for n in range(1, 13) if prices[:n].sum() >= amount * (1 - 1e-6)), 12)
    assert list(zip(asked["image_id"], asked["region_id"].tolist(), strict=True)) == chosen[:expected]
    assert response.cost == total(asked)
    table = tables.read(schemas.SELECTION, world.read(response.selection), "selection")
    assert list(zip(table["image_id"], table["region_id"].tolist(), strict=True)) == chosen[:expected]
    assert table["rank"].tolist() == list(range(expected))
    assert response.selection_sha256 == selections.sha256(table["image_id"], table["region_id"])
    assert not everything.HasField("selection"), "without a budget the selection is what was asked"


def test_answers_that_were_not_asked_leave_no_object(world):
    before = set(world.objects)
    whole(world, budget=("clicks", 1))
    kinds = [world.objects[key][:4] for key in set(world.objects) - before]
    assert sum(kind == b"\x89PNG" for kind in kinds) - 3 <= 1, "region maps aside, one answer"


@pytest.mark.parametrize(
    ("budget", "message"), [(("regions", 3), "not priced per answer"), (("clicks", 0), "positive")]
)
def test_a_budget_without_a_price_is_refused(world, budget, message):
    with pytest.raises(BadInput, match=message):
        whole(world, budget=budget)


def test_ledgers_of_earlier_versions_are_read(world):
    _, response, ledger = whole(world, "dominant")
    names = [name for name in schemas.LEDGER.names if name not in schemas.ADDED]
    sink = pa.BufferOutputStream()
    old = pq.read_table(pa.BufferReader(world.read(response.ledger))).select(names)
    pq.write_table(old, sink)
    read = tables.read(schemas.LEDGER, sink.getvalue().to_pybytes(), "ledger")
    assert list(read) == schemas.LEDGER.names
    assert list(read["event_id"]) == list(ledger["event_id"])
    assert set(read["map_sha256"]) == {""}
    assert set(ledger["map_sha256"]) != {""}
    sink = pa.BufferOutputStream()
    pq.write_table(pq.read_table(pa.BufferReader(world.read(response.ledger))).drop(["map_sha256"]), sink)
    with pytest.raises(BadInput, match="map_sha256"):
        tables.read(schemas.LEDGER, sink.getvalue().to_pybytes(), "ledger")
