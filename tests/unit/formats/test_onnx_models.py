"""Networks as ONNX: what another runtime computes from an image equals what the evaluator computes."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import onnxruntime
import pytest
import torch

import camvid
from tessera import models
from tessera.datasets.reader import read_dataset
from tessera.datasets.street.params import StreetParams
from tessera.datasets.street.write import make_street
from tessera.errors import BadInput
from tessera.formats import images, onnx_models
from tessera.models.backbone import Backbone
from tessera.models.deeplabv3plus import DeepLabV3PlusHead
from tessera.models.network import SegmentationNetwork, seeded
from tessera.models.portable import GridMean, PortableNetwork
from tessera.models.predictor import Predictor
from tessera.models.upsample import predict, upsampled
from unit.models.test_network import randomise

CLASSES = 4
SLIM = {"width": 0.125}
FAMILIES = {
    "mobilenetv2": ("deeplabv3plus_mobilenetv2", {"width": 0.25}),
    "mobilenetv2, stride 8, cosine": (
        "deeplabv3plus_mobilenetv2",
        {"width": 0.25, "output_stride": 8, "temperature": 0.1},
    ),
    "resnet18": ("deeplabv3plus_resnet18", SLIM),
    "resnet101, as MulActSeg": (
        "deeplabv3plus_resnet101",
        SLIM | {"deep_stem": True, "separable": True, "temperature": 0.1},
    ),
    "drn": ("drn_d_22", SLIM),
    "drn, prototypes of free length": ("drn_d_22", SLIM | {"temperature": 0.05}),
    "fcn": ("fcn_resnet50", SLIM),
    "fcn, cosine": ("fcn_resnet50", SLIM | {"temperature": 0.1}),
    "wideresnet38": ("deeplabv3plus_wideresnet38", {"width": 0.0625}),
    "classifier": ("resnet18", SLIM),
    "classifier, prototypes": ("vgg16", SLIM | {"temperature": 0.05, "hidden": 16}),
}  # fmt: skip


def network(family, seed=0):
    """A network whose every weight and statistic is other than at its start; one output more than there are classes."""
    name, params = FAMILIES[family]
    return randomise(models.build(name, json.dumps(params), CLASSES + 1, seed), seed).eval()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two test images of street scenes, of odd sizes."""
    made = make_street(
        tmp_path_factory.mktemp("s"), StreetParams(height=90, width=121, train=1, val=1, test=2, frames=3)
    )
    found = [images.decode_rgb(one.image_path.read_bytes(), "image") for one in read_dataset(made).splits["test"]]
    return np.stack(found[:2])


def expected(model, rgb):
    """Logits as the evaluator has them before it takes the largest, and its labels."""
    logits = Predictor(model, dtype=torch.float32).logits(rgb)[:CLASSES]
    if model.head.whole_image:
        return logits[:, 0, 0], logits[:, 0, 0].argmax()
    return upsampled(logits, rgb.shape[:2]), predict(logits, rgb.shape[:2])


def same(given, wanted, name):
    """Logits to 1e-3 of the largest, and labels but where the two best classes are closer than that."""
    (logits, labels), (reference, truth) = given, wanted
    scale = max(1.0, float(np.abs(reference).max()))
    assert np.abs(logits - reference).max() <= 1e-3 * scale, name
    best = np.sort(reference, axis=0)
    clear = best[-1] - best[-2] > 2e-3 * scale
    assert (np.asarray(labels)[clear] == np.asarray(truth)[clear]).all(), name
    return float(np.abs(logits - reference).max() / scale)


def sizes(model, rgb):
    """The image, and parts of it down to those whose maps have one cell."""
    least = [] if type(model.backbone).__name__ == "VGG16" else [(17, 33), (5, 3), (1, 1)]
    return [rgb[:, :height, :width] for height, width in [(90, 121), (64, 64), (40, 100), *least]]


class TwoLayers(Backbone):
    """The least that a head can read: a low map at stride 4 and a high one at stride 16."""

    low_channels, high_channels = 6, 10

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 6, 5, 4, 2), torch.nn.Conv2d(6, 10, 5, 4, 2)

    def forward(self, x):
        low = self.first(x).relu()
        return low, self.second(low).relu()


