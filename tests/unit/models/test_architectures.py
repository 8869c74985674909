"""Every architecture: published parameter counts and names, strides by dilation, and all that a network must offer."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tessera import models, training
from tessera.errors import BadInput
from tessera.formats import checkpoints, weights
from tessera.models.folding import fold_batch_norm
from tessera.models.predictor import Predictor
from tessera.models.resnet import ResNet
from tessera.training import Sample
from unit.models.test_network import count, randomise

pytestmark = pytest.mark.usefixtures("one_thread")

SLIM = {"width": 0.125}
TINY = {
    "deeplabv3plus_mobilenetv2": {"temperature": 0.1, "projection_head": 8},
    "deeplabv3plus_resnet18": {"mc_dropout": 0.1},
    "deeplabv3plus_resnet50": {"deep_stem": True, "separable": True, "temperature": 0.1, "projection_head": 8},
    "deeplabv3plus_resnet101": {"output_stride": 8},
    "deeplabv3plus_wideresnet38": {"mc_dropout": 0.1},
    "fcn_resnet50": {"projection_head": 8},
    "drn_d_22": {"temperature": 0.05, "mc_dropout": 0.2},
}


def build(name: str, classes: int = 4, seed: int = 0, **params: object) -> torch.nn.Module:
    return models.build(name, json.dumps({**SLIM, **TINY[name], **params}), classes, seed)


def on_meta(name: str, classes: int, **params: object) -> torch.nn.Module:
    with torch.device("meta"):
        return models.build(name, json.dumps(params), classes)


def test_every_architecture_is_tried_here() -> None:
    of_their_own_file = {"segformer", "resnet18", "vgg16"}
    assert set(TINY) == set(models.ARCHITECTURES.names()) - of_their_own_file


# Of the published classification networks, without their last layer: 1000 classes on 512, 2048 or 4096 channels.
@pytest.mark.parametrize(
    ("name", "published", "last"),
    [
        ("deeplabv3plus_resnet18", 11_689_512, 513_000),
        ("deeplabv3plus_resnet50", 25_557_032, 2_049_000),
        ("deeplabv3plus_resnet101", 44_549_160, 2_049_000),
        ("drn_d_22", 16_393_752, 513_000),
    ],
)
def test_backbones_have_as_many_parameters_as_published(name: str, published: int, last: int) -> None:
    assert count(on_meta(name, 19).backbone) == published - last


def test_wideresnet_has_the_parameters_of_its_table() -> None:
    # Wu et al. 2016, table 1, model A: kernels of each block, then batch norms and projections.
    blocks = [(3, (128, 128)), (3, (256, 256)), (6, (512, 512)), (3, (512, 1024)), (1, (512, 1024, 2048))]
    blocks.append((1, (1024, 2048, 4096)))
    total, inputs = 3 * 64 * 9, 64
    for times, plan in blocks:
        for _ in range(times):
            kernels = (9, 9) if len(plan) == 2 else (1, 9, 1)
            sizes = (inputs, *plan)
            total += sum(a * b * k for a, b, k in zip(sizes, plan, kernels, strict=False)) + 2 * sum(sizes[:-1])
            total += inputs * plan[-1] if inputs != plan[-1] else 0
            inputs = plan[-1]
    assert count(on_meta("deeplabv3plus_wideresnet38", 19).backbone) == total + 2 * 4096
    # DeepLabv3+ on it is published with 137.1 M (Zhu et al. 2019): ASPP at 4096 channels, decoder, 19 classes.
    norm, middle = 512, 256
    aspp = 2 * (4096 * middle + norm) + 3 * (9 * 4096 * middle + norm) + 1280 * middle
    decoder = 128 * 48 + 9 * (304 + 256) * middle + 2 * norm + middle * 19
    assert round((total + 2 * 4096 + aspp + decoder) / 1e6, 1) == 137.1


def test_heads_have_as_many_parameters_as_published() -> None:
    # torchvision's fcn_resnet50 has 35,322,218 at 21 classes, 2,365,205 of them in its auxiliary classifier.
    assert count(on_meta("fcn_resnet50", 21)) == 35_322_218 - 2_365_205
    assert count(on_meta("drn_d_22", 19).head) == 512 * 19 + 19
    assert count(on_meta("drn_d_22", 19, temperature=0.05).head) == 512 * 19
    # MulActSeg's ASPP and decoder: one 3×3 kernel per channel and a 1×1, batch norm as before, no bias at the end.
    plain, separable = (
        on_meta("deeplabv3plus_resnet50", 20, separable=each, temperature=0.1) for each in (False, True)
    )
    dense = [(2048, 256)] * 3 + [(304, 256), (256, 256)]
    saved = sum(9 * a * b - 9 * a - a * b for a, b in dense)
    assert count(plain.head) - count(separable.head) == saved
    assert count(on_meta("deeplabv3plus_resnet50", 20).head) - count(plain.head) == 20


def resnet_keys(blocks: tuple[int, ...], convs: int, stem: tuple[str, ...]) -> set[str]:
    """Torchvision's names, written down from its source."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    keys = {*stem, *(f"bn1.{part}" for part in norm)}
    for layer, times in enumerate(blocks, start=1):
        for block in range(times):
            at = f"layer{layer}.{block}"
            for conv in range(1, convs + 1):
                keys |= {f"{at}.conv{conv}.weight", *(f"{at}.bn{conv}.{part}" for part in norm)}
            if block == 0 and (layer > 1 or convs == 3):
                keys |= {f"{at}.downsample.0.weight", *(f"{at}.downsample.1.{part}" for part in norm)}
    return keys


