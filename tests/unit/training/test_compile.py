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
from unit.training.test_every_method import World

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


async def trained(world, **changes):
    """(losses by epoch, weights) of a training."""
    response = await train(world.job("supervised", optimiser="sgd", lr=1e-2, **changes), world)
    history = tables.read(schemas.HISTORY, world.objects[response.history.sha256], "history")
    return history["loss"], weights.load(world.objects[response.model.weights.sha256], "model")


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # the compiler reads what torch warns about
@pytest.mark.timeout(1200)
async def test_weights_keep_their_names_and_checkpoints_go_both_ways(monkeypatch):
    """With all that torch does before it makes kernels, which alone would take minutes here."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    changes = {"augment": {"flip": True}}
    worlds = {compile: World() for compile in (False, True)}
    found = {}
    for compile, world in worlds.items():
        world.keeps = True
        found[compile] = await trained(world, **changes, compile=compile)
    (plain, one), (quick, two) = found[False], found[True]
    assert np.allclose(plain, quick, rtol=1e-2)
    assert {key: value.shape for key, value in one.items()} == {key: value.shape for key, value in two.items()}
    for compile, world in worlds.items():  # the checkpoint of either goes on as the other
        again = World()
        again.kept = world.checkpoints[0]
        losses, _ = await trained(again, **changes, compile=not compile)
        assert np.allclose(losses, plain, rtol=1e-2)


@pytest.mark.full
@pytest.mark.skipif(bool(compiles()), reason=compiles() or "-")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(1200)
async def test_kernels_that_torch_makes_train_as_the_plain_ones():
    """Of the decoder alone: those of a backbone take minutes to make."""
    changes = {"frozen": True, "backbone_norm": "eval", "augment": {"flip": True}, "epochs": 1}
    (plain, _), (quick, _) = [await trained(World(), **changes, compile=compile) for compile in (False, True)]
    assert np.allclose(plain, quick, rtol=1e-2)
