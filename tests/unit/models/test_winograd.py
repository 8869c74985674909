"""The 3×3 convolution by minimal filtering against the plain one: values, gradients, rounding, parameters."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tessera.models import winograd
from tessera.models.winograd import Conv3x3, minimal_conv3x3


def written_out(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The sum over taps and channels, cell by cell, zeros outside the map."""
    batch, _, height, width = x.shape
    out = torch.zeros(batch, weight.shape[0], height, width, dtype=x.dtype)
    for y in range(height):
        for z in range(width):
            for i in range(3):
                for j in range(3):
                    row, column = y + i - 1, z + j - 1
                    if 0 <= row < height and 0 <= column < width:
                        out[:, :, y, z] += x[:, :, row, column] @ weight[:, :, i, j].T
    return out if bias is None else out + bias[None, :, None, None]


@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 4),
    outputs=st.integers(1, 4),
    height=st.integers(1, 6),
    width=st.integers(1, 7),
    biased=st.booleans(),
    strip=st.sampled_from([1, 5, 768]),
    seed=st.integers(0, 99),
)
def test_it_is_the_convolution(
    batch: int, channels: int, outputs: int, height: int, width: int, biased: bool, strip: int, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, height, width, generator=draw)
    weight = torch.randn(outputs, channels, 3, 3, generator=draw)
    bias = torch.randn(outputs, generator=draw) if biased else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "_STRIP_TILES", strip)
        made = minimal_conv3x3(x, weight, bias)
    assert made.shape == (batch, outputs, height, width)
    assert torch.allclose(made, written_out(x, weight, bias), rtol=0, atol=2e-5)


@pytest.mark.parametrize("strip", [1, 7, 768])
@pytest.mark.parametrize("width", [6, 7])
def test_its_gradients_are_those_of_the_convolution(width: int, strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "_STRIP_TILES", strip)
    draw = torch.Generator().manual_seed(0)
    leaves = [
        torch.randn(*shape, generator=draw, requires_grad=True) for shape in ((2, 3, 5, width), (4, 3, 3, 3), (4,))
    ]
    ours, plain = minimal_conv3x3(*leaves), F.conv2d(leaves[0], leaves[1], leaves[2], padding=1)
    upstream = torch.randn(plain.shape, generator=draw)
    pairs = zip(torch.autograd.grad(ours, leaves, upstream), torch.autograd.grad(plain, leaves, upstream), strict=True)
    assert all(torch.allclose(one, other, rtol=0, atol=1e-4) for one, other in pairs)


@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
def test_only_the_gradients_that_are_wanted_are_made(wanted: tuple[bool, bool]) -> None:
    draw = torch.Generator().manual_seed(3)
    x, weight = (torch.randn(*shape, generator=draw) for shape in ((1, 2, 3, 4), (3, 2, 3, 3)))
    for leaf, yes in zip((x, weight), wanted, strict=True):
        leaf.requires_grad_(yes)
    minimal_conv3x3(x, weight).sum().backward()
    assert (x.grad is not None, weight.grad is not None) == wanted


def test_under_autocast_it_computes_in_bfloat16_and_its_weights_get_their_own_dtype_and_layout() -> None:
    layer = Conv3x3(6, 4).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    plain = nn.Conv2d(6, 4, 3, padding=1)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 6, 5, 8).contiguous(memory_format=torch.channels_last)
    gradients = []
    for each in (layer, plain):
        with torch.autocast("cpu", torch.bfloat16):
            made = each(x)
        assert made.dtype == torch.bfloat16
        made.float().pow(2).mean().backward()
        gradient = each.weight.grad
        assert gradient is not None
        gradients.append(gradient)
    assert gradients[0].dtype == torch.float32
    assert gradients[0].stride() == layer.weight.stride()
    assert torch.allclose(*gradients, atol=0.03 * gradients[1].abs().max().item())


def test_in_bfloat16_it_errs_less_than_three_times_as_much() -> None:
    draw = torch.Generator().manual_seed(1)
    x, weight = torch.randn(1, 64, 24, 30, generator=draw).relu(), torch.randn(64, 64, 3, 3, generator=draw)
    exact = F.conv2d(x.bfloat16().double(), weight.double(), padding=1)
    ours = minimal_conv3x3(x.bfloat16(), weight.bfloat16(), None)
    plain = F.conv2d(x.bfloat16(), weight.bfloat16(), padding=1)
    assert ours.dtype == torch.bfloat16
    error, usual = ((made.double() - exact).pow(2).mean().sqrt() for made in (ours, plain))
    assert error < 3 * usual


def test_threads_change_neither_the_result_nor_torchs_own_count() -> None:
    draw = torch.Generator().manual_seed(4)
    x, weight = torch.randn(3, 8, 9, 11, generator=draw).bfloat16(), torch.randn(8, 8, 3, 3, generator=draw)
    before, made = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made.append(minimal_conv3x3(x, weight))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*made)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_does_not_vanish(dtype: torch.dtype, value: float) -> None:
    x = torch.zeros(1, 1, 5, 5, dtype=dtype)
    x[0, 0, 2, 2] = value
    made = minimal_conv3x3(x, torch.ones(1, 1, 3, 3))
    assert not made[0, 0, 1:4, 1:4].isfinite().any()


def test_it_keeps_the_parameters_and_the_layout_of_a_convolution() -> None:
    torch.manual_seed(2)
    ours, plain = Conv3x3(5, 4), nn.Conv2d(5, 4, 3, padding=1)
    plain.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(2, 5, 6, 8).contiguous(memory_format=torch.channels_last)
    made = ours(x)
    assert torch.allclose(made, plain(x), atol=1e-5)
    assert made.is_contiguous(memory_format=torch.channels_last)
