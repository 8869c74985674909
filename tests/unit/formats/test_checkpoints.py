"""Strict loading: the first key that does not fit is named, with the remedy."""

import json

import numpy as np
import pytest
import torch

from tessera import models
from tessera.errors import BadInput
from tessera.formats import checkpoints, weights
from tessera.pb.common_pb2 import AxisValue

NAME = "deeplabv3plus_mobilenetv2"
SLIM = AxisValue(name=NAME, parameters=json.dumps({"width": 0.125}))


@pytest.fixture(scope="module")
def tensors():
    data = checkpoints.dump_model(models.build(NAME, SLIM.parameters, 3, seed=5))
    return dict(weights.load(data, "w"))


def test_round_trip(tensors):
    model = checkpoints.build_model(SLIM, 3, weights.save(tensors), "w")
    assert not model.training
    for key, value in model.state_dict().items():
        assert np.array_equal(value.numpy(), tensors[key])


def test_half_precision_files_load_into_a_float32_model(tensors):
    half = {key: value.astype(np.float16) if value.dtype == np.float32 else value for key, value in tensors.items()}
    model = checkpoints.build_model(SLIM, 3, weights.save(half), "w")
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.pop("head.classifier.bias"), r"'head\.classifier\.bias' is missing"),
        (lambda t: t.update(extra=np.zeros(3, np.float32)), "'extra' is unexpected"),
        (lambda t: t.update({"head.classifier.bias": np.zeros(9, np.float32)}), r"\(9,\) instead of \(3,\)"),
    ],
)
def test_what_does_not_fit_is_named(tensors, change, problem):
    changed = dict(tensors)
    change(changed)
    with pytest.raises(BadInput, match=rf"model\.safetensors: .*{problem}.*give weights"):
        checkpoints.build_model(SLIM, 3, weights.save(changed), "model.safetensors")


def test_weights_of_another_architecture_and_of_other_classes_are_refused(tensors):
    with pytest.raises(BadInput, match=r"layer1\.weight|is missing"):
        checkpoints.build_model(SLIM, 3, weights.save({"layer1.weight": np.zeros(3, np.float32)}), "resnet")
    with pytest.raises(BadInput, match="shape"):
        checkpoints.build_model(SLIM, 4, weights.save(tensors), "w")


def test_backbone_drops_the_imagenet_classifier_and_nothing_else(tensors):
    prefix = "backbone."
    backbone = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
    imagenet = backbone | {
        "features.18.0.weight": np.zeros((8, 8, 1, 1), np.float32),
        "classifier.1.weight": np.zeros((10, 8), np.float32),
    }
    model = models.build(NAME, SLIM.parameters, 7, seed=1)
    checkpoints.load_backbone(model, weights.save(imagenet), "imagenet")
    assert np.array_equal(model.backbone.features[0][0].weight.detach().numpy(), backbone["features.0.0.weight"])
    with pytest.raises(BadInput, match=r"'features\.19\.weight' is unexpected"):
        checkpoints.load_backbone(model, weights.save(imagenet | {"features.19.weight": np.zeros(1)}), "imagenet")
    del imagenet["features.3.conv.3.bias"]
    with pytest.raises(BadInput, match=r"'features\.3\.conv\.3\.bias' is missing"):
        checkpoints.load_backbone(model, weights.save(imagenet), "imagenet")
