"""Kept backbone maps: same logits bit for bit, kept for a shared backbone only, within their bound."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tessera import models
from tessera.formats.predictors import BackboneMaps
from tessera.models.predictor import Predictor
from tessera.pb.common_pb2 import ObjectRef

pytestmark = pytest.mark.usefixtures("one_thread")


def network(head: int, backbone: int = 0) -> Predictor:
    made = models.build("deeplabv3plus_mobilenetv2", '{"width":0.25}', 4, seed=backbone)
    torch.manual_seed(head)
    made.head.reset_parameters()
    return Predictor(made.eval())


def image(number: int) -> tuple[ObjectRef, np.ndarray]:
    rgb = np.random.default_rng(number).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    return ObjectRef(sha256=f"{number:064x}"), rgb


def test_logits_are_those_of_the_network_and_the_backbone_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, calls = BackboneMaps(), []
    plain = Predictor.image_maps
    monkeypatch.setattr(Predictor, "image_maps", lambda self, rgb: calls.append(1) or plain(self, rgb))
    for head in range(3):
        predictor = network(head)
        for number in range(2):
            ref, rgb = image(number)
            expected = predictor.logits_of(*plain(predictor, rgb))
            assert np.array_equal(maps.logits(predictor, ref, rgb), expected)
    assert len(calls) == 2


def test_of_backbones_that_follow_each_other_only_the_first_is_kept() -> None:
    maps = BackboneMaps()
    for seed in range(3):
        predictor = network(0, backbone=seed)
        maps.logits(predictor, *image(0))
        maps.logits(predictor, *image(0))
        assert len(maps._maps) == (seed == 0)


def test_a_second_network_is_told_from_the_first_though_that_is_gone() -> None:
    maps = BackboneMaps()
    maps.logits(network(0, backbone=1), *image(0))
    # Freed at once, so that the next one may well lie at the same address.
    maps.logits(network(0), *image(0))
    assert len(maps._maps) == 0
    maps.logits(network(1), *image(0))
    assert len(maps._maps) == 1


def test_memory_is_bounded() -> None:
    first, second = network(0), network(1)
    one = sum(m.numel() * m.element_size() for m in first.image_maps(image(0)[1]))
    maps = BackboneMaps(limit=3 * one)
    maps.logits(first, *image(0))
    for number in range(8):
        maps.logits(second, *image(number))
    assert len(maps._maps) == 3
    assert maps._maps.bytes == 3 * one


def test_mirrored_maps_are_those_of_the_mirrored_image_and_are_kept_beside_the_others() -> None:
    maps, (ref, rgb) = BackboneMaps(), image(0)
    for head in range(3):
        predictor = network(head)
        for mirrored, picture in ((False, rgb), (True, np.ascontiguousarray(rgb[:, ::-1]))):
            low, high = maps.of(predictor, ref, rgb, mirrored)
            expected = predictor.image_maps(picture)
            assert torch.equal(low, expected[0])
            assert torch.equal(high, expected[1])
    assert len(maps._maps) == 2