def test_names_are_torchvisions_and_the_deep_stems_mulactsegs() -> None:
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    plain = ("conv1.weight",)
    deep = tuple(f"conv1.{i}.weight" for i in (0, 3, 6)) + tuple(f"conv1.{i}.{part}" for i in (1, 4) for part in norm)
    with torch.device("meta"):
        assert set(ResNet(18).state_dict()) == resnet_keys((2, 2, 2, 2), 2, plain)
        assert set(ResNet(50).state_dict()) == resnet_keys((3, 4, 6, 3), 3, plain)
        assert set(ResNet(101).state_dict()) == resnet_keys((3, 4, 23, 3), 3, plain)
        assert set(ResNet(50, deep_stem=True).state_dict()) == resnet_keys((3, 4, 6, 3), 3, deep)
        assert ResNet(50, deep_stem=True).conv1[6].weight.shape == (128, 64, 3, 3)
    drn = set(build("drn_d_22").backbone.state_dict())
    assert {"layer0.0.weight", "layer2.1.running_var", "layer3.0.downsample.1.bias", "layer8.0.weight"} <= drn
    assert not {"layer5.1.downsample.0.weight", "layer3.2.conv1.weight", "layer7.3.weight"} & drn
    wide = set(build("deeplabv3plus_wideresnet38").backbone.state_dict())
    assert {"mod1.conv1.weight", "mod2.block1.proj_conv.weight", "mod4.block6.convs.conv2.weight"} <= wide
    assert {"mod6.block1.convs.bn3.running_mean", "mod7.block1.bn1.weight", "bn_out.weight"} <= wide


@pytest.mark.parametrize("name", sorted(TINY))
def test_published_weights_load_strictly_without_their_last_layer(name: str) -> None:
    made = build(name)
    state = {key: value.numpy() for key, value in build(name, seed=5).backbone.state_dict().items()}
    unused = {f"{made.backbone.unused[0]}weight": np.zeros((3, 3), np.float32)}
    checkpoints.load_backbone(made, weights.save({**state, **unused}), "published")
    loaded = made.backbone.state_dict()
    assert all(np.array_equal(loaded[key].numpy(), value) for key, value in state.items())
    gone = dict(list(state.items())[1:])
    with pytest.raises(BadInput, match="is missing"):
        checkpoints.load_backbone(made, weights.save(gone), "published")
    with pytest.raises(BadInput, match=r"'other\.weight' is unexpected"):
        checkpoints.load_backbone(made, weights.save({**state, "other.weight": state[next(iter(state))]}), "published")


