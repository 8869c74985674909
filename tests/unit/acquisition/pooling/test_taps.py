"""Features from inside the head, each against its definition at full resolution in torch."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tessera import models
from tessera.acquisition import FEATURES
from tessera.acquisition.interfaces import RegionImage
from tessera.acquisition.pooling import weighted_means
from tessera.acquisition.pooling.random_projection import signs, sketch
from tessera.acquisition.scoring.probabilities import probability_strips
from tessera.errors import BadInput
from tessera.models.predictor import Predictor

CLASSES, SHAPE = 5, (52, 70)


class Maps:
    """A "network" whose maps are given."""

    def __init__(self, shape: tuple[int, int] = SHAPE, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        low, deep = (-(-shape[0] // 4), -(-shape[1] // 4)), (-(-shape[0] // 16), -(-shape[1] // 16))
        self.made = {
            "aspp": np.maximum(rng.normal(size=(16, *deep)), 0),
            "decoder": np.maximum(rng.normal(size=(12, *low)), 0),
            "logits": 3 * rng.normal(size=(CLASSES, *low)),
        }
        vectors = rng.normal(size=(8, *low))
        self.made["projection"] = vectors / np.linalg.norm(vectors, axis=0)
        self.made = {name: value.astype(np.float32) for name, value in self.made.items()}

    def taps(self, rgb: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        return {name: self.made[name] for name in names}

    def full(self, name: str, shape: tuple[int, int] = SHAPE) -> np.ndarray:
        """Upsampled to full size, float64."""
        given_map = torch.from_numpy(self.made[name].astype(np.float64))[None]
        return F.interpolate(given_map, size=shape, mode="bilinear", align_corners=False)[0].numpy()


def blobs(shape: tuple[int, int] = SHAPE, regions: int = 7, seed: int = 0) -> RegionImage:
    """An image whose regions are the pixels nearest to random points: convex, of uneven size."""
    rng = np.random.default_rng(seed)
    points = rng.random((regions, 2)) * shape
    y, x = np.indices(shape)
    labels = ((y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2).argmin(axis=-1).astype(np.int32)
    labels = np.unique(labels, return_inverse=True)[1].reshape(shape).astype(np.int32)
    ids = np.arange(labels.max() + 1)
    boxes = [
        [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        for rows, columns in (np.nonzero(labels == region) for region in ids)
    ]
    order = rng.permutation(ids)
    rgb = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    return RegionImage(rgb, order.astype(np.int32), np.array(boxes, np.int32)[order], labels)


def describe(name: str, image: RegionImage, model: Maps | None = None, **params: object) -> np.ndarray:
    function = FEATURES.entry(name).function
    return function(model or Maps(image.rgb.shape[:2]), image, FEATURES.parameters(name, params))


def close(got: np.ndarray, expected: object) -> None:
    """Within 1e-5 of the largest value of its row."""
    reference = np.asarray(expected)
    assert got.dtype == np.float32
    scale = np.abs(reference).reshape(len(reference), -1).max(axis=1)
    assert (np.abs(got - reference).reshape(len(got), -1).max(axis=1) <= 1e-5 * scale + 1e-12).all()


def close_gradients(got: np.ndarray, image: RegionImage, model: Maps) -> None:
    """Within 2e-6 of the largest mean of (p + onehot) ⊗ |h| of the row, whose difference is the gradient.

    Where the network is sure, p − 1 cancels: p is float32, and its rounding stays however small the row's values are.
    """
    expected, summands = (part.reshape(len(got), -1) for part in gradients(image, model))
    assert got.dtype == np.float32
    assert (np.abs(got - expected).max(axis=1) <= 2e-6 * summands.max(axis=1)).all()


def means(full: np.ndarray, image: RegionImage) -> list[np.ndarray]:
    return [full[:, image.region_map == region].mean(axis=1) for region in image.region_ids]


@pytest.mark.parametrize("shape", [SHAPE, (17, 90), (64, 64)])
@pytest.mark.parametrize("name", ["aspp", "decoder", "projection"])
def test_means_equal_upsampling_first(name, shape):
    image = blobs(shape)
    close(describe(name, image), means(Maps(shape).full(name, shape), image))


def test_renormalised_vectors_have_length_one_at_every_pixel():
    image, model = blobs(), Maps()
    full = model.full("projection")
    lengths = np.linalg.norm(full, axis=0)
    assert lengths.min() < 0.9  # interpolation does shorten them
    close(describe("projection", image, renormalise=True), means(full / lengths, image))
    np.testing.assert_allclose(weighted_means.scales(model.made["projection"], SHAPE), 1 / lengths, rtol=1e-5)


def test_a_pixel_without_direction_adds_nothing():
    image, model = blobs(), Maps()
    model.made["projection"] = np.zeros_like(model.made["projection"])
    assert (describe("projection", image, model, renormalise=True) == 0).all()


def gradients(image: RegionImage, model: Maps) -> tuple[np.ndarray, np.ndarray]:
    """(n, C, D) by the definition: softmax, one-hot of the arg max and the outer product of every pixel.

    And the same of the sum of softmax and one-hot and of the features' absolute values.
    """
    shape = image.rgb.shape[:2]
    logits, inputs = model.full("logits", shape), model.full("decoder", shape)
    p = torch.softmax(torch.from_numpy(logits), dim=0).numpy()
    onehot = np.eye(CLASSES)[logits.argmax(axis=0)].transpose(2, 0, 1)
    outer = np.einsum("schw,sdhw->scdhw", [p - onehot, p + onehot], [inputs, np.abs(inputs)])
    rows = [outer[:, :, :, image.region_map == region].mean(axis=3) for region in image.region_ids]
    difference, total = np.stack(rows, axis=1)
    return difference, total


@pytest.mark.parametrize("shape", [SHAPE, (17, 90)])
def test_badge_is_the_mean_outer_product(shape):
    image = blobs(shape)
    model = Maps(shape)
    close_gradients(describe("badge", image, model), image, model)


def test_badge_is_the_gradient_of_the_classifier():
    image, model = blobs(regions=3), Maps()
    weight = torch.randn(CLASSES, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    hidden = torch.from_numpy(model.made["decoder"].astype(np.float64))
    logits = torch.einsum("cd,dhw->chw", weight, hidden)
    model.made["logits"] = logits.numpy().astype(np.float32)
    got = describe("badge", image, model).reshape(len(image.region_ids), CLASSES, 12)
    for row, region in enumerate(image.region_ids):
        weight.requires_grad_(True)
        full = F.interpolate(torch.einsum("cd,dhw->chw", weight, hidden)[None], SHAPE, mode="bilinear")
        inside = torch.from_numpy(image.region_map == region)
        loss = F.cross_entropy(full[0][:, inside].T, full[0].argmax(0)[inside])
        (gradient,) = torch.autograd.grad(loss, weight)
        np.testing.assert_allclose(got[row], gradient.numpy(), atol=2e-5 * float(gradient.abs().max()))


def test_badge_in_parts_is_badge_at_once(monkeypatch):
    image = blobs(regions=20)
    whole = describe("badge", image)
    monkeypatch.setattr(weighted_means, "_MOST_WEIGHTS", 200 * CLASSES)
    assert np.array_equal(describe("badge", image), whole)


def test_a_sketch_is_seeded_and_keeps_inner_products():
    image = blobs(regions=12)
    whole = describe("badge", image)
    short = describe("badge", image, sketch=4096)
    products = whole @ whole.T
    error = np.abs(short @ short.T - products)
    lengths = np.linalg.norm(whole, axis=1)
    assert (error <= 6 / np.sqrt(4096) * lengths[:, None] * lengths).all()
    assert np.array_equal(short, describe("badge", image, sketch=4096))
    assert not np.array_equal(short, describe("badge", image, sketch=4096, sketch_seed=1))
    np.testing.assert_allclose(short, whole.astype(float) @ signs(60, 4096, 0) / 64, rtol=1e-5, atol=1e-7)
    assert set(np.unique(signs(60, 16, 3))) == {-1, 1}
    assert np.array_equal(sketch(whole[5:6], 100, 2), sketch(whole, 100, 2)[5:6])


@pytest.mark.parametrize("of", ["probabilities", "classes", "both"])
def test_softmax_histogram(of):
    image, model = blobs(), Maps()
    logits = model.full("logits")
    p = torch.softmax(torch.from_numpy(logits), dim=0).numpy()
    shares = np.eye(CLASSES)[logits.argmax(axis=0)].transpose(2, 0, 1)
    expected = {"probabilities": means(p, image), "classes": means(shares, image)}
    expected["both"] = np.concatenate([expected["probabilities"], expected["classes"]], axis=1)
    close(describe("softmax_histogram", image, model, of=of), expected[of])


def test_probability_strips_cover_the_image(monkeypatch):
    monkeypatch.setattr("tessera.acquisition.scoring.probabilities.STRIP_BYTES", 8 * CLASSES * SHAPE[1] * 5)
    logits = Maps().full("logits")
    strips = list(probability_strips(Maps().made["logits"], SHAPE))
    assert [first for first, _, _ in strips] == list(range(0, SHAPE[0], 5))
    p = np.concatenate([part for _, part, _ in strips], axis=1)
    np.testing.assert_allclose(p, torch.softmax(torch.from_numpy(logits), dim=0).numpy(), atol=2e-5)
    assert np.array_equal(np.concatenate([part for *_, part in strips]), logits.argmax(axis=0))


def test_a_grid_of_a_whole_image_is_the_core_set_vector():
    rgb = np.zeros((*SHAPE, 3), np.uint8)
    image = RegionImage(rgb, np.zeros(1, np.int32), np.array([[0, 0, *SHAPE]], np.int32), np.zeros(SHAPE, np.int32))
    full = Maps().full("aspp")
    halves = [(slice(0, 26), slice(0, 35)), (slice(0, 26), slice(35, 70))]
    halves += [(slice(26, 52), slice(0, 35)), (slice(26, 52), slice(35, 70))]
    expected = np.concatenate([full[:, rows, columns].mean(axis=(1, 2)) for rows, columns in halves])[None]
    close(describe("aspp", image, grid=(2, 2)), expected)


def test_a_grid_on_any_region_and_cells_it_does_not_reach():
    labels = np.zeros(SHAPE, np.int32)
    labels[10:20, 10:20] = 1
    labels[10:15, 10:15] = 0  # the region is an L: its first cell is another region's
    image = RegionImage(
        np.zeros((*SHAPE, 3), np.uint8), np.array([1], np.int32), np.array([[10, 10, 20, 20]], np.int32), labels
    )
    full = Maps().full("aspp")
    cells = [full[:, 10:15, 15:20], full[:, 15:20, 10:15], full[:, 15:20, 15:20]]
    whole = full[:, labels == 1].mean(axis=1)
    close(describe("aspp", image, grid=(2, 2)), np.concatenate([whole, *(c.mean(axis=(1, 2)) for c in cells)])[None])


@settings(deadline=None, max_examples=15)
@example(height=5, width=5, regions=7, seed=334)  # a region of one pixel that the network is sure of
@given(height=st.integers(1, 40), width=st.integers(1, 40), regions=st.integers(1, 12), seed=st.integers(0, 1000))
def test_any_size_and_any_regions(height, width, regions, seed):
    image = blobs((height, width), regions, seed)
    model = Maps((height, width), seed)
    close_gradients(describe("badge", image, model), image, model)
    full = model.full("projection", (height, width))
    close(describe("projection", image, model, renormalise=True), means(full / np.linalg.norm(full, axis=0), image))


@pytest.mark.parametrize("name", ["aspp", "decoder", "projection", "badge", "softmax_histogram"])
def test_what_is_missing_is_named(name):
    image = blobs()
    entry = FEATURES.entry(name)
    assert entry.traits.needs_head
    assert entry.traits.needs_maps(FEATURES.parameters(name, {}))
    without = RegionImage(image.rgb, image.region_ids, image.boxes)
    with pytest.raises(BadInput, match="need the region maps"):
        describe(name, without)
    with pytest.raises(BadInput, match="partition the data set again"):
        describe(name, RegionImage(image.rgb[1:], image.region_ids, image.boxes, image.region_map), Maps())
    with pytest.raises(BadInput, match="region 99 has no pixel"):
        describe(name, RegionImage(image.rgb, np.array([0, 99], np.int32), image.boxes[:2], image.region_map))
    alone = RegionImage(image.rgb, image.region_ids[2:3], image.boxes[2:3], image.region_map)
    assert np.array_equal(describe(name, alone)[0], describe(name, image)[2])


def network(**params: object) -> torch.nn.Module:
    made = models.build("deeplabv3plus_mobilenetv2", json.dumps({"width": 0.25, **params}), CLASSES, seed=1)
    generator = torch.Generator().manual_seed(0)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return made.eval()


def test_taps_are_the_networks_own_maps():
    model = network(projection_head=8)
    predictor = Predictor(model, dtype=torch.float32)
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    taps = predictor.taps(rgb, ("backbone", "aspp", "decoder", "logits", "projection"))
    seen: dict[str, torch.Tensor] = {}
    model.head.aspp.register_forward_hook(lambda _m, _i, out: seen.update(aspp=out))
    model.head.classifier.register_forward_hook(lambda _m, given, out: seen.update(decoder=given[0], logits=out))
    with torch.inference_mode():
        mean = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
        scale = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
        low, seen["backbone"] = model.features(((torch.from_numpy(rgb).permute(2, 0, 1) / 255 - mean) / scale)[None])
        model.head(low, seen["backbone"])
        seen["projection"] = F.normalize(model.head.projection(seen["decoder"]), dim=1)
    for name, found in taps.items():
        expected = seen[name][0].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max(), err_msg=name)
    np.testing.assert_allclose(np.linalg.norm(taps["projection"], axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(taps["logits"], predictor.logits(rgb))
    assert list(predictor.taps(rgb, ("aspp",))) == ["aspp"]


def test_a_network_without_a_map_says_so():
    predictor = Predictor(network(), dtype=torch.float32)
    rgb = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(BadInput, match=r"no projection map; set model\.projection_head"):
        predictor.taps(rgb, ("projection",))
    with pytest.raises(BadInput, match=r"set model\.last_convolution"):
        predictor.taps(rgb, ("widened",))


def test_optional_parts_change_no_other_weight():
    heads = [network(**params).head for params in ({}, {"projection_head": 8})]
    for head in heads:
        torch.manual_seed(3)
        head.reset_parameters()
    plain, more = (head.state_dict() for head in heads)
    assert {key.split(".")[0] for key in set(more) - set(plain)} == {"projection"}
    assert all(torch.equal(value, more[key]) for key, value in plain.items())
    wide, usual = (network(last_convolution=wanted).state_dict() for wanted in (True, False))
    assert wide["backbone.features.18.0.weight"].shape[0] == 1280
    assert {key for key in wide if key not in usual} == {key for key in wide if key.startswith("backbone.features.18.")}


def test_the_last_convolution_describes_crops_and_regions():
    predictor = Predictor(network(last_convolution=True), dtype=torch.float32)
    image = blobs((48, 64), 3)
    rows = []
    for y0, x0, y1, x1 in image.boxes.tolist():
        _, high = predictor.maps(torch.from_numpy(image.rgb[y0:y1, x0:x1][None].copy()))
        rows.append(predictor.widened(high)[0].numpy().mean(axis=(1, 2)))
    function = FEATURES.entry("backbone").function
    crops = function(predictor, image, FEATURES.parameters("backbone", {"layer": "last_convolution"}))
    np.testing.assert_allclose(crops, rows, rtol=1e-5, atol=1e-6)
    params = FEATURES.parameters("backbone", {"layer": "last_convolution", "context": "image"})
    assert function(predictor, image, params).shape == (3, 1280)
