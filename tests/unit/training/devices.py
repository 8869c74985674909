"""Train by one method, and predict, on a device whose tensors refuse those of another; run as a process of its own.

Torch knows a device for the life of a process, so this is no test module.
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np
import torch

from pretend_device import DEVICE, DeviceMixed, OnDevice, pretend
from services.trainer import compute
from tessera import models
from tessera.models.predictor import Predictor
from unit.training import test_every_method

FROZEN = {"frozen": True, "backbone_norm": "eval", "augment": {"flip": True}}


def main(methods: list[str]) -> None:
    """Print a line for each thing done."""
    torch.set_num_threads(1)
    mode = pretend()
    compute.device = lambda: DEVICE
    with mode:
        refuses()
        for method in methods:
            for changes in ({}, FROZEN):
                world = test_every_method.World()
                before = mode.ran
                response = asyncio.run(test_every_method.train(world.job(method, epochs=1, **changes), world))
                assert response.HasField("model")
                assert mode.ran > before + 1000  # it did compute there
                print("trained", method, "frozen" if changes else "fine-tuned")
        predicts()


def refuses() -> None:
    """The device does refuse what a GPU refuses, and takes what a GPU takes."""
    there, here = torch.ones(2, 3).to(DEVICE), torch.ones(2, 3)
    assert isinstance(there, OnDevice)
    for mixed in (lambda: there + here, lambda: there.copy_(here) @ here.T, lambda: there.scatter(1, here.long(), 0.0)):
        try:
            mixed()
        except DeviceMixed:
            continue
        raise AssertionError("two devices were mixed and nobody said so")
    assert float((there * torch.tensor(2.0))[torch.tensor([0])].sum().cpu()) == 6.0
    print("refused")


def predicts() -> None:
    """Every use of the predictor: logits, maps, passes of dropout."""
    image = np.random.default_rng(0).integers(0, 255, (40, 56, 3)).astype(np.uint8)
    settings = '{"width": 0.125, "mc_dropout": 0.1}'
    network = models.build("deeplabv3plus_mobilenetv2", settings, 3, 0)
    there, here = Predictor(network, DEVICE), Predictor(network, "cpu")
    assert np.allclose(there.logits(image), here.logits(image), atol=1e-4)
    for tap, found in there.taps(image, ("backbone", "aspp", "decoder", "logits")).items():
        assert np.allclose(found, here.taps(image, (tap,))[tap], atol=1e-4)
    passes = there.mc_logits_of(*there.image_maps(image), [1, 2])
    assert len(passes) == 2
    assert all(np.isfinite(one).all() for one in passes)
    print("predicted")


if __name__ == "__main__":
    main(sys.argv[1:])
