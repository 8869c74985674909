"""``decode: labelled``: the decoder is computed where labelled pixels need it."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tessera import models, training
from tessera.errors import BadInput
from tessera.training import Sample
from tessera.training.data import SampleSet
from tessera.training.distributed import Processes
from tessera.training.inputs import Inputs
from tessera.training.methods.supervised.params import Supervised
from unit.training.test_mulactseg import ROWS, Answered, fit, planes
from unit.training.test_training import same, samples

pytestmark = pytest.mark.usefixtures("one_thread")

PLAIN = {"width": 0.125, "dropout": 0.0}


def network(**changes):
    return models.build("deeplabv3plus_mobilenetv2", json.dumps(PLAIN | changes), 3, seed=1)


def train(data, model=None, **params):
    settings = {"epochs": 2, "batch": 4, "view": "images", "decode": "labelled"} | params
    return training.train("supervised", json.dumps(settings), model or network(), data, 3, 3)


def few(count, **changes):
    """Samples of which a block of pixels has a label."""
    out = []
    for row, one in enumerate(samples(count, **changes)):
        target = np.full_like(one.target, 255)
        target[4 + row : 12 + row, 10:20] = one.target[4 + row : 12 + row, 10:20]
        out.append(Sample(one.image, target))
    return out


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (61, 30)])
def test_logits_of_pixels_are_those_of_the_upsampled_image(size):
    data = training_set(few(3, size=size))
    model = network().eval()
    inputs = Inputs(model, data, torch.float32)
    index, flip = np.array([2, 0]), np.array([True, False])
    pixels = (data.target(index, flip) != 255).view(-1).nonzero()[:, 0]
    with torch.no_grad():
        full = F.interpolate(inputs.logits(index, flip), size=data.size, mode="bilinear", align_corners=False)
        got = inputs.logits_at(index, flip, pixels, data.size)
    assert len(pixels) > 100
    assert torch.allclose(got, full.movedim(1, 3).flatten(0, 2)[pixels], atol=1e-4)


def training_set(data):
    return SampleSet(data, torch.device("cpu"), torch.float32)


def test_where_every_pixel_has_a_label_both_train_the_same():
    """One step, because from then on rounding grows."""
    data = [Sample(one.image, np.where(one.target == 255, 0, one.target)) for one in samples(4)]
    found = [train(data, decode=how, epochs=1, precision="float32", optimiser="sgd") for how in ("whole", "labelled")]
    assert found[0].history[0].loss == pytest.approx(found[1].history[0].loss, rel=1e-4)
    assert all(np.allclose(value, found[1].state[key], atol=1e-4) for key, value in found[0].state.items())


@pytest.mark.parametrize("frozen", [True, False])
def test_few_labels_train_repeatably_and_otherwise_than_whole(frozen):
    data = few(6)
    one, two = train(data, frozen=frozen), train(data, frozen=frozen)
    assert same(one, two)
    assert not same(one, train(data, frozen=frozen, decode="whole"))
    assert np.isfinite(one.history[-1].loss)


def test_it_learns_as_decoding_whole_images_does():
    data = few(8)
    settings = {"epochs": 20, "lr": 3e-3, "precision": "float32"}
    ends = [train(data, decode=how, **settings).history[-1].loss for how in ("whole", "labelled")]
    assert max(ends) < 0.7 * train(data, **settings | {"epochs": 1}).history[0].loss


def test_batches_without_any_label_are_passed_over():
    data = few(6)
    blank = [Sample(one.image, np.full_like(one.target, 255)) for one in data[1:]]
    trained = train([data[0], *blank], batch=2, epochs=3)
    assert [row.loss > 0 for row in trained.history] == [True] * 3  # one batch of three has the label
    assert all(np.isfinite(value).all() for value in trained.state.values())


def test_scaled_and_cropped_images_train_too():
    data = few(4)
    trained = train(data, frozen=False, augment={"flip": True, "scale": [0.5, 1.5], "crop": [32, 32]}, epochs=3)
    assert all(np.isfinite(value).all() for value in trained.state.values())


def test_both_stages_of_partial_answers_train_on_their_cells():
    data = Answered().data(ROWS[:2])
    one, two, whole = (fit(data, decode=how) for how in ("labelled", "labelled", "whole"))
    for role in ("state", "reported"):
        assert all(np.array_equal(v, getattr(two, role)[k]) for k, v in getattr(one, role).items())
        assert not all(np.array_equal(v, getattr(whole, role)[k]) for k, v in getattr(one, role).items())
    assert {(part.phase, part.part) for part in one.losses} == {(part.phase, part.part) for part in whole.losses}
    assert list(planes(one)) == list(planes(whole))


def test_what_it_cannot_do_is_refused_by_name():
    with pytest.raises(ValueError, match=r"decode labelled needs view images \(now crops"):
        Supervised(decode="labelled")
    fcn = models.build("fcn_resnet50", json.dumps({}), 3)
    with pytest.raises(BadInput, match=r"training\.decode: this network"):
        train(few(2), fcn)
    settings = json.dumps({"view": "images", "decode": "labelled"})
    with pytest.raises(BadInput, match="one process"):
        training.train("supervised", settings, network(), few(2), 3, 3, group=Processes(0, 2))


def test_the_default_leaves_recipes_as_they_were():
    assert "decode" not in Supervised().model_dump()
    assert Supervised(view="images", decode="labelled").model_dump()["decode"] == "labelled"
