"""Classifiers by cosine, gradient reversal and MAL's networks, against their formulas and printed counts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tessera.models.classifiers import CosineClassifier, PrototypeClassifier, reverse_gradient
from tessera.models.discriminators import VectorDiscriminator
from tessera.models.joined_conv import JoinedConv, SeparableJoinedConv
from tessera.models.upsampled_conv import upsample
from tessera.models.vgg import VGG16Features
from unit.models.test_network import count
from unit.models.test_network import upsample as by_definition


@pytest.mark.parametrize("unit", [True, False])
def test_cosine_logits_are_those_of_the_formula(unit: bool) -> None:
    layer = CosineClassifier(3, 2, 0.1, unit_prototypes=unit)
    x = torch.randn(2, 3, 4, 5)
    got = layer(x).detach()
    for n in range(2):
        for c in range(2):
            for y in range(4):
                f, w = x[n, :, y, 1].tolist(), layer.weight[c, :, 0, 0].tolist()
                dot = sum(a * b for a, b in zip(f, w, strict=True))
                length = math.hypot(*w) if unit else 1.0
                assert float(got[n, c, y, 1]) == pytest.approx(dot / math.hypot(*f) / length / 0.1, rel=1e-4)
    assert layer.bias is None
    if unit:
        assert float(got.abs().max()) <= 10.0001


def test_the_reversed_gradient_has_the_other_sign_and_the_value_is_untouched() -> None:
    x = torch.randn(7, requires_grad=True)
    y = reverse_gradient(x, 0.5)
    assert torch.equal(y, x)
    (y * torch.arange(7.0)).sum().backward()
    assert torch.equal(x.grad, -0.5 * torch.arange(7.0))


def test_classifier_and_discriminator_have_the_parameters_that_mal_prints() -> None:
    assert count(PrototypeClassifier(512, 256, 100)) == 156_928
    assert count(VectorDiscriminator(512)) == 525_825
    with torch.device("meta"):
        assert count(PrototypeClassifier(VGG16Features.vector_length, 512, 100)) == 12_896_768
        assert count(VectorDiscriminator(VGG16Features.vector_length)) == 13_108_737


def test_prototypes_see_unit_vectors_and_reversal_reaches_what_is_below() -> None:
    made = PrototypeClassifier(4, 3, 2, temperature=0.05)
    x = torch.randn(5, 4, requires_grad=True)
    hidden = x @ made.fc1.weight.T + made.fc1.bias
    expected = (hidden / hidden.norm(dim=1, keepdim=True)) @ made.fc2.weight.T / 0.05
    assert torch.allclose(made(x), expected, atol=1e-4)
    grads = []
    for reverse in (None, 1.0):
        made.zero_grad()
        x.grad = None
        made(x, reverse)[:, 0].sum().backward()
        grads.append((x.grad.clone(), made.fc1.weight.grad.clone(), made.fc2.weight.grad.clone()))
    plain, reversed_ = grads
    # Below the reversal, features and first layer alike; the prototypes keep their sign.
    assert torch.allclose(reversed_[0], -plain[0])
    assert torch.allclose(reversed_[1], -plain[1])
    assert torch.allclose(reversed_[2], plain[2])


def test_vgg_makes_25088_numbers() -> None:
    made = VGG16Features().eval()
    with torch.inference_mode():
        assert made(torch.zeros(1, 3, 32, 32)).shape == (1, 25_088)


@pytest.mark.parametrize("separable", [False, True])
def test_the_joined_convolution_is_that_of_the_concatenation(separable: bool) -> None:
    made = (SeparableJoinedConv if separable else JoinedConv)(5, 3, 4).double()
    x, low = torch.randn(2, 5, 3, 4, dtype=torch.float64), torch.randn(2, 3, 9, 11, dtype=torch.float64)
    both = torch.cat([by_definition(x, 9, 11, 4), low], dim=1)
    if separable:
        each = F.conv2d(both, made.depthwise.weight, padding=1, groups=8)
        expected = F.conv2d(each, made.pointwise.weight)
    else:
        expected = F.conv2d(both, made.weight, padding=1)
    assert torch.allclose(made.of_context(x, (9, 11), 4, None) + made.of_low(low), expected, atol=1e-6)


def test_upsampling_of_parts_begins_where_the_offsets_say() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    whole = by_definition(x, 16, 20, 4)
    parts = upsample(x, (6, 7), 4, [(1, 3), (2, 0)])
    assert torch.allclose(parts[0], whole[0, :, 1:7, 3:10], atol=1e-6)
    assert torch.allclose(parts[1], whole[1, :, 2:8, 0:7], atol=1e-6)
