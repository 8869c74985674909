"""Dropout: its rate and scale, its identity in eval mode, its dependence on torch's random state alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tessera.models import dropout_kernel
from tessera.models.dropout import LEVELS, Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_zeroes_the_asked_share_and_keeps_the_mean(p: float, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    x = torch.ones(4, 32, 33, 35).contiguous(memory_format=layout)
    y = Dropout(p).train()(x)
    kept = y != 0
    # Binomial: five standard deviations.
    assert abs(1 - kept.float().mean().item() - p) < 5 * (p * (1 - p) / x.numel()) ** 0.5 + 1 / 65536
    assert torch.allclose(y[kept], torch.tensor(1 / (1 - p)), rtol=1e-4)
    assert y.is_contiguous(memory_format=layout)


def test_neighbours_drop_independently() -> None:
    torch.manual_seed(1)
    kept = (Dropout(0.5).train()(torch.ones(1 << 18)) != 0).float() - 0.5
    for lag in range(1, 9):
        assert abs((kept[lag:] * kept[:-lag]).mean().item()) < 5 * 0.25 / (1 << 9)


def test_it_follows_torchs_seed_and_is_the_identity_in_eval_mode() -> None:
    x, layer = torch.randn(3, 5, 7), Dropout(0.3).train()
    draws = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        draws.append(layer(x))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert layer.eval()(x) is x


def test_the_gradient_passes_where_the_value_did() -> None:
    torch.manual_seed(2)
    x = torch.ones(1000, requires_grad=True)
    y = Dropout(0.5).train()(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())


def test_every_dtype_gets_the_same_mask() -> None:
    layer, x = Dropout(0.3).train(), torch.ones(999)
    made = {}
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        torch.manual_seed(3)
        made[dtype] = layer(x.to(dtype))
        assert made[dtype].dtype == dtype
    assert torch.equal(made[torch.bfloat16] != 0, made[torch.float32] != 0)
    assert torch.equal(made[torch.float64] != 0, made[torch.float32] != 0)
    assert torch.allclose(made[torch.bfloat16].float(), made[torch.float32], rtol=2**-8)


def splitmix64(state: int) -> int:
    """One output of SplitMix64 (Steele, Lea and Flood 2014, figure 17) in Python's integers."""
    word = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
    return word ^ (word >> 31)


@given(
    size=st.integers(0, 41),
    dropped=st.integers(0, LEVELS),
    seed=st.integers(0, 2**64 - 1),
    bits=st.integers(0, 2**16 - 1),
)
def test_a_mask_is_a_comparison_of_fifteen_bits_of_a_splitmix_stream(
    size: int, dropped: int, seed: int, bits: int
) -> None:
    expected = []
    for index in range(size):
        word = splitmix64((seed + index // 4 * 0x9E3779B97F4A7C15) % 2**64)
        value = (word >> 16 * (index % 4)) % LEVELS
        expected.append(bits if value >= dropped else 0)
    made = dropout_kernel.draw(size, dropped, seed, bits)
    assert made.view(np.uint16).tolist() == expected
