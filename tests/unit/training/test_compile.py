"""``training.compile`` changes how steps are computed, and nothing about what is kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from memory_blobs import served
from tessera import models, training
from tessera.errors import BadInput
from tessera.formats import schemas, tables, weights
from tessera.training import compiled
from unit.training.test_every_method import SETTINGS, World

train = served("trainer").train
pytestmark = pytest.mark.usefixtures("one_thread")


def network():
    return models.build("deeplabv3plus_mobilenetv2", '{"width": 0.125, "output_stride": 16}', 3)


def compiles():
    try:
        compiled._check_compiler(torch.device("cpu"))
    except BadInput as error:
        return str(error)
    return ""


@pytest.mark.parametrize("method", training.METHODS.names())
def test_a_recipe_without_it_stays_the_same_text(method):
    plain = training.METHODS.canonical(method, {})
    assert "compile" not in plain
    assert training.METHODS.canonical(method, {"compile": False}) == plain
    settings = {"compile": True, "frozen": False}
    assert training.METHODS.canonical(method, settings) != training.METHODS.canonical(method, {"frozen": False})
    assert not training.can_be_parted(method, training.parameters(method, settings))


@pytest.mark.parametrize(
    ("method", "settings", "remedy"),
    [
        ("supervised", {"decode": "labelled", "view": "images"}, "set decode to whole, or compile to false"),
        ("contrastive", {"frozen": True}, "set frozen or compile to false"),
    ],
)
def test_it_is_refused_where_nothing_would_be_compiled(method, settings, remedy):
    with pytest.raises(BadInput, match=remedy):
        training.parameters(method, json.dumps({"compile": True, **settings}))


def test_without_a_compiler_the_field_is_named():
    from torch._inductor import config

    words = r"training\.compile: .*no C\+\+ compiler.*set training\.compile to false"
    with config.patch({"cpp.cxx": ("no-such-compiler",)}), pytest.raises(BadInput, match=words):
        compiled.compile_calls(network(), torch.device("cpu"))


def test_what_the_compiler_raises_names_the_field_and_other_errors_stay():
    from torch._dynamo.exc import TorchDynamoException

    with pytest.raises(BadInput, match=r"training\.compile: .*\(no such operator\)"), compiled.compile_errors():
        raise TorchDynamoException("no such operator\nand much more")
    with pytest.raises(ZeroDivisionError), compiled.compile_errors():
        _ = 1 / 0


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # the compiler reads what torch warns about
@pytest.mark.skipif(bool(compiles()), reason=compiles() or "-")
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
async def test_weights_keep_their_names_and_checkpoints_go_both_ways(backend, monkeypatch):
    monkeypatch.setattr(compiled, "BACKEND", backend)
    changes = {"augment": {"flip": True}, "optimiser": "sgd", "lr": 1e-2}
    assert "augment" in SETTINGS
    found, worlds = [], []
    for compile in (False, True):
        world = World()
        world.keeps = True
        response = await train(world.job("supervised", **changes, compile=compile), world)
        history = tables.read(schemas.HISTORY, world.objects[response.history.sha256], "history")
        found.append((history["loss"], weights.load(world.objects[response.model.weights.sha256], "model")))
        worlds.append(world)
    (plain, one), (quick, two) = found
    assert np.allclose(plain, quick, rtol=1e-2)
    assert {key: value.shape for key, value in one.items()} == {key: value.shape for key, value in two.items()}
    # The checkpoint of either goes on as the other.
    for world, compile in zip(worlds, (True, False), strict=True):
        again = World()
        again.kept = world.checkpoints[0]
        response = await train(again.job("supervised", **changes, compile=compile), again)
        history = tables.read(schemas.HISTORY, again.objects[response.history.sha256], "history")
        assert np.allclose(history["loss"], plain, rtol=1e-2)
