"""Classifiers by cosine, gradient reversal and MAL's networks, against their formulas and printed counts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tessera.models.classifiers import CosineClassifier, reverse_gradient
from tessera.models.joined_conv import JoinedConv, SeparableJoinedConv
from tessera.models.upsampled_conv import upsample
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
