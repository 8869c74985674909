"""Cost of one training step and one head pass of MEAL's network alone: least of many, printed.

A step is one batch of 8 windows of 90×120 pixels on two threads, a pass the head over one image of 480×360 on one.
Nothing asserts a time; that the step trains and the pass predicts is asserted.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from tessera import models
from tessera.models.network import channels_last
from tessera.models.precision import fast_dtype
from tessera.models.predictor import Predictor
from tessera.training.losses import cross_entropy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
DTYPE = fast_dtype(torch.device("cpu"))


def least(function: Callable[[], object], threads: int, repeats: int = 40) -> float:
    """Least wall time in milliseconds, after five calls that are not counted."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    taken = []
    try:
        for _ in range(repeats + 5):
            begun = time.perf_counter()
            function()
            taken.append(time.perf_counter() - begun)
    finally:
        torch.set_num_threads(before)
    return 1e3 * min(taken[5:])


def test_step_and_head_pass(capsys: pytest.CaptureFixture[str]) -> None:
    network = models.build("deeplabv3plus_mobilenetv2", "{}", 11)
    predictor = Predictor(network)
    maps = predictor.image_maps(np.random.default_rng(0).integers(0, 256, (360, 480, 3), dtype=np.uint8))
    assert predictor.logits_of(*maps).shape == (11, 90, 120)
    single = least(lambda: predictor.logits_of(*maps), 1)

    head = channels_last(network).head.train()
    head.trained_on(7, 9)
    optimiser = torch.optim.Adam(head.parameters(), 1e-3, fused=True)
    low = torch.randn(8, 24, 23, 31).to(DTYPE).contiguous(memory_format=torch.channels_last)
    high = torch.randn(8, 320, 7, 9).to(DTYPE).contiguous(memory_format=torch.channels_last)
    target = torch.randint(0, 11, (8, 92, 124), dtype=torch.uint8)
    offsets = [(row % 4, row * 3 % 4) for row in range(8)]
    losses = []

    def step() -> None:
        with torch.autocast("cpu", DTYPE, enabled=torch.float32 != DTYPE):
            logits = head(low, high, offsets)
        loss = cross_entropy(logits, target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())

    whole = least(step, 2)
    assert losses[-1] < losses[0]
    with capsys.disabled():
        print(f"\nMEAL's network, {DTYPE}: step on two threads {whole:.0f} ms, head pass on one {single:.0f} ms")
