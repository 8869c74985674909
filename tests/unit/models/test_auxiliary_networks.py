"""Discriminators and VAAL's autoencoder: sizes, normalisation, cells of a box, loss terms against their formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.models.auxiliary import VaalParams
from tessera.models.discriminators import FeatureDiscriminator, VectorDiscriminator, batched, cells, normalised
from tessera.models.network import seeded
from tessera.models.resize import resized
from tessera.models.vaal import Decoder, Encoder, LatentCritic, elbo_terms


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("inputs", "parameters"), [(512, 525_825), (25_088, 13_108_737)])
def test_the_vector_discriminator_has_the_parameters_that_mal_reports(inputs, parameters):
    assert count(VectorDiscriminator(inputs)) == parameters


def test_the_feature_discriminator_is_three_strided_convolutions_and_two_layers():
    network = FeatureDiscriminator(24)
    expected = sum(9 * a * b + b for a, b in ((24, 64), (64, 128), (128, 256))) + 256 * 128 + 128 + 128 + 1
    assert count(network) == expected
    for size in ((1, 1), (1, 9), (23, 30)):
        assert network(torch.zeros(3, 24, *size)).shape == (3,)


def test_a_discriminators_answer_does_not_depend_on_its_batch():
    with seeded(0):
        network, parts = FeatureDiscriminator(4), [torch.randn(4, 3 + i % 2, 5) for i in range(5)]
    together = batched(network, parts)
    alone = torch.stack([network(part[None])[0] for part in parts])
    assert torch.allclose(together, alone, atol=1e-6)
    assert not torch.allclose(together[0], together[1])


def test_normalised_features_have_length_one_and_are_averaged_with_the_border():
    features = torch.randn(6, 5, 7, generator=torch.Generator().manual_seed(0))
    unit = features / features.norm(dim=0)
    assert torch.allclose(normalised(features, 1), unit, atol=1e-6)
    got = normalised(features, 4)
    assert got.shape == (6, 2, 2)
    assert torch.allclose(got[:, 1, 1], unit[:, 4:, 4:].mean(dim=(1, 2)), atol=1e-6)
    # Lengths of features carry no information any more.
    assert torch.allclose(normalised(features * torch.rand(5, 7).add(0.5), 4), got, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_cells_cover_exactly_what_a_box_touches(data):
    height, width = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    rows, columns = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30))
    y0, x0 = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, height)), data.draw(st.integers(x0 + 1, width))
    found = cells((y0, x0, y1, x1), (height, width), (rows, columns))
    for part, low, high, pixels, number in ((found[0], y0, y1, height, rows), (found[1], x0, x1, width, columns)):
        # Cell k covers pixels [k·pixels/number, (k+1)·pixels/number).
        touched = [k for k in range(number) if k * pixels < high * number and (k + 1) * pixels > low * number]
        assert list(range(number))[part] == touched
        assert touched


def test_elbo_terms_are_the_formula():
    rng = np.random.default_rng(0)
    x, rebuilt = rng.random((3, 3, 4, 4)), rng.random((3, 3, 4, 4))
    mean, log_variance = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    tensors = [torch.from_numpy(each) for each in (x, rebuilt, mean, log_variance)]
    variance = np.exp(log_variance)
    # KL between two Gaussians, one of them standard, written out by dimension.
    kl = np.array([[0.5 * (v + m * m - 1 - np.log(v)) for m, v in zip(*row, strict=True)]
                   for row in zip(mean, variance, strict=True)])  # fmt: skip
    error = ((x - rebuilt) ** 2).reshape(3, -1)
    got = elbo_terms(*tensors, "elbo")
    assert [float(each) for each in got] == pytest.approx([error.sum(1).mean(), kl.sum(1).mean()])
    got = elbo_terms(*tensors, "code")
    assert [float(each) for each in got] == pytest.approx([error.mean(), kl.sum()])


@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_autoencoder_gives_back_the_size_it_takes(size):
    encoder, decoder = Encoder(size, 4, 6), Decoder(size, 4, 6)
    mean, log_variance = encoder(torch.zeros(2, 3, size, size))
    assert mean.shape == log_variance.shape == (2, 6)
    assert decoder(mean).shape == (2, 3, size, size)
    assert LatentCritic(size, 4, 6).eval()(torch.zeros(2, 3, size, size)).shape == (2,)


def test_a_latent_larger_than_its_image_is_refused():
    with pytest.raises(ValueError, match="latent"):
        VaalParams(size=32, latent=1025 * 4)


def test_boxes_are_resized_one_by_one():
    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    boxes = [(0, 0, 40, 60), (3, 5, 35, 37), (10, 10, 11, 11)]
    got = resized(rgb, boxes, 32)
    assert got.shape == (3, 32, 32, 3)
    assert np.array_equal(got[1], rgb[3:35, 5:37])
    assert (got[2] == rgb[10, 10]).all()
    assert np.array_equal(resized(rgb, boxes[:1], 32)[0], got[0])
    flat = np.full((40, 60, 3), 77, np.uint8)
    assert (resized(flat, boxes, 32) == 77).all()
