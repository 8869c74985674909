"""Auxiliary networks: they learn what can be told apart, repeat, and never update what they read."""

import json
import math

import numpy as np
import pytest
import torch

from tessera.errors import BadInput
from tessera.models import vaal
from tessera.models.auxiliary import VaalParams
from tessera.models.discriminators import FeatureDiscriminator, VectorDiscriminator, normalised
from tessera.models.network import seeded
from tessera.models.vaal import Decoder, Encoder, LatentCritic, pixels
from tessera.training import auxiliary, labeledness
from tessera.training.auxiliary import Regions, drawn
from tessera.training.streams import Shuffled

D = {"pool": 1, "epochs": 30, "batch": 4, "lr": 1e-3}
V = {"size": 32, "width": 4, "latent": 8, "epochs": 6, "batch": 8}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def whole(count, labelled, height=32, width=48):
    box = np.tile(np.array([0, 0, height, width], np.int32), (count, 1))
    return Regions(np.arange(count), box, np.isin(np.arange(count), labelled))


def pictures(count, bright, seed=0):
    """Noise; some images are brighter than the others."""
    rng = np.random.default_rng(seed)
    made = rng.integers(0, 120, (count, 32, 48, 3)).astype(np.uint8)
    made[bright] += 120
    return list(made)


def features_of(rgb, tap):
    """A map that tells bright from dark by its direction alone, as normalised features must."""
    assert tap == "decoder"
    grey = rgb[::8, ::8].mean(axis=2) / 255.0
    return np.stack([grey, 1.0 - grey, np.full_like(grey, 0.2)]).astype(np.float32) * 7.0


def probability(state, rgb):
    network = FeatureDiscriminator(3)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    with torch.inference_mode():
        maps = normalised(torch.from_numpy(features_of(rgb, "decoder")), 1)
        return float(torch.sigmoid(network(maps[None])))


def test_the_discriminator_learns_what_can_be_told_apart():
    images = pictures(16, bright=list(range(8)))
    # Labelled: six of the bright ones. The two that are left must look labelled, the dark ones must not.
    made = auxiliary.train("discriminator", json.dumps(D), whole(16, range(6)), images, features_of, 1)
    losses = [row.discriminator_loss for row in made.history]
    assert losses[-1] < losses[0] * 0.8
    bright = [probability(made.state, images[index]) for index in (6, 7)]
    dark = [probability(made.state, images[index]) for index in range(8, 16)]
    assert min(bright) > max(dark)
    assert math.isnan(made.history[0].reconstruction)


def test_regions_of_an_image_are_told_apart_by_their_box():
    images = pictures(4, bright=[])
    for image in images:
        image[:16] += 120
    box = np.array([[0, 0, 16, 48], [16, 0, 32, 48]] * 4, np.int32)
    regions = Regions(np.repeat(np.arange(4), 2), box, np.array([True, False] * 3 + [False, False]))
    made = auxiliary.train("discriminator", json.dumps(D | {"epochs": 60}), regions, images, features_of, 1)
    assert probability(made.state, images[3][:16]) > probability(made.state, images[3][16:])


@pytest.mark.parametrize(("name", "params"), [("discriminator", D | {"epochs": 2}), ("vaal", V | {"epochs": 1})])
def test_the_same_seed_repeats_and_another_does_not(name, params):
    def made(seed):
        images = pictures(6, bright=[0, 1, 2])
        return auxiliary.train(name, json.dumps(params), whole(6, [0, 1]), images, features_of, seed)

    before = torch.random.get_rng_state()
    first, again, other = made(3), made(3), made(4)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(np.array_equal(first.state[key], again.state[key]) for key in first.state)
    assert np.array_equal(*([row.discriminator_loss for row in each.history] for each in (first, again)))
    assert not all(np.array_equal(first.state[key], other.state[key]) for key in first.state)


def test_vaal_learns_to_tell_labelled_images_from_others():
    images = pictures(24, bright=list(range(12)))
    # Without the adversarial term nothing hides the difference from the discriminator.
    params = json.dumps(V | {"adversary": 0.0, "epochs": 20})
    made = auxiliary.train("vaal", params, whole(24, range(10)), images, None, 1)
    network = LatentCritic(32, 4, 8).eval()
    network.load_state_dict({key: torch.from_numpy(value) for key, value in made.state.items()})
    with torch.inference_mode():
        from tessera.models.resize import resized

        small = np.concatenate([resized(image, [(0, 0, 32, 48)], 32) for image in images])
        scores = network(pixels(torch.from_numpy(small))).numpy()
    assert scores[10:12].min() > np.median(scores[12:])
    assert made.history[-1].reconstruction < made.history[0].reconstruction
    assert set(made.state) == set(network.state_dict())


