"""MC dropout: three places of the decoder, masks from the seed of the pass alone, all else as in prediction."""

import copy
import json

import numpy as np
import pytest
import torch

from tessera import models
from tessera.errors import BadInput
from tessera.models.predictor import Predictor
from tessera.models.upsampled_conv import interpolation

NAME = "deeplabv3plus_mobilenetv2"


pytestmark = pytest.mark.usefixtures("one_thread")


def network(mc_dropout=0.1, **params):
    made = models.build(NAME, json.dumps({"width": 0.25, "mc_dropout": mc_dropout, **params}), 4, seed=1).train()
    with torch.no_grad():  # batch norm that knows some data
        for _ in range(3):
            made(torch.randn(2, 3, 48, 64, generator=torch.Generator().manual_seed(0)))
    return made.eval()


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3)).astype(np.uint8)


def test_the_architecture_has_the_same_weights_with_and_without():
    plain, dropping = (models.build(NAME, json.dumps({"width": 0.25, "mc_dropout": p}), 4, seed=3) for p in (None, 0.1))
    assert plain.state_dict().keys() == dropping.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), dropping.parameters(), strict=True))
    assert [plain.head.low_dropout.p, plain.head.fuse_dropout.p, round(plain.head.refine_dropout.p, 3)] == [0, 0.5, 0.1]
    head = dropping.head
    assert {round(each.p, 4) for each in (head.low_dropout, head.fuse_dropout, head.refine_dropout)} == {0.1}
    assert head.aspp_dropout.p == 0.5


def test_a_pass_is_the_decoder_with_a_mask_after_each_convolution():
    """Brute force: the masks are read off the modules' outputs and the decoder is computed from its formula."""
    head = network(0.3, dropout=0.9).head
    low, high = torch.randn(1, 8, 12, 16), torch.randn(1, 80, 3, 4)
    seen = {}
    places = {"low": head.low_dropout, "fuse": head.fuse_dropout, "refine": head.refine_dropout}
    for name, place in places.items():
        place.register_forward_hook(lambda module, given, out, name=name: seen.__setitem__(name, (given[0], out)))
    with torch.no_grad():
        (got,) = head.mc_logits(low, high, [5])
        masks = {
            name: torch.where(given == 0, torch.ones_like(out), out / given) for name, (given, out) in seen.items()
        }
        for name, mask in masks.items():
            readable = mask[seen[name][0] != 0]  # of a zero, kept or not cannot be told
            kept = readable != 0
            assert torch.allclose(readable[kept], torch.tensor(1 / 0.7), atol=1e-3)
            assert 0.6 < kept.float().mean() < 0.8
        rows, columns = interpolation(3, 12, 4), interpolation(4, 16, 4)
        context = torch.einsum("nchw,hy,wx->ncyx", head.aspp(high), rows, columns)
        x = torch.cat([context, head.low(low) * masks["low"]], dim=1)
        x = head.refine(head.fuse(x) * masks["fuse"]) * masks["refine"]
        assert torch.allclose(head.classifier(x), got, atol=1e-4)


def test_passes_change_neither_the_network_nor_torchs_state():
    made = network()
    before = copy.deepcopy(made.state_dict())
    state = torch.random.get_rng_state()
    with torch.no_grad():
        low, high = made.features(torch.randn(1, 3, 48, 64, generator=torch.Generator().manual_seed(1)))
        plain = made.head(low, high)
        passes = list(made.head.mc_logits(low, high, range(4)))
        assert torch.equal(made.head(low, high), plain)
    assert torch.equal(torch.random.get_rng_state(), state)
    after = made.state_dict()
    # Running statistics of batch norm among them: it stays in eval mode while dropout is on.
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not any(module.training for module in made.modules())
    assert all(not torch.equal(one, plain) for one in passes)


def test_a_pass_depends_on_its_seed_alone():
    predictor = Predictor(network(), dtype=torch.float32)
    maps = predictor.image_maps(picture())
    seeds = [3, 9, 2**62 + 5]
    together = predictor.mc_logits_of(*maps, seeds)
    for seed, expected in zip(seeds, together, strict=True):
        torch.manual_seed(seed + 1)  # whatever was drawn before
        assert np.array_equal(predictor.mc_logits_of(*maps, [seed])[0], expected)
    assert not np.array_equal(together[0], together[1])
    assert np.array_equal(predictor.logits_of(*maps), predictor.logits(picture()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_folded_and_bf16_networks_draw_the_same_masks(dtype):
    made = network()
    predictor = Predictor(made, dtype=dtype)
    low, high = predictor.image_maps(picture())
    got = predictor.mc_logits_of(low, high, [1, 2])
    made = made.to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = [one[0].numpy() for one in made.head.mc_logits(low.float(), high.float(), [1, 2])]
        plain = made.head(low.float(), high.float())[0].numpy()
    for one, other in zip(got, expected, strict=True):
        noise = np.abs(other - plain).mean()
        assert np.abs(one - other).mean() < noise * (1e-3 if dtype == torch.float32 else 0.2)


def test_the_mean_of_many_passes_is_near_the_plain_prediction():
    predictor = Predictor(network(0.05), dtype=torch.float32)
    maps = predictor.image_maps(picture())
    plain = predictor.logits_of(*maps)
    passes = np.stack(predictor.mc_logits_of(*maps, range(60)))
    assert np.abs(passes.mean(axis=0) - plain).mean() < 0.5 * np.abs(passes - plain).mean()


def test_a_network_without_mc_dropout_is_refused():
    predictor = Predictor(network(None))
    with pytest.raises(BadInput, match="mc_dropout"):
        predictor.mc_logits_of(*predictor.image_maps(picture()), [1])


def test_a_pass_of_a_single_layer_is_that_layer_on_dropped_features():
    """DRN has one layer above its backbone: a pass drops some of what it reads, and nothing else changes."""
    made = models.build("drn_d_22", json.dumps({"width": 0.25, "mc_dropout": 0.2}), 4, seed=1)
    head, (low, high) = made.head, made.features(torch.randn(1, 3, 48, 64))
    seen = []
    head.classifier.register_forward_pre_hook(lambda _module, given: seen.append(given[0].detach()))
    with torch.no_grad():
        one, again, other = (each.clone() for each in head.mc_logits(low, high, [5, 5, 6]))
        plain = head(low, high)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    dropped, kept = seen[0], seen[3]
    assert torch.equal(kept, high)
    zero = dropped == 0
    assert 0.15 < float(zero[kept != 0].float().mean()) < 0.25
    assert torch.allclose(dropped[~zero], kept[~zero] / 0.8, rtol=1e-3)
    weight, bias = head.classifier.weight[:, :, 0, 0], head.classifier.bias
    expected = torch.einsum("kc,nchw->nkhw", weight, dropped) + bias[:, None, None]
    assert torch.allclose(one[:, :, ::2, ::2], expected, atol=1e-4)  # stride 8 in stride 4
    assert plain.shape == one.shape
    assert not head.classifier_dropout.training
    assert "classifier_dropout" not in " ".join(made.state_dict())
