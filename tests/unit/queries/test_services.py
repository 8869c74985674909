"""The compute halves of partitioner and oracle, on a store that is a dictionary."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artefacts import selection
from memory_blobs import MemoryBlobs, served
from services.oracle.compute import answer
from services.oracle.people import answer_of_people
from services.partitioner.compute import partition
from tessera.errors import BadInput
from tessera.formats import images, manifests, schemas, selections, tables
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem, LabelManifest
from tessera.formats.questions import AnswerColumns, question
from tessera.pb.common_pb2 import AxisValue, ImageRange, JobContext
from tessera.pb.oracle_pb2 import AnswerRequest
from tessera.pb.partitioner_pb2 import PartitionRequest
from tessera.pb.questions_pb2 import PersonAnswer
from tessera.pb.scorer_pb2 import AskRequest
from tessera.queries import total
from tessera.queries.given import raster_to_runs, runs_to_mask

oracle = served("oracle")
scorer = served("scorer")
partitioner = served("partitioner")

SIZES = [(10, 12), (10, 12), (9, 7)]


@pytest.fixture
def world():
    store = MemoryBlobs()
    rng = np.random.default_rng(0)
    items, labels = [], {}
    for index, (height, width) in enumerate(SIZES):
        rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        truth = rng.choice(np.array([0, 1, 2, 255], np.uint8), (height, width))
        image = store.write(images.encode_png(rgb), "image/png")
        items.append(ImageItem(f"im{index}", image, width, height, "s", float(index)))
        labels[f"im{index}"] = store.write(images.encode_png(truth), "image/png")
    classes = tuple(ClassInfo(f"c{i}", (i, i, i)) for i in range(3))
    manifest = DatasetManifest("toy", classes, {"train": tuple(items)})
    store.manifest = store.write(manifests.dataset_to_json(manifest), "application/json")
    store.labels = store.write(manifests.labels_to_json(LabelManifest("train", labels)), "application/json")
    store.truth = {key: images.decode_labels(store.objects[ref.sha256], key) for key, ref in labels.items()}
    store.items = items
    return store


def partition_request(world, start=0, end=3, name="grid", parameters='{"cols":2,"rows":2}'):
    return PartitionRequest(
        manifest=world.manifest,
        images=ImageRange(split="train", start=start, end=end),
        partition=AxisValue(name=name, parameters=parameters),
    )


def cut(world, start=0, end=3, name="grid", parameters='{"cols":2,"rows":2}'):
    return partition(partition_request(world, start, end, name, parameters), world)


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


def answer_request(world, chosen, shards, seed=3):
    return AnswerRequest(
        context=JobContext(round=1),
        manifest=world.manifest,
        shards=shards,
        selection=selection(world, chosen),
        labels=world.labels,
        query=AxisValue(name="mask", parameters="{}"),
        oracle=AxisValue(name="simulated", parameters="{}"),
        seed=seed,
    )


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


async def asked_of_people(world, chosen, shards, **more):
    """The table of questions about these regions."""
    request = AskRequest(
        manifest=world.manifest,
        shards=shards,
        selection=selection(world, chosen),
        query=AxisValue(name="mask", parameters="{}"),
        **more,
    )
    response = await scorer.ask(request, world)
    assert response.count == len(chosen)
    return tables.read(schemas.QUESTIONS, world.objects[response.questions.sha256], "questions")


async def test_questions_show_the_region_in_its_image(world):
    chosen = [("im2", 3), ("im0", 0), ("im1", 2)]
    table = await asked_of_people(world, chosen, [cut(world).shard], superpixels=4)
    for rank, (image_id, region) in enumerate(chosen):
        shown = question(table, "k", rank)
        item = next(one for one in world.items if one.image_id == image_id)
        assert (shown.question_id, shown.image_id, shown.region_id) == (f"k.{rank}", image_id, region)
        assert (shown.image.sha256, shown.image_width, shown.image_height) == (
            item.image.sha256,
            item.width,
            item.height,
        )
        assert shown.time == item.time
        box = shown.box
        inside = runs_to_mask(shown.region.counts, box.y1 - box.y0, box.x1 - box.x0)
        assert inside.all(), "a cell of a grid fills its box"
        assert shown.pixels == inside.sum()
        superpixels = images.decode_map(world.objects[shown.superpixels.sha256], "superpixels")
        assert superpixels.shape == inside.shape
        assert set(np.unique(superpixels)) == set(range(superpixels.max() + 1))
        assert not shown.HasField("prediction"), "no model was named"


def reply(rank, who, raster=None, skipped="", seconds=2.0, at=1.0):
    said = PersonAnswer(answer_id=f"{who}-{rank}-answer", page_version="page/1")
    if skipped:
        said.skipped = skipped
    else:
        said.raster.values[:], said.raster.lengths[:] = raster_to_runs(raster)
    return rank, who, said, (seconds, 5, at)


def answers_of(table, *rows):
    columns = AnswerColumns(table)
    for row in rows:
        columns.add(*row)
    return columns.table()


async def test_what_people_said_becomes_the_ledger(world):
    """One region by two people, one skipped, one that nobody saw, one by one person."""
    shards = [cut(world).shard]
    chosen = [("im0", 0), ("im1", 1), ("im2", 2), ("im0", 3)]
    table = await asked_of_people(world, chosen, shards)

    def truth(rank):
        y0, x0, y1, x1 = (int(table[name][rank]) for name in ("y0", "x0", "y1", "x1"))
        return world.truth[chosen[rank][0]][y0:y1, x0:x1]

    other = truth(0).copy()
    other[0, 0] = 0 if other[0, 0] != 0 else 1
    rows = [
        reply(0, "ann", truth(0)),
        reply(0, "bob", other, seconds=3.0, at=9.0),
        reply(1, "ann", skipped="too dark"),
        reply(3, "eve", truth(3)),
    ]
    request = answer_request(world, chosen, shards)
    simulated = tables.read(schemas.LEDGER, world.objects[answer(request, world).ledger.sha256], "ledger")
    request.ClearField("labels")
    request.oracle.name = "human"
    request.answers.CopyFrom(world.write(answers_of(table, *rows)))
    response = await oracle.answer(request, world)
    ledger = tables.read(schemas.PEOPLE_LEDGER, world.objects[response.ledger.sha256], "ledger")
    assert list(zip(ledger["image_id"], ledger["region_id"].tolist(), strict=True)) == [chosen[0], chosen[3]]
    assert ledger["annotator"].tolist() == ["ann+bob", "eve"]
    assert (ledger["measured_seconds"].tolist(), ledger["measured_clicks"].tolist()) == ([5.0, 2.0], [10, 5])
    assert ledger["agreement"].tolist() == pytest.approx([1 - 1 / truth(0).size, -1.0])
    assert ledger["answered_at"].tolist() == [9.0, 1.0]
    # Where two people differ nothing is taught; where they agree it is the truth.
    crop = images.decode_labels(world.objects[ledger["answer_sha256"][0]], "crop")
    expected = truth(0).copy()
    expected[0, 0] = 255
    assert np.array_equal(crop, expected)
    # One person who says the truth costs and teaches what the simulated oracle does; two people cost both.
    for column in ("answer_sha256", "clicks", "clicks_without_undefined", "seconds", "pixels"):
        assert ledger[column][1] == simulated[column][3], column
    assert ledger["clicks"][0] > simulated["clicks"][0]
    assert (response.cost.measured_seconds, response.cost.measured_clicks, response.cost.regions) == (7.0, 15, 2)
    left = tables.read(schemas.PEOPLE_LEDGER, world.objects[response.skipped.sha256], "skipped")
    assert (left["image_id"].tolist(), left["region_id"].tolist(), left["answer_sha256"].tolist()) == (
        ["im1"],
        [1],
        [""],
    )
    # The regions that were asked are those with an answer, ranked anew.
    kept = tables.read(schemas.SELECTION, world.objects[response.selection.sha256], "selection")
    assert kept["rank"].tolist() == [0, 1]
    assert response.selection_sha256 == selections.sha256(kept["image_id"], kept["region_id"])
    # A reader that knows nothing of people reads the same ledger.
    plain = tables.read(schemas.LEDGER, world.objects[response.ledger.sha256], "ledger")
    assert plain["event_id"].tolist() == ledger["event_id"].tolist()


async def test_answers_about_other_regions_are_refused(world):
    shards = [cut(world).shard]
    table = await asked_of_people(world, [("im0", 0)], shards)
    request = answer_request(world, [("im1", 0)], shards)
    request.answers.CopyFrom(world.write(answers_of(table, reply(0, "ann", skipped="why"))))
    with pytest.raises(BadInput, match="about no region of the selection"):
        answer_of_people(request, world)
    request = answer_request(world, [("im0", 0)], shards)
    request.answers.CopyFrom(world.write(answers_of(table, reply(0, "ann", skipped="why"))))
    with pytest.raises(BadInput, match="nobody answered"):
        answer_of_people(request, world)


def imported_request(world, labels, shards, query="mask"):
    return AnswerRequest(
        context=JobContext(round=0),
        manifest=world.manifest,
        shards=shards,
        labels=world.write(manifests.labels_to_json(LabelManifest("train", labels)), "application/json"),
        query=AxisValue(name=query, parameters="{}"),
        oracle=AxisValue(name="imported", parameters="{}"),
        imported=True,
    )


async def test_labels_that_came_with_the_images_are_answers_to_the_pixel_and_free(world):
    shards = [cut(world, 0, 2).shard, cut(world, 2, 3).shard]
    truth = {"im2": world.truth["im2"].copy(), "im0": world.truth["im0"].copy()}
    truth["im0"][:5, :6] = 255  # region 0 of im0 has no labelled pixel
    labels = {key: world.write(images.encode_png(value), "image/png") for key, value in truth.items()}
    response = await oracle.answer(imported_request(world, labels, shards), world)
    ledger = tables.read(schemas.PEOPLE_LEDGER, world.read(response.ledger), "ledger")
    regions = list(zip(ledger["image_id"], ledger["region_id"].tolist(), strict=True))
    assert regions == [("im0", 1), ("im0", 2), ("im0", 3), *(("im2", region) for region in range(4))]
    pasted = {key: np.full(value.shape, 255, np.uint8) for key, value in truth.items()}
    for row, (image_id, _) in enumerate(regions):
        box = tuple(int(ledger[name][row]) for name in ("y0", "x0", "y1", "x1"))
        crop = images.decode_labels(world.objects[ledger["answer_sha256"][row]], "crop")
        inside = crop != 255
        pasted[image_id][box[0] : box[2], box[1] : box[3]][inside] = crop[inside]
        assert list(ledger["classes"][row]) == sorted(set(truth[image_id][box[0] : box[2], box[1] : box[3]].ravel()))
    for key, value in truth.items():
        np.testing.assert_array_equal(pasted[key], value)
    assert set(ledger["annotator"]) == set(ledger["oracle"]) == {"imported"}
    cost = response.cost
    assert (cost.regions, cost.images, cost.clicks, cost.labelling_seconds, cost.measured_seconds) == (7, 2, 0, 0, 0)
    assert cost.pixels == 120 - 30 + 63
    chosen = tables.read(schemas.SELECTION, world.read(response.selection), "selection")
    assert list(zip(chosen["image_id"], chosen["region_id"].tolist(), strict=True)) == regions
    assert response.selection_sha256 == selections.sha256(chosen["image_id"], chosen["region_id"])


async def test_labels_become_sets_of_classes_where_training_reads_those(world):
    labels = {"im1": world.write(images.encode_png(world.truth["im1"]), "image/png")}
    response = await oracle.answer(imported_request(world, labels, [cut(world).shard], "multi_class"), world)
    ledger = tables.read(schemas.PEOPLE_LEDGER, world.read(response.ledger), "ledger")
    assert len(ledger["region_id"]) == 4
    assert set(ledger["answer_sha256"]) == {""}
    assert response.cost.clicks == 0


async def test_labels_without_a_labelled_pixel_are_refused(world):
    empty = np.full(SIZES[0], 255, np.uint8)
    labels = {"im0": world.write(images.encode_png(empty), "image/png")}
    with pytest.raises(BadInput, match="no image of the training pool has a labelled pixel"):
        await oracle.answer(imported_request(world, labels, [cut(world).shard]), world)


async def test_answers_about_whole_images_become_the_labels_of_a_split(world):
    shard = cut(world, name="image", parameters="{}").shard
    request = answer_request(world, [("im1", 0), ("im0", 0)], [shard])
    request.labels_of = "train"
    response = await oracle.answer(request, world)
    made = manifests.labels_from_json(world.read(response.labels))
    assert made.split == "train"
    stored = {key: images.decode_labels(world.objects[ref.sha256], key) for key, ref in made.labels.items()}
    for name in ("im0", "im1"):
        np.testing.assert_array_equal(stored[name], world.truth[name])
    # Nobody answered about it, so it counts for nothing.
    np.testing.assert_array_equal(stored["im2"], np.full(SIZES[2], 255, np.uint8))
