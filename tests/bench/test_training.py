"""Images a second of every training method over a bare loop of the same model and losses; CPU seconds of one thread.

``bare`` takes the method's own phase, its images decoded and in memory, and does for every update what any script
would: backward and step. ``loop`` is the whole training on stored images: decoding, random streams, checks for values
that are not finite, history, progress. ``plain`` is supervised training written out on tensors that are ready, without
flips. Both sides of a pair run by turns, so that a busy machine slows both; nothing asserts a time.
"""

from __future__ import annotations

import copy
import json
import statistics
import time

import numpy as np
import pytest
import torch

from tessera import models, training
from tessera.formats import images
from tessera.models.network import channels_last
from tessera.training import METHODS, PartialSample, Sample, TrainingData, Unlabelled
from tessera.training.data import SampleSet
from tessera.training.losses import cross_entropy
from tessera.training.phase import Setup
from tessera.training.streams import Streams

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
HEIGHT, WIDTH, CLASSES, IMAGES, BATCH, EPOCHS, PAIRS = 180, 240, 11, 8, 4, 4, 3
OWN = {
    "s4gan": {"warm_up": 0.0, "threshold": 0.2, "most_accepted": 1.0},
    "mulactseg": {"pseudo": None},
    "mal": {"task": {"epochs": 1}},
}
MODELS = {
    "mal": {"temperature": 0.05, "unit_prototypes": False},
    "contrastive": {"projection_head": 128},
    "mulactseg": {"temperature": 0.1},
}


class Stored:
    """An image that is decoded whenever numpy asks for it."""

    shape = (HEIGHT, WIDTH, 3)

    def __init__(self, rgb):
        self._content = images.encode_png(rgb)

    def __array__(self, dtype=None, copy=None):
        return images.decode_rgb(self._content, "image")


def data(stored):
    """Labelled images, the same ones with answers for a third of their cells, and as many without any label."""
    rng = np.random.default_rng(0)
    cells = np.arange(12 * 16, dtype=np.int32).reshape(12, 16).repeat(15, 0).repeat(15, 1)
    samples, partial, unlabelled = [], [], []
    for index in range(IMAGES):
        truth = np.kron(rng.integers(0, CLASSES, (6, 8)), np.ones((30, 30))).astype(np.uint8)
        picture = (truth[..., None] * 20 + rng.integers(0, 30, (HEIGHT, WIDTH, 3))).astype(np.uint8)
        picture = Stored(picture) if stored else picture
        samples.append(Sample(picture, truth, image_id=str(index)))
        asked = np.arange(0, cells.max() + 1, 3)
        classes = np.zeros((len(asked), CLASSES + 1), bool)
        for row, region in enumerate(asked):
            classes[row, np.unique(truth[cells == region])] = True
            classes[row, rng.integers(CLASSES)] = True
        partial.append(PartialSample(str(index), picture, cells, asked, classes))
        unlabelled.append(Unlabelled(f"u{index}", picture))
    return TrainingData(tuple(samples), tuple(partial), tuple(unlabelled), tuple(samples))


def settings(method, frozen):
    given = {"epochs": EPOCHS, "batch": BATCH, "view": "images", "precision": "float32", "augment": {"flip": True}}
    given |= {"frozen": frozen, "backbone_norm": "eval" if frozen else "train", **OWN.get(method, {})}
    return METHODS.parameters(method, given)


def network(method, params):
    given = {"output_stride": 16, **MODELS.get(method, {})}
    outputs = CLASSES + params.trains_undefined()
    return models.build("deeplabv3plus_mobilenetv2", json.dumps(given), outputs, seed=0)


def loop(method, params, given, model):
    """CPU seconds of an image by the training loop, all epochs of its first phase but the first."""
    told = []

    def tell(fraction, note):
        if "task," not in note:
            told.append(time.process_time())

    training.train(method, params.model_dump_json(), model, given, 3, CLASSES, progress=tell)
    return (told[EPOCHS - 1] - told[0]) / (EPOCHS - 1) / IMAGES


def bare(method, params, given, model):
    """The same without all that the loop adds."""
    setup = Setup(given, CLASSES, 3, torch.device("cpu"), lambda: copy.deepcopy(model), lambda *_: None)
    phase = next(METHODS.entry(method).function(params, setup))
    streams = Streams(3, None)
    began = 0.0
    for epoch in range(1, EPOCHS + 1):
        began = time.process_time() if epoch == 2 else began
        phase.begin_epoch()
        for at in streams.epoch(phase, epoch):
            for update in phase.step(at):
                optimiser = phase.optimisers[update.optimiser]
                optimiser.zero_grad(set_to_none=True)
                sum(update.losses.values()).backward()
                optimiser.step()
    return (time.process_time() - began) / (EPOCHS - 1) / IMAGES


def plain(given, model):
    """Supervised fine-tuning on tensors that are ready."""
    model = channels_last(copy.deepcopy(model)).train()
    made = SampleSet(given.samples, torch.device("cpu"), torch.float32)
    still = np.zeros(BATCH, bool)
    ready = [(made.inputs(rows, still), made.target(rows, still)) for rows in np.split(np.arange(IMAGES), 2)]
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    began = 0.0
    for epoch in range(EPOCHS):
        began = time.process_time() if epoch == 1 else began
        for inputs, target in ready:
            loss = cross_entropy(model.head(*model.features(inputs)), target)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    return (time.process_time() - began) / (EPOCHS - 1) / IMAGES


@pytest.mark.parametrize("frozen", [True, False], ids=["cached maps", "fine-tuned"])
@pytest.mark.parametrize("method", METHODS.names())
def test_a_method_against_a_bare_loop(method, frozen, one_thread, capsys):
    params = settings(method, frozen)
    model = network(method, params)
    stored, decoded = data(True), data(False)
    pairs = [
        (loop(method, params, stored, model), bare(method, params, decoded, model), plain(decoded, model))
        if method == "supervised" and not frozen
        else (loop(method, params, stored, model), bare(method, params, decoded, model))
        for _ in range(PAIRS)
    ]
    whole = statistics.median(one[0] for one in pairs)
    ratio = statistics.median(one[1] / one[0] for one in pairs)
    assert ratio > 0
    text = (
        f"{method}, {'cached maps' if frozen else 'fine-tuned'}: {1 / whole:.1f} images/s, ×{ratio:.2f} of a bare loop"
    )
    if len(pairs[0]) == 3:
        text += f", ×{statistics.median(one[2] / one[0] for one in pairs):.2f} of one on ready tensors"
    with capsys.disabled():
        print(f"\n{text}")