def small(seed=0):
    """A network with every part of DeepLabv3+ whose work depends on the size."""
    with seeded(seed):
        head = DeepLabV3PlusHead(CLASSES + 1, 6, 10, width=0.03, separable=False)
        return randomise(SegmentationNetwork(TwoLayers(), head), seed).eval()


def against_the_predictor(model, pictures):
    portable = PortableNetwork(model, CLASSES).eval()
    for batch in sizes(model, pictures):
        with torch.inference_mode():
            logits, labels = portable(torch.from_numpy(np.ascontiguousarray(batch)))
        assert labels.dtype == torch.uint8
        for one, many, rgb in zip(logits.numpy(), labels.numpy(), batch, strict=True):
            same((one, many), expected(model, rgb), batch.shape)


@pytest.mark.parametrize("window", [None, (3, 4), (6, 30), (40, 2)])
def test_the_portable_network_computes_what_the_predictor_computes(window, pictures):
    model = small()
    if window is not None:
        model.head.trained_on(*window)
    against_the_predictor(model, pictures)


@pytest.mark.parametrize("cells", [1, 2, 7])
def test_means_over_a_grid_are_the_same(cells):
    high = torch.rand(2, 3, 5, 12)
    assert torch.allclose(GridMean(cells)(high), torch.nn.functional.adaptive_avg_pool2d(high, cells), atol=1e-6)


def exported(model):
    data = onnx_models.dump(model, CLASSES, {"run": "r-1", "classes": '["a"]'})
    return data, onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def check(model, pictures):
    data, session = exported(model)
    for batch in sizes(model, pictures):
        logits, labels = session.run(["logits", "labels"], {"image": np.ascontiguousarray(batch)})
        assert (logits.dtype, labels.dtype, len(logits)) == (np.float32, np.uint8, 2)
        for one, many, rgb in zip(logits, labels, batch, strict=True):
            same((one, many), expected(model, rgb), batch.shape)
    return data, session


@pytest.mark.full
def test_a_network_leaves_with_its_facts_and_without_those_of_the_machine(pictures):
    model = small()
    model.head.trained_on(3, 4)
    data, session = check(model, pictures)
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(uint8)", ["batch", "height", "width", 3])
    outputs = {one.name: one.shape for one in session.get_outputs()}
    assert outputs == {"logits": ["batch", CLASSES, "height", "width"], "labels": ["batch", "height", "width"]}
    assert session.get_modelmeta().custom_metadata_map == {"run": "r-1", "classes": '["a"]'}
    assert session.get_modelmeta().producer_name == "tessera"
    for part in (os.getcwd(), "site-packages", "tessera/models"):
        assert part.encode() not in data


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("window", [None, (3, 4)], ids=["whole", "windows"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_network_that_recipes_train_equals_ours_in_onnxruntime(family, window, pictures):
    if window is not None and not FAMILIES[family][0].startswith("deeplab"):
        pytest.skip("its head is the same whatever it was trained on")
    model = network(family)
    if window is not None:
        model.head.trained_on(*window)
    check(model, pictures)


@pytest.mark.full
@camvid.needs_camvid
def test_the_published_size_equals_ours_on_test_images_of_camvid():
    model = randomise(models.build("deeplabv3plus_mobilenetv2", "{}", CLASSES + 1)).eval()
    model.head.trained_on(14, 14)
    _, session = exported(model)
    for sample in camvid.samples("test")[::100]:
        rgb = camvid.rgb(sample)
        logits, labels = session.run(["logits", "labels"], {"image": rgb[None]})
        same((logits[0], labels[0]), expected(model, rgb), sample.image_id)


def test_without_the_packages_the_error_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(BadInput, match=r"onnxscript is missing; pip install 'tessera-al\[onnx\]'"):
        onnx_models.require()


def test_a_step_that_onnx_lacks_is_an_error(monkeypatch):
    def branch(self, image):
        return (image, image) if image.sum() > 0 else (image, image[:1])

    monkeypatch.setattr(PortableNetwork, "forward", branch)
    with pytest.raises(BadInput, match=r"cannot be written .*export safetensors"):
        onnx_models.dump(small(), CLASSES, {})


def test_weights_that_one_file_cannot_hold_are_refused(monkeypatch):
    monkeypatch.setattr(onnx_models, "MOST_BYTES", 1000)
    with pytest.raises(BadInput, match="bytes of weights, and a file holds"):
        onnx_models.dump(small(), CLASSES, {})
