"""Images made ahead in a thread: the same as those made in the step, and nothing is left running."""

import json
import threading

import numpy as np
import pytest
import torch

from memory_blobs import served
from tessera import models, training
from tessera.training import METHODS, Sample
from tessera.training.ahead import Ahead, Batch
from tessera.training.data import ImageSet
from tessera.training.methods.supervised.phase import NetworkPhase
from unit.training.test_every_method import World
from unit.training.test_training import same, samples

train = served("trainer").train
pytestmark = pytest.mark.usefixtures("one_thread")


def threads():
    return [one for one in threading.enumerate() if one.name.startswith("tessera-images")]


class Counted:
    """A picture that notes the thread that decodes it."""

    def __init__(self, rgb):
        self._rgb, self.shape, self.by = rgb, rgb.shape, []

    def __array__(self, dtype=None, copy=None):
        self.by.append(threading.current_thread().name)
        return self._rgb


def fit(data, **changes):
    settings = {"view": "images", "frozen": False, "backbone_norm": "train", "epochs": 2, "batch": 2, **changes}
    model = models.build("deeplabv3plus_mobilenetv2", json.dumps({"width": 0.125}), 3, seed=1)
    return training.train("supervised", json.dumps(settings), model, data, 3, 3)


AUGMENT = {"flip": True, "scale": [0.5, 1.5], "crop": [32, 32], "colour": {}}


@pytest.mark.parametrize("augment", [{"flip": True}, AUGMENT], ids=["mirrored", "changed"])
def test_weights_are_those_of_images_made_in_the_step(augment, monkeypatch):
    data = samples(5)
    ahead = fit(data, augment=augment)
    monkeypatch.setattr(NetworkPhase, "prepare", lambda self, at: None)
    assert same(fit(data, augment=augment), ahead)


@pytest.mark.parametrize("method", METHODS.names())
async def test_every_method_trains_the_same_ahead_or_not(method, monkeypatch):
    found = []
    for ahead in (True, False):
        if not ahead:
            monkeypatch.setattr(NetworkPhase, "prepare", lambda self, at: None)
        world = World()
        found.append(await train(world.job(method), world))
    assert found[0] == found[1]
    assert threads() == []


def test_images_are_decoded_in_the_thread_once_per_epoch_and_the_thread_ends():
    data = [Sample(Counted(one.image), one.target) for one in samples(4)]
    fit(data, epochs=3)
    for one in data:
        assert len(one.image.by) == 3
        assert all(name.startswith("tessera-images") for name in one.image.by)
    assert threads() == []


def test_an_image_that_cannot_be_decoded_stops_the_training_and_the_thread():
    class Broken(Counted):
        def __array__(self, dtype=None, copy=None):
            raise ValueError("not an image")

    good = samples(4)
    data = [*good[:3], Sample(Broken(good[3].image), good[3].target)]
    with pytest.raises(ValueError, match="not an image"):
        fit(data)
    assert threads() == []


def test_only_the_very_batch_that_was_begun_is_taken():
    made = Ahead()
    index, flip = np.array([0]), np.array([False])
    made.begin(Batch(index, flip), lambda: torch.ones(1))
    assert made.take(index.copy(), flip, None) is None
    assert made.take(index, flip.copy(), None) is None
    assert made.take(index, flip, []) is None
    taken = made.take(index, flip, None)
    assert taken is not None
    assert taken.item() == 1
    assert made.take(index, flip, None) is None  # it is kept no longer
    made.close()
    made.close()
    assert threads() == []


def test_asked_twice_the_images_are_made_once():
    picture = Counted(samples(1)[0].image)
    images = ImageSet([picture], torch.device("cpu"), torch.float32)
    index, flip = np.array([0]), np.array([True])
    assert images.rgb(index, flip) is images.rgb(index, flip)
    assert len(picture.by) == 1
    assert torch.equal(images.rgb(index.copy(), flip.copy()), images.rgb(index, flip))
    images.close()
