"""Columns that need more than a plain pass, from request to table: trainer, scorer and their networks together."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
import torch

from artefacts import grid_shard
from memory_blobs import MemoryBlobs, served
from services.scorer.passes import pass_seed
from tessera import models
from tessera.errors import BadInput
from tessera.formats import checkpoints, images, manifests, schemas, tables, weights
from tessera.formats.manifests import ClassInfo, DatasetManifest, ImageItem
from tessera.models.discriminators import FeatureDiscriminator
from tessera.models.predictor import Predictor
from tessera.models.resize import resized
from tessera.models.vaal import LatentCritic, pixels
from tessera.pb.common_pb2 import AuxiliaryRef, AxisValue, ModelRef
from tessera.pb.scorer_pb2 import ScoreColumn, ScoreRequest
from tessera.pb.trainer_pb2 import DiscriminateRequest
from tessera.registry import canonical_json

scorer = served("scorer")
trainer = served("trainer")

ARCHITECTURE = AxisValue(
    name="deeplabv3plus_mobilenetv2", parameters=canonical_json({"width": 0.25, "mc_dropout": 0.2})
)
HEIGHT, WIDTH, IMAGES, CLASSES = 48, 64, 6, 4
D = canonical_json({"pool": 2, "epochs": 2, "batch": 4})
V = canonical_json({"size": 32, "width": 4, "latent": 4, "epochs": 2, "batch": 4})


@pytest.fixture(scope="module")
def world():
    torch.set_num_threads(1)
    store = MemoryBlobs()
    rng = np.random.default_rng(0)
    pictures = [np.kron(rng.integers(0, 256, (6, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8) for _ in range(IMAGES)]
    store.pictures = pictures
    store.items = [
        ImageItem(f"im{index}", store.write(images.encode_png(rgb)), WIDTH, HEIGHT, "s", float(index))
        for index, rgb in enumerate(pictures)
    ]
    classes = tuple(ClassInfo(f"c{i}", (i, i, i)) for i in range(CLASSES))
    manifest = DatasetManifest("toy", classes, {"train": tuple(store.items)})
    store.manifest = store.write(manifests.dataset_to_json(manifest))
    network = models.build(ARCHITECTURE.name, ARCHITECTURE.parameters, CLASSES, seed=1).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 64 - 2)
        network.head.classifier.weight.mul_(4)
    store.predictor = Predictor(network.eval())
    stored = store.write(checkpoints.dump_model(network))
    store.model = ModelRef(architecture=ARCHITECTURE, classes=CLASSES, weights=stored)
    return store


def ledger(store, *regions):
    """A ledger of answers that nobody stored: reading one would fail."""
    columns = {}
    for field in schemas.LEDGER:
        blank = "" if str(field.type) == "string" else [0] if "list" in str(field.type) else 0
        columns[field.name] = [blank] * len(regions)
    columns["image_id"] = [image for image, _ in regions]
    columns["region_id"] = [region for _, region in regions]
    columns["answer_sha256"] = ["f" * 64] * len(regions)
    return store.write(tables.write(schemas.LEDGER, columns))


def column(name, score, parameters="{}", aggregate="mean"):
    return ScoreColumn(
        column=name,
        score=AxisValue(name=score, parameters=parameters),
        aggregation=AxisValue(name=aggregate, parameters="{}"),
    )


def discriminate(store, name, parameters, shards, ledgers, model=True, seed=3):
    return DiscriminateRequest(
        manifest=store.manifest,
        ledgers=ledgers,
        shards=shards,
        model=store.model if model else None,
        auxiliary=AxisValue(name=name, parameters=parameters),
        seed=seed,
    )


async def scores(store, shards, columns, auxiliary=(), model=True, seed=9):
    parts = []
    for shard in shards:
        request = ScoreRequest(
            manifest=store.manifest,
            shard=shard,
            columns=columns,
            seed=seed,
            auxiliary=auxiliary,
            model=store.model if model else None,
        )
        made = await scorer.score(request, store)
        parts.append(tables.read_scores(store.objects[made.scores.sha256]))
    return tables.concat(parts)


def softmax(logits):
    full = torch.nn.functional.interpolate(torch.from_numpy(logits)[None], size=(HEIGHT, WIDTH), mode="bilinear")
    return torch.softmax(full, dim=1)[0]


def entropy(p):
    return -(p * p.clamp(min=1e-30).log()).sum(dim=0)


def by_region(values):
    return values.reshape(4, 12, 4, 16).mean(dim=(1, 3)).flatten().numpy()


async def test_equal_and_bald_are_those_of_the_model_on_full_resolution(world):
    columns = [column("equal", "equal"), column("bald", "bald", '{"passes":4}'), column("entropy", "entropy")]
    got = await scores(world, [grid_shard(world, 0, IMAGES)], columns)
    rgb, rows = world.pictures[3], slice(48, 64)
    plain = softmax(world.predictor.logits(rgb))
    mirrored = softmax(world.predictor.logits(np.ascontiguousarray(rgb[:, ::-1])))
    expected = by_region(entropy(plain) + entropy(mirrored).flip(1))
    np.testing.assert_allclose(got["equal"][rows], expected, rtol=1e-4)
    low, high = world.predictor.image_maps(rgb)
    passes = world.predictor.mc_logits_of(low, high, [pass_seed(9, "im3", index) for index in range(4)])
    p = torch.stack([softmax(one) for one in passes])
    expected = by_region(entropy(p.mean(dim=0)) - torch.stack([entropy(one) for one in p]).mean(dim=0))
    np.testing.assert_allclose(got["bald"][rows], expected, rtol=2e-3, atol=1e-5)
    assert got["bald"].min() > 0
    np.testing.assert_allclose(got["entropy"][rows], by_region(entropy(plain)), rtol=1e-4)


async def test_networks_learn_the_same_from_shards_cut_otherwise_and_see_no_label(world):
    asked = [("im0", 0), ("im0", 5), ("im3", 2), ("im5", 15)]
    shards = [grid_shard(world, 0, 2), grid_shard(world, 2, 6)]
    for name, parameters in (("discriminator", D), ("vaal", V)):
        request = discriminate(world, name, parameters, shards, [ledger(world, *asked)], model=name != "vaal")
        first = await trainer.discriminate(request, world)
        read = set(world.reads)
        tables_read = {shard.regions.sha256 for shard in shards} | {ref.sha256 for ref in request.ledgers}
        pictures = {item.image.sha256 for item in world.items}
        model = {world.model.weights.sha256} if name != "vaal" else set()
        assert read <= tables_read | pictures | model | {world.manifest.sha256}
        other = discriminate(
            world, name, parameters, [grid_shard(world, 3, 6), grid_shard(world, 0, 3)],
            [ledger(world, *asked[2:]), ledger(world, *asked[:2])],
        )  # fmt: skip
        assert (await trainer.discriminate(other, world)).auxiliary == first.auxiliary
        assert first.auxiliary.auxiliary == request.auxiliary
        other.seed += 1
        assert (await trainer.discriminate(other, world)).auxiliary != first.auxiliary
        history = tables.read(schemas.AUXILIARY_HISTORY, world.objects[first.history.sha256], "history")
        assert history["epoch"].tolist() == [1, 2]
        assert np.isfinite(history["discriminator_loss"]).all()
        assert np.isfinite(history["reconstruction"]).all() == (name == "vaal")
        assert world.notes[-1][0] == 1.0


@pytest.fixture(scope="module")
def trained(world):
    answered = [ledger(world, ("im0", 0), ("im0", 5), ("im3", 2))]
    shards = [grid_shard(world, 0, IMAGES)]
    return [
        asyncio.run(trainer.discriminate(discriminate(world, name, parameters, shards, answered), world)).auxiliary
        for name, parameters in (("discriminator", D), ("vaal", V))
    ]


COLUMNS = [
    column("labeledness_mean", "labeledness", D),
    column("vaal_mean", "vaal", V),
    column("bald_mean", "bald", '{"passes":3}'),
    column("equal_mean", "equal"),
    column("entropy_mean", "entropy"),
    column("random_mean", "random"),
]


async def test_shards_and_columns_change_no_bit(world, trained):
    whole = await scores(world, [grid_shard(world, 0, IMAGES)], COLUMNS, trained)
    parts = await scores(
        world, [grid_shard(world, 0, 1), grid_shard(world, 1, 4), grid_shard(world, 4, 6)], COLUMNS, trained
    )
    assert list(whole) == ["image_id", "region_id", "pixels", *(each.column for each in COLUMNS)]
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)
    for each in COLUMNS:
        alone = await scores(world, [grid_shard(world, 0, IMAGES)], [each], trained)
        assert np.array_equal(alone[each.column], whole[each.column])
    other = await scores(world, [grid_shard(world, 0, IMAGES)], COLUMNS, trained, seed=10)
    changed = {name for name in whole if not np.array_equal(whole[name], other[name])}
    assert changed == {"bald_mean", "random_mean"}


async def test_labeledness_is_the_discriminators_probability_on_normalised_features(world, trained):
    got = await scores(world, [grid_shard(world, 0, IMAGES, 1, 1)], [COLUMNS[0]], trained)
    network = FeatureDiscriminator(64)
    state = weights.load(world.objects[trained[0].weights.sha256], "")
    network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in state.items()})
    for index, rgb in enumerate(world.pictures):
        features = torch.from_numpy(world.predictor.taps(rgb, ("decoder",))["decoder"])
        unit = features / features.norm(dim=0).clamp(min=1e-12)
        blocks = unit.reshape(64, 6, 2, 8, 2).mean(dim=(2, 4))  # pool 2 of a 12×16 map
        with torch.no_grad():
            expected = torch.sigmoid(network(blocks[None]))
        assert got["labeledness_mean"][index] == pytest.approx(float(expected), rel=1e-4)
    assert ((got["labeledness_mean"] > 0) & (got["labeledness_mean"] < 1)).all()


async def test_vaal_is_the_critics_probability_and_needs_neither_model_nor_labels(world, trained):
    got = await scores(world, [grid_shard(world, 2, 4)], [COLUMNS[1]], trained[1:], model=False)
    assert world.model.weights.sha256 not in world.reads
    network = LatentCritic(32, 4, 4).eval()
    state = weights.load(world.objects[trained[1].weights.sha256], "")
    network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in state.items()})
    crop = resized(world.pictures[2], [(12, 16, 24, 32)], 32)  # region 5 of 4×4
    with torch.no_grad():
        expected = float(torch.sigmoid(network(pixels(torch.from_numpy(crop)))))
    assert got["vaal_mean"][5] == pytest.approx(expected, rel=1e-4)


async def test_what_is_missing_is_named(world, trained):
    shards = [grid_shard(world, 0, 2)]
    with pytest.raises(BadInput, match=r"column labeledness_mean needs network discriminator.*has none"):
        await scores(world, shards, COLUMNS[:1])
    with pytest.raises(BadInput, match="column vaal_mean needs network vaal with parameters"):
        await scores(world, shards, [column("vaal_mean", "vaal", '{"size":64}')], trained)
    with pytest.raises(BadInput, match="model: missing"):
        await scores(world, shards, COLUMNS[:1], trained, model=False)
    swapped = [AuxiliaryRef(auxiliary=trained[0].auxiliary, weights=trained[1].weights)]
    with pytest.raises(BadInput, match="auxiliary discriminator: the tensors are not those of this network"):
        await scores(world, shards, COLUMNS[:1], swapped)
    other = canonical_json({**json.loads(D), "tap": "aspp", "pool": 1})
    network = await trainer.discriminate(
        discriminate(world, "discriminator", canonical_json({**json.loads(other), "tap": "backbone"}), shards,
                     [ledger(world, ("im0", 0))]), world
    )  # fmt: skip
    made = AuxiliaryRef(auxiliary=AxisValue(name="discriminator", parameters=other), weights=network.auxiliary.weights)
    with pytest.raises(BadInput, match="made for 80 channels, the network has 64"):
        await scores(world, shards, [column("labeledness_mean", "labeledness", other)], [made])


async def test_the_trainer_names_what_is_wrong(world):
    shards = [grid_shard(world, 0, 2)]
    cases = [
        (discriminate(world, "vaal", V, shards, []), "none is labelled"),
        (discriminate(world, "vaal", V, shards, [ledger(world, ("im9", 0))]), "region 0 of image im9 is not in"),
        (discriminate(world, "vaal", V, [], [ledger(world, ("im0", 0))]), "0 splits"),
        (discriminate(world, "discriminator", D, shards, [ledger(world, ("im0", 0))], model=False), "name one"),
        (discriminate(world, "discriminater", D, shards, [ledger(world, ("im0", 0))]), "did you mean discriminator"),
        (discriminate(world, "vaal", '{"size":50}', shards, [ledger(world, ("im0", 0))]), "vaal.size"),
    ]
    for request, message in cases:
        with pytest.raises(BadInput, match=message):
            await trainer.discriminate(request, world)