@pytest.mark.parametrize("name", ["deeplabv3plus_resnet18", "deeplabv3plus_resnet50", "deeplabv3plus_wideresnet38"])
def test_dilation_keeps_every_filters_field_of_view(name: str) -> None:
    # Sampling the stride-8 network's map at every second cell gives the stride-16 map where padding is out of sight.
    x = torch.randn(1, 3, 704, 704, generator=torch.Generator().manual_seed(1))
    maps = []
    for stride in (16, 8):
        made = randomise(build(name, seed=3, output_stride=stride)).eval()
        with torch.inference_mode():
            maps.append(made.backbone(x)[1])
    inner = slice(20, 24)
    coarse, fine = maps[0][:, :, inner, inner], maps[1][:, :, ::2, ::2][:, :, inner, inner]
    assert torch.allclose(coarse, fine, atol=1e-3 * float(coarse.abs().max()))


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_network_predicts_looks_inside_and_folds(name: str) -> None:
    made = randomise(build(name)).eval()
    rgb = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    exact = Predictor(made, dtype=torch.float32)
    low, high = exact.image_maps(rgb)
    assert (low.shape[1], high.shape[1]) == (made.backbone.low_channels, made.backbone.high_channels)
    stride = 16 if name in ("deeplabv3plus_mobilenetv2", "deeplabv3plus_resnet18", "deeplabv3plus_resnet50") else 8
    assert (low.shape[2:], high.shape[2:]) == ((16, 21), (-(-61 // stride), -(-83 // stride)))
    logits = exact.logits(rgb)
    assert logits.shape == (4, 16, 21)
    with torch.inference_mode():
        x = exact._input(rgb)
        plain = made.head(*made.features(x))[0].numpy()
        assert made(x).shape == (1, 4, 61, 83)
    assert np.abs(logits - plain).max() <= 1e-3 * np.abs(plain).max()
    for key in ("backbone", "decoder", "logits"):
        assert exact.taps(rgb, (key,))[key].ndim == 3
    assert exact.features(rgb).shape == tuple(high.shape[1:])
    norms = [type(module) for module in fold_batch_norm(made).backbone.modules()].count(torch.nn.BatchNorm2d)
    assert norms == 0
    if made.head.mc_dropout:
        one, other = exact.mc_logits_of(low, high, [1, 2])
        assert not np.array_equal(one, other)
    if TINY[name].get("projection_head"):
        assert np.allclose(np.linalg.norm(exact.taps(rgb, ("projection",))["projection"], axis=0), 1, atol=1e-4)
    else:
        with pytest.raises(BadInput, match=r"no projection map; set model\.projection_head"):
            exact.taps(rgb, ("projection",))


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_network_learns_on_parts_of_images_and_keeps_a_frozen_backbone(name: str) -> None:
    rng = np.random.default_rng(0)
    samples = []
    for at in range(4):
        image = rng.integers(0, 256, (64, 96, 3)).astype(np.uint8)
        target = np.full((20, 30), at % 2, np.uint8)
        image[21:41, 30:60] = 40 + 170 * (at % 2)
        samples.append(Sample(image, target, (21, 30, 41, 60)))
    made = build(name)
    before = {key: value.clone() for key, value in made.backbone.state_dict().items()}
    params = json.dumps({"view": "windows", "epochs": 6, "batch": 4, "precision": "float32", "lr": 0.01})
    trained = training.train("supervised", params, made, samples, 1, 4)
    history = [epoch.loss for epoch in trained.history]
    assert history[-1] < history[0]
    assert all(torch.equal(value, before[key]) for key, value in made.backbone.state_dict().items())
    again = training.train("supervised", params, build(name), samples, 1, 4)
    assert all(np.array_equal(again.state[key], value) for key, value in trained.state.items())
    tuned = json.dumps({"view": "crops", "frozen": False, "epochs": 1, "batch": 4, "precision": "float32"})
    crops = [Sample(sample.image[21:41, 30:60], sample.target) for sample in samples]
    moved = training.train("supervised", tuned, build(name), crops, 1, 4).state
    assert any(not np.array_equal(moved[f"backbone.{key}"], value.numpy()) for key, value in before.items())


def test_a_new_parameter_leaves_old_requests_alone() -> None:
    assert "temperature" not in models.ARCHITECTURES.canonical("deeplabv3plus_mobilenetv2", {})
    assert '"temperature":0.1' in models.ARCHITECTURES.canonical("deeplabv3plus_mobilenetv2", {"temperature": 0.1})


def test_the_fcn_head_is_torchvisions_at_its_own_stride() -> None:
    made = randomise(build("fcn_resnet50")).eval()
    head, high = made.head, torch.randn(1, made.backbone.high_channels, 5, 6)
    with torch.inference_mode():
        conv, norm = head.reduce[0], head.reduce[1]
        hidden = F.relu(norm(F.conv2d(high, conv.weight, padding=1)))
        expected = F.conv2d(hidden, head.classifier.weight, head.classifier.bias)
        got = head(torch.empty(1, 0, 9, 11), high)
        # Every second cell of the stride-4 grid is a cell of the map.
        assert torch.allclose(got[:, :, ::2, ::2], expected[:, :, :5, :6], atol=1e-4)