def test_the_autoencoders_loss_is_the_papers():
    """L = Σ_{L,U} (‖x − x̂‖² + β KL) − λ (E log D(μ_L) + E log D(μ_U)); D is told both are labelled."""
    params = VaalParams(size=32, width=4, latent=8, beta=0.5, adversary=2.0)
    with seeded(0):
        encoder, decoder, critic = Encoder(32, 4, 8).eval(), Decoder(32, 4, 8).eval(), VectorDiscriminator(8)
        batch = [torch.rand(3, 3, 32, 32), torch.rand(3, 3, 32, 32)]
    with seeded(5):
        loss, terms = vaal.autoencoder_loss(params, encoder, decoder, critic, batch)
    expected = np.zeros(3)
    with seeded(5), torch.no_grad():
        for x in batch:
            mean, log_variance = encoder(x)
            z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            expected[0] += float(((decoder(z) - x) ** 2).sum(dim=(1, 2, 3)).mean())
            kl = 0.5 * (log_variance.exp() + mean**2 - 1.0 - log_variance)
            expected[1] += float(kl.sum(1).mean())
            expected[2] -= float(torch.log(torch.sigmoid(critic(mean))).mean())
    assert terms == pytest.approx(expected, rel=1e-4)
    assert float(loss.detach()) == pytest.approx(expected @ [1.0, 0.5, 2.0], rel=1e-4)
    # E_L[log D] + E_U[log(1 − D)], and the encoder gets no gradient from it.
    encoder.zero_grad()
    loss = vaal.critic_loss(encoder, critic, batch)
    loss.backward()
    with torch.no_grad():
        p = [torch.sigmoid(critic(encoder(x)[0])) for x in batch]
    assert float(loss.detach()) == pytest.approx(-float(torch.log(p[0]).mean() + torch.log(1 - p[1]).mean()), rel=1e-4)
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_a_step_against_the_critic_makes_means_look_labelled():
    params = VaalParams(size=32, width=4, latent=8, beta=0.0, adversary=1e6)
    with seeded(1):
        encoder, decoder, critic = Encoder(32, 4, 8), Decoder(32, 4, 8), VectorDiscriminator(8)
        batch = [torch.rand(8, 3, 32, 32), torch.rand(8, 3, 32, 32)]
    before = float(critic(encoder(batch[1])[0]).mean().detach())
    optimiser = torch.optim.SGD(encoder.parameters(), 1e-6)
    with seeded(2):
        loss, _ = vaal.autoencoder_loss(params, encoder, decoder, critic, batch)
    loss.backward()
    optimiser.step()
    assert float(critic(encoder(batch[1])[0]).mean().detach()) > before


def test_feeds_give_every_row_before_any_again():
    feed = Shuffled(np.arange(5), np.random.default_rng(0))
    taken = np.concatenate([feed.take(3) for _ in range(5)])
    assert sorted(taken.tolist()) == sorted([0, 1, 2, 3, 4] * 3)
    assert sorted(taken[:5].tolist()) == [0, 1, 2, 3, 4]
    assert len(Shuffled(np.arange(2), np.random.default_rng(0)).take(7)) == 7


def test_at_most_samples_regions_of_either_kind_are_looked_at():
    regions = drawn(whole(50, range(20)), 7, np.random.default_rng(0))
    assert (int(regions.labelled.sum()), len(regions.labelled)) == (7, 14)
    assert (np.diff(regions.image) > 0).all()


def test_maps_beyond_the_memory_are_left_out_and_both_kinds_stay(monkeypatch):
    monkeypatch.setattr(labeledness, "MAP_BYTES", 4 * 3 * 4 * 6 * 2)
    made = auxiliary.train(
        "discriminator", json.dumps(D | {"epochs": 1}), whole(30, range(3)), pictures(30, []), features_of, 1
    )
    assert len(made.history) == 1


def test_a_pool_of_one_kind_is_refused():
    for labelled, word in ((range(4), "all are"), ([], "none is")):
        with pytest.raises(BadInput, match=word):
            auxiliary.train("vaal", json.dumps(V), whole(4, labelled), pictures(4, []), None, 1)
    with pytest.raises(BadInput, match="name a model"):
        auxiliary.train("discriminator", json.dumps(D), whole(4, [0]), pictures(4, []), None, 1)
