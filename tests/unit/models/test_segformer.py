"""SegFormer on a tiny random configuration; the published sizes by their parameter counts."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tessera import models, training
from tessera.datasets.reader import read_dataset
from tessera.datasets.street.params import StreetParams
from tessera.datasets.street.write import make_street
from tessera.errors import BadInput
from tessera.formats import checkpoints, images, weights
from tessera.models.predictor import Predictor
from tessera.training import Sample
from unit.formats.test_onnx_models import CLASSES, check
from unit.models.test_network import count, randomise

MISSING = importlib.util.find_spec("transformers") is None
TINY = json.dumps({"hidden": [8, 16, 20, 16], "depths": [1, 1, 1, 1], "decoder": 16, "dropout": 0})
# Deprecations inside the library are its own affair.
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")]
needs_transformers = pytest.mark.skipif(MISSING, reason="transformers is not installed: pip install -r locks/hf.lock")


@pytest.mark.skipif(not MISSING, reason="transformers is installed")
def test_without_the_extra_the_error_names_it() -> None:
    with pytest.raises(BadInput, match=r"tessera-al\[hf\]"):
        models.build("segformer", TINY, 3)


# Xie et al. 2021, table 1: millions of parameters with 150 classes.
@needs_transformers
@pytest.mark.parametrize(("size", "millions"), [("b0", 3.8), ("b1", 13.7), ("b2", 27.5), ("b5", 84.7)])
def test_sizes_have_as_many_parameters_as_published(size: str, millions: float) -> None:
    with torch.device("meta"):
        made = models.build("segformer", json.dumps({"size": size}), 150)
    assert count(made) / 1e6 == pytest.approx(millions, abs=0.1)


@needs_transformers
@pytest.mark.parametrize("shape", [(64, 96), (61, 83), (33, 129)])
def test_it_is_the_librarys_network_whatever_the_size(shape: tuple[int, int]) -> None:
    """The packed maps lose nothing: Hugging Face's own network with the same weights gives the same logits."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    made = models.build("segformer", TINY, 3, seed=4)
    given = json.loads(TINY)
    config = SegformerConfig(hidden_sizes=given["hidden"], depths=given["depths"], decoder_hidden_size=16, num_labels=3)
    theirs = SegformerForSemanticSegmentation(config).eval()
    state = made.backbone.state_dict()
    # Our names are those of the release; the library has renamed this one since.
    renamed = "linear_projections" if "linear_projections" in str(theirs.state_dict().keys()) else "linear_c"
    head = {key.replace("linear_c", renamed): value for key, value in made.head.state_dict().items()}
    state |= {f"decode_head.{key}": value for key, value in head.items()}
    theirs.load_state_dict(state, strict=True)
    x = torch.randn(2, 3, *shape)
    with torch.inference_mode():
        expected = theirs(x).logits
        assert torch.allclose(made.head(*made.features(x)), expected, atol=1e-4 * float(expected.abs().max()))


@needs_transformers
def test_its_maps_serve_features_and_its_published_weights_load() -> None:
    made = models.build("segformer", TINY, 3)
    predictor = Predictor(made, dtype=torch.float32)
    rgb = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    assert predictor.logits(rgb).shape == (3, 16, 21)
    assert predictor.features(rgb).shape == (4 * 16 + 20 + 16, 4, 6)
    assert predictor.taps(rgb, ("decoder",))["decoder"].shape == (16, 16, 21)
    state = {
        key: value.numpy() for key, value in models.build("segformer", TINY, 3, seed=9).backbone.state_dict().items()
    }
    unused = {"decode_head.classifier.bias": np.zeros(150, np.float32), "classifier.bias": np.zeros(1000, np.float32)}
    checkpoints.load_backbone(made, weights.save({**state, **unused}), "published")
    assert all(np.array_equal(made.backbone.state_dict()[key].numpy(), value) for key, value in state.items())


@needs_transformers
def test_it_learns_and_refuses_windows() -> None:
    rng = np.random.default_rng(0)
    samples = []
    for at in range(4):
        image = np.full((64, 64, 3), 40 + 170 * (at % 2), np.uint8) + rng.integers(0, 9, (64, 64, 3)).astype(np.uint8)
        samples.append(Sample(image, np.full((64, 64), at % 2, np.uint8)))
    params = {"view": "images", "frozen": False, "epochs": 8, "batch": 4, "precision": "float32", "lr": 0.003}
    history = training.train(
        "supervised", json.dumps(params), models.build("segformer", TINY, 3), samples, 1, 3
    ).history
    assert history[-1].loss < history[0].loss
    frozen = json.dumps({"view": "images", "epochs": 2, "batch": 4, "precision": "float32"})
    made = models.build("segformer", TINY, 3)
    kept = training.train("supervised", frozen, made, samples, 1, 3).state
    before = made.backbone.state_dict()
    assert all(np.array_equal(kept[f"backbone.{key}"], value.numpy()) for key, value in before.items())
    boxed = [Sample(sample.image, sample.target[:20, :30], (21, 30, 41, 60)) for sample in samples]
    windows = json.dumps({"view": "windows", "epochs": 1, "batch": 4})
    with pytest.raises(BadInput, match="windows do not fit segformer"):
        training.train("supervised", windows, models.build("segformer", TINY, 3), boxed, 1, 3)


@needs_transformers
@pytest.mark.timeout(900)
def test_it_leaves_as_onnx_that_equals_ours_in_onnxruntime(tmp_path: Path) -> None:
    """One graph for every size, also below the 32 pixels that attention needs, on test images of street scenes."""
    made = make_street(tmp_path, StreetParams(height=90, width=121, train=1, val=1, test=2, frames=3))
    chosen = read_dataset(made).splits["test"][:2]
    pictures = np.stack([images.decode_rgb(one.image_path.read_bytes(), "image") for one in chosen])
    check(randomise(models.build("segformer", TINY, CLASSES + 1)).eval(), pictures)
