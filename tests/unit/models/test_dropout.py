"""Dropout: its rate and scale, its identity in eval mode, its dependence on torch's random state alone."""

from __future__ import annotations

import pytest
import torch

from tessera.models.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_zeroes_the_asked_share_and_keeps_the_mean(p: float, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    x = torch.ones(4, 32, 33, 35).contiguous(memory_format=layout)
    y = Dropout(p).train()(x)
    kept = y != 0
    # Binomial: five standard deviations.
    assert abs(1 - kept.float().mean().item() - p) < 5 * (p * (1 - p) / x.numel()) ** 0.5 + 1 / 131072
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
