"""Networks that classify whole images: MAL's parameter counts, C against its formula, and all that a network offers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tessera import models
from tessera.errors import BadInput
from tessera.formats import checkpoints, weights
from tessera.models.discriminators import VectorDiscriminator
from tessera.models.folding import fold_batch_norm
from tessera.models.network import seeded
from tessera.models.predictor import Predictor
from tessera.models.vgg import VGG16
from tessera.pb.common_pb2 import AxisValue
from unit.models.test_architectures import resnet_keys
from unit.models.test_network import count, randomise

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ["resnet18", "vgg16"]


def build(name: str, classes: int = 4, seed: int = 0, **params: object) -> torch.nn.Module:
    return models.build(name, json.dumps({"width": 0.125, **params}), classes, seed)


@pytest.mark.parametrize(
    ("name", "f", "c", "d", "t"),
    [
        # MAL §5.1 prints 11.18 M, 156.93 K, 525.83 K and 11.23 M, and 14.72 M, 12.90 M, 13.11 M and 17.23 M.
        ("resnet18", 11_176_512, 156_928, 525_825, 11_227_812),
        ("vgg16", 14_723_136, 12_896_768, 13_108_737, 17_232_036),
    ],
)
def test_f_c_d_and_t_have_the_parameters_that_mal_prints(name: str, f: int, c: int, d: int, t: int) -> None:
    with torch.device("meta"):
        acquiring = models.build(name, '{"temperature": 0.05}', 100)
        assert count(acquiring.backbone) == f
        assert count(acquiring.head) == c
        assert count(VectorDiscriminator(acquiring.head.inputs)) == d
        assert count(models.build(name, "{}", 100)) == t
        assert count(VGG16(batch_norm=False)) == 14_714_688


def test_names_are_torchvisions() -> None:
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    with torch.device("meta"):
        plain = {f"features.{at}.{part}" for at in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
                 for part in ("weight", "bias")}  # fmt: skip
        assert set(VGG16(batch_norm=False).state_dict()) == plain
        convs = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)
        normed = {f"features.{at}.{part}" for at in convs for part in ("weight", "bias")}
        normed |= {f"features.{at + 1}.{part}" for at in convs for part in norm}
        assert set(VGG16().state_dict()) == normed
        made = models.build("resnet18", "{}", 10)
        assert set(made.backbone.state_dict()) == resnet_keys((2, 2, 2, 2), 2, ("conv1.weight",))


@pytest.mark.parametrize("name", NAMES)
def test_published_weights_load_without_their_last_layer(name: str) -> None:
    made = build(name)
    state = {key: value.numpy() for key, value in build(name, seed=5).backbone.state_dict().items()}
    last = {"fc.weight": np.zeros((3, 3), np.float32)} if name == "resnet18" else {}
    last = last or {"classifier.0.weight": np.zeros((3, 3), np.float32)}
    checkpoints.load_backbone(made, weights.save({**state, **last}), "published")
    assert all(np.array_equal(made.backbone.state_dict()[key].numpy(), value) for key, value in state.items())
    with pytest.raises(BadInput, match=r"'other\.weight' is unexpected"):
        checkpoints.load_backbone(made, weights.save({**state, "other.weight": last.popitem()[1]}), "published")


@pytest.mark.parametrize("name", NAMES)
def test_c_is_a_layer_unit_length_and_prototypes_over_temperature(name: str) -> None:
    head = build(name, temperature=0.05, hidden=6, unit_prototypes=False).head
    cells = head.cells
    high = torch.randn(3, head.inputs // cells**2, 2 * cells, 2 * cells)
    for row in range(3):
        # The average over each of the cells, written out; channels first, then rows, then columns.
        vector = [
            float(high[row, channel, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean())
            for channel in range(high.shape[1])
            for y in range(cells)
            for x in range(cells)
        ]
        hidden = head.fc1.weight[:, :, 0, 0].detach().numpy() @ np.array(vector) + head.fc1.bias.detach().numpy()
        unit = hidden / np.sqrt((hidden**2).sum())
        expected = head.classifier.weight[:, :, 0, 0].detach().numpy() @ unit / 0.05
        with torch.no_grad():
            got = head(torch.empty(1, 0, 8, 8), high[row : row + 1])
        assert got.shape == (1, 4, 1, 1)
        assert got.flatten().tolist() == pytest.approx(expected.tolist(), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("temperature", [None, 0.05])
def test_a_network_predicts_looks_inside_and_folds(name: str, temperature: float | None) -> None:
    made = randomise(build(name, temperature=temperature, mc_dropout=0.2)).eval()
    rgb = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    exact = Predictor(made, dtype=torch.float32)
    low, high = exact.image_maps(rgb)
    assert low.shape == (1, 0, 8, 10)
    logits = exact.logits(rgb)
    assert logits.shape == (4, 1, 1)
    with torch.inference_mode():
        x = exact._input(rgb)
        plain = made.head(*made.features(x))[0].numpy()
        everywhere = made(x)
    assert everywhere.shape == (1, 4, 32, 40)
    assert torch.allclose(everywhere, everywhere[:, :, :1, :1].expand_as(everywhere), rtol=1e-5)
    assert np.abs(logits - plain).max() <= 1e-3 * np.abs(plain).max()
    assert exact.taps(rgb, ("decoder",))["decoder"].shape == (made.head.inputs, 1, 1)
    assert np.allclose(exact.taps(rgb, ("logits",))["logits"], logits)
    assert exact.features(rgb).shape == tuple(high.shape[1:])
    assert torch.nn.BatchNorm2d not in [type(module) for module in fold_batch_norm(made).backbone.modules()]
    one, other = exact.mc_logits_of(low, high, [1, 2])
    assert one.shape == (4, 1, 1)
    assert not np.array_equal(one, other)
    assert np.array_equal(one, exact.mc_logits_of(low, high, [1])[0])


def test_dropout_lies_before_the_average() -> None:
    head = build("resnet18", mc_dropout=0.5).head
    high = torch.rand(1, head.inputs, 4, 4)
    with torch.no_grad():
        got = next(head.mc_logits(torch.empty(1, 0, 8, 8), high, [3]))
        head.dropout.train()
        with seeded(3):
            dropped = head.dropout(high)
    expected = head.classifier.weight[:, :, 0, 0] @ dropped[0].mean(dim=(1, 2)) + head.classifier.bias
    assert torch.allclose(got.flatten(), expected, atol=1e-5)


def test_small_images_are_refused_by_name() -> None:
    with pytest.raises(BadInput, match=r"vgg16: images of 40×31 pixels .* 32"):
        build("vgg16")(torch.zeros(1, 3, 31, 40))


def test_an_architecture_changes_some_parameters_or_stays_the_message_it_was() -> None:
    axis = AxisValue(name="resnet18", parameters='{"temperature":0.05}')
    assert models.changed(axis, {}) is axis
    changed = json.loads(models.changed(axis, {"temperature": None}).parameters)
    assert changed == {"width": 1.0, "hidden": 256, "temperature": None, "unit_prototypes": False, "mc_dropout": None}
    with pytest.raises(BadInput, match="unknown key"):
        models.changed(axis, {"temperatur": None})
