"""The oracle where people answer, or where labels came with the images, on a store that is a dictionary."""

import numpy as np
import pytest

from artefacts import selection
from memory_blobs import served
from services.oracle.compute import answer
from services.oracle.people import answer_of_people
from tessera.errors import BadInput
from tessera.formats import images, manifests, schemas, selections, tables
from tessera.formats.manifests import LabelManifest
from tessera.formats.questions import AnswerColumns, question
from tessera.pb.common_pb2 import AxisValue, JobContext
from tessera.pb.oracle_pb2 import AnswerRequest
from tessera.pb.questions_pb2 import PersonAnswer
from tessera.pb.scorer_pb2 import AskRequest
from tessera.queries.given import raster_to_runs, runs_to_mask
from unit.queries.answer_world import SIZES, answer_request, cut, world

oracle = served("oracle")
scorer = served("scorer")

__all__ = ["world"]


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
