"""DeepLabv3+ on MobileNetV2: parameter counts, names, strides, and rewritten layers against plain ones."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera import models
from tessera.errors import BadInput
from tessera.formats import checkpoints, weights
from tessera.models.aspp import AtrousConv2d
from tessera.models.folding import fold_batch_norm
from tessera.models.predictor import Predictor
from tessera.models.upsample import largest, predict
from tessera.models.upsampled_conv import upsampled_conv3x3

NAME = "deeplabv3plus_mobilenetv2"
SLIM = json.dumps({"width": 0.25})


def randomise(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Batch norms as after training: folding a fresh one would prove nothing."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(generator=generator)
    return model


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_are_the_papers():
    model = models.build(NAME, "{}", 11)
    assert count(model.head) == 4_001_771
    assert count(model.backbone) == 1_811_712


def test_backbone_keys_are_torchvisions_up_to_block_17():
    keys = set(models.build(NAME, SLIM, 3).backbone.state_dict())
    assert {"features.0.0.weight", "features.1.conv.1.weight", "features.2.conv.0.0.weight"} <= keys
    assert {"features.17.conv.3.running_var", "features.17.conv.2.weight"} <= keys
    assert {key.split(".")[1] for key in keys} == {str(index) for index in range(18)}


@pytest.mark.parametrize(("stride", "high"), [(16, (6, 8)), (8, (12, 15))])
def test_output_stride_is_reached_by_dilation(stride, high):
    model = models.build(NAME, json.dumps({"output_stride": stride, "width": 0.25}), 5)
    with torch.inference_mode():
        low, deep = model.features(torch.zeros(1, 3, 90, 120))
        assert low.shape[2:] == (23, 30)
        assert deep.shape[2:] == high
        assert model(torch.zeros(1, 3, 91, 121)).shape == (1, 5, 91, 121)


def test_dilation_keeps_every_filters_field_of_view():
    # Sampling the stride-8 network's map at every second cell gives the stride-16 map where padding is out of sight.
    x = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    maps = []
    for stride in (16, 8):
        model = randomise(models.build(NAME, json.dumps({"output_stride": stride, "width": 0.25}), 5, seed=3)).eval()
        with torch.inference_mode():
            maps.append(model.backbone.features[:15](x))
    inner = slice(3, 13)
    coarse, fine = maps[0][:, :, inner, inner], maps[1][:, :, ::2, ::2][:, :, inner, inner]
    assert torch.allclose(coarse, fine, atol=1e-3 * float(coarse.abs().max()))


def test_same_seed_same_weights_and_torchs_state_is_left_alone():
    before = torch.random.get_rng_state()
    one, two, other = (models.build(NAME, SLIM, 3, seed=seed).state_dict() for seed in (7, 7, 8))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["head.classifier.weight"], other["head.classifier.weight"])


@pytest.mark.parametrize("classes", [0, 1, 256, 65_536])
def test_class_counts_outside_a_label_map_are_refused(classes):
    with pytest.raises(BadInput, match=str(classes)):
        models.build(NAME, "{}", classes)


def test_unknown_parameter_names_the_nearest():
    with pytest.raises(BadInput, match="output_stride"):
        models.build(NAME, '{"output_strid": 16}', 3)


def upsample(x, height, width, ratio):
    """Bilinear by its definition, cell by cell: target (y, x) reads source (y / ratio, x / ratio), clamped."""
    out = x.new_zeros(*x.shape[:2], height, width)
    for row in range(height):
        for column in range(width):
            v, u = min(row / ratio, x.shape[2] - 1), min(column / ratio, x.shape[3] - 1)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, x.shape[2] - 1), min(left + 1, x.shape[3] - 1)
            upper = x[:, :, top, left] * (1 - u + left) + x[:, :, top, right] * (u - left)
            lower = x[:, :, bottom, left] * (1 - u + left) + x[:, :, bottom, right] * (u - left)
            out[:, :, row, column] = upper * (1 - v + top) + lower * (v - top)
    return out


@settings(deadline=None, max_examples=15)
@given(
    h=st.integers(1, 4),
    w=st.integers(1, 4),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    ratio=st.sampled_from([2, 4]),
    seed=st.integers(0, 2**31),
)
def test_upsampled_conv_equals_upsampling_then_convolving(h, w, height, width, ratio, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 5, h, w, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 5, 3, 3, generator=generator, dtype=torch.float64)
    expected = F.conv2d(upsample(x, height, width, ratio), weight, padding=1)
    assert torch.allclose(upsampled_conv3x3(x, weight, (height, width), ratio), expected, atol=1e-9)


def test_upsampled_conv_of_parts_begins_where_the_offsets_say():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 4, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, 5, 3, 3, generator=generator, dtype=torch.float64)
    offsets = [(1, 3), (2, 0)]
    parts = upsampled_conv3x3(x, weight, (9, 10), 4, offsets)
    whole = upsample(x, 16, 20, 4)
    for row, (top, left) in enumerate(offsets):
        window = whole[row : row + 1, :, top : top + 9, left : left + 10]
        assert torch.allclose(parts[row : row + 1], F.conv2d(window, weight, padding=1), atol=1e-9)


def test_the_image_pool_averages_windows_of_the_training_size():
    model = randomise(models.build(NAME, SLIM, 3)).eval()
    aspp = model.head.aspp
    high = torch.randn(1, 80, 9, 11, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(aspp.mean(high, aspp.window), high.mean(dim=(2, 3), keepdim=True), atol=1e-6)
    aspp.trained_on(5, 6)
    local = aspp.mean(high, aspp.window)
    assert local.shape == high.shape
    for y, x in ((0, 0), (4, 5), (8, 10), (2, 9)):
        rows, columns = slice(max(0, y - 2), min(9, y + 3)), slice(max(0, x - 3), min(11, x + 3))
        expected = high[:, :, rows, columns].mean(dim=(2, 3))
        assert torch.allclose(local[:, :, y, x], expected, atol=1e-5)
    small = high[:, :, :5, :6]
    assert torch.allclose(aspp.mean(small, aspp.window), small.mean(dim=(2, 3), keepdim=True), atol=1e-6)


def test_taps_that_training_hardly_reaches_are_cut_and_a_reset_brings_them_back():
    head = models.build(NAME, SLIM, 3).head
    atrous = {conv.dilation[0]: conv for conv in head.modules() if isinstance(conv, AtrousConv2d)}
    head.trained_on(7, 20)
    assert {rate: conv.cut.tolist() for rate, conv in atrous.items()} == {6: [1, 0], 12: [1, 0], 18: [1, 1]}
    x = torch.randn(1, 80, 30, 40, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        kernel = torch.zeros_like(atrous[6].weight)
        kernel[:, :, 1] = atrous[6].weight[:, :, 1]
        assert torch.allclose(atrous[6](x), F.conv2d(x, kernel, padding=6, dilation=6), atol=1e-4)
    head.reset_parameters()
    assert all(conv.cut.tolist() == [0, 0] for conv in atrous.values())


@pytest.mark.parametrize("rate", [2, 6, 12])
@pytest.mark.parametrize("shape", [(1, 1), (6, 8), (5, 13), (13, 5), (20, 20)])
def test_atrous_conv_skips_only_taps_in_the_padding(rate, shape):
    conv = AtrousConv2d(3, 4, rate).double()
    x = torch.randn(2, 3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = F.conv2d(x, conv.weight, padding=rate, dilation=rate)
    assert torch.allclose(conv(x), plain, atol=1e-12)


def test_cut_taps_get_no_gradient_and_the_others_theirs():
    conv = AtrousConv2d(3, 2, 6).to(memory_format=torch.channels_last)
    conv.trained_on(7, 9)
    x = torch.randn(2, 3, 7, 9)
    conv(x).pow(2).sum().backward()
    weight = conv.weight.detach().clone().requires_grad_()
    kept = weight[:, :, 1:2, :]
    F.conv2d(x, kept, padding=(0, 6), dilation=6).pow(2).sum().backward()
    assert torch.allclose(conv.weight.grad, weight.grad, rtol=1e-5, atol=1e-5)
    assert conv.weight.grad.stride() == conv.weight.stride()
    assert not conv.weight.grad[:, :, [0, 2]].any()


def test_the_classifier_predicts_in_float32_and_trains_in_autocasts_dtype():
    head = models.build(NAME, SLIM, 3).head
    decoded = torch.randn(1, head.classifier.in_channels, 4, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert head.train().classify(decoded.bfloat16()).dtype == torch.bfloat16
        assert head.eval().classify(decoded.bfloat16()).dtype == torch.float32


def test_folding_changes_nothing_but_rounding():
    model = randomise(models.build(NAME, "{}", 11)).eval()
    x = torch.randn(1, 3, 90, 120, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        plain = model(x)
        folded = fold_batch_norm(model)(x)
    assert float((plain - folded).abs().max()) <= 1e-4 * float(plain.abs().max())


def test_folded_copy_leaves_the_model_trainable():
    model = models.build(NAME, SLIM, 3)
    fold_batch_norm(model)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())


def test_predictor_repeats_bit_for_bit_and_bf16_is_close():
    model = randomise(models.build(NAME, SLIM, 5)).eval()
    rgb = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    exact = Predictor(model, dtype=torch.float32)
    logits = exact.logits(rgb)
    assert logits.dtype == np.float32
    assert logits.shape == (5, 16, 21)
    assert np.array_equal(logits, exact.logits(rgb))
    coarse = Predictor(model, dtype=torch.bfloat16).logits(rgb)
    assert np.abs(coarse - logits).max() < 0.1 * np.abs(logits).max()
    assert Predictor(model).dtype in (torch.float32, torch.bfloat16)
    assert exact.features(rgb).shape == (80, 4, 6)


def test_predict_upsamples_and_takes_the_largest():
    logits = np.zeros((3, 2, 2), np.float32)
    logits[2, 0, 0] = logits[1, 1, 1] = 5.0
    labels = predict(logits, (8, 8))
    assert labels.dtype == np.uint8
    assert labels[0, 0] == 2
    assert labels[7, 7] == 1
    assert labels[0, 7] == 0


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 256), st.integers(1, 3), st.integers(0, 99))
def test_the_largest_plane_is_that_of_argmax_and_ties_go_to_the_lowest(planes, kinds, seed):
    values = torch.randint(0, kinds, (planes, 5, 7), generator=torch.Generator().manual_seed(seed)).float()
    assert np.array_equal(largest(values).numpy(), values.numpy().argmax(axis=0))


@pytest.mark.weights
@pytest.mark.skipif("TESSERA_WEIGHTS_DIR" not in os.environ, reason="set TESSERA_WEIGHTS_DIR")
def test_imagenet_weights_load_strictly():
    path = Path(os.environ["TESSERA_WEIGHTS_DIR"]) / "mobilenet_v2_imagenet.safetensors"
    model = models.build(NAME, "{}", 11)
    checkpoints.load_backbone(model, path.read_bytes(), path.name)
    assert float(model.backbone.features[0][1].running_var.std()) > 0.0
    with pytest.raises(BadInput, match="shape"):
        checkpoints.load_backbone(models.build(NAME, SLIM, 11), path.read_bytes(), path.name)
    wide = models.build(NAME, '{"last_convolution": true}', 11)
    checkpoints.load_backbone(wide, path.read_bytes(), path.name)
    stored = weights.load(path.read_bytes(), path.name)["features.18.1.running_mean"]
    assert np.array_equal(wide.backbone.features[18][1].running_mean.numpy(), stored.astype(np.float32))
