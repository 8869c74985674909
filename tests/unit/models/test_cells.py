"""Convolutions at some cells: those of the whole map, read there; gradients too."""

import json

import pytest
import torch
import torch.nn.functional as F

from tessera import models
from tessera.models import cells

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (2, 5, 7)


def some(seed, shape=SHAPE, share=0.3):
    torch.manual_seed(seed)
    return (torch.rand(shape) < share).view(-1).nonzero()[:, 0]


def at(maps, places):
    """(N, C, h, w) at places: (n, C)."""
    return maps.movedim(1, 3).flatten(0, 2)[places]


def test_widened_places_are_those_and_their_eight_neighbours():
    places = torch.tensor([0, 7 + 6, 35 + 16])  # a corner, the end of a row, the inside of the second image
    got = set(cells.widened(places, SHAPE).tolist())
    expected = set()
    for place in places.tolist():
        n, y, x = place // 35, place // 7 % 5, place % 7
        expected |= {
            n * 35 + (y + dy) * 7 + x + dx
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if 0 <= y + dy < 5 and 0 <= x + dx < 7
        }
    assert got == expected


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("groups", [1, 4])
def test_a_convolution_at_some_cells_is_that_of_the_whole_map_there(groups, seed):
    places = some(seed)
    conv = torch.nn.Conv2d(4, 4 if groups > 1 else 3, 3, padding=1, groups=groups).double()
    maps = torch.randn(2, 4, 5, 7, dtype=torch.float64, requires_grad=True)
    expected = at(conv(maps), places)
    weight = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weight).sum(), [maps, conv.weight, conv.bias])
    read = cells.widened(places, SHAPE)
    got = cells.rows(cells.conv3x3(conv, conv.weight, cells.take(maps, read), cells.around(places, read, SHAPE)))
    assert torch.allclose(got, expected)
    found = torch.autograd.grad((got * weight).sum(), [maps, conv.weight, conv.bias])
    assert all(torch.allclose(one, other) for one, other in zip(found, wanted, strict=True))


def test_a_cell_that_the_table_lacks_counts_as_zero():
    conv = torch.nn.Conv2d(1, 1, 3, padding=1, bias=False)
    maps, places = torch.rand(1, 1, 4, 4), torch.tensor([5])
    table = torch.tensor([4, 5])  # of the nine cells around cell 5, its left neighbour and itself
    got = cells.conv3x3(conv, conv.weight, cells.take(maps, table), cells.around(places, table, (1, 4, 4)))
    expected = conv.weight[0, 0, 1, 0] * maps[0, 0, 1, 0] + conv.weight[0, 0, 1, 1] * maps[0, 0, 1, 1]
    assert got.item() == pytest.approx(expected.item())


def network(**changes):
    given = {"width": 0.125, "dropout": 0.0, **changes}
    return models.build("deeplabv3plus_mobilenetv2", json.dumps(given), 3, seed=1)


@pytest.mark.parametrize("changes", [{}, {"separable": True}, {"temperature": 0.1}, {"output_stride": 8}])
def test_logits_at_some_cells_are_those_of_the_whole_image_there(changes):
    head = network(**changes).head.eval()
    stride = changes.get("output_stride", 16)
    low, high = torch.randn(2, 8, 12, 16), torch.randn(2, 40, 48 // stride, 64 // stride)
    places = some(3, (2, 12, 16), 0.1)
    expected = at(head(low, high), places)
    got = head.logits_at(low, high, places)
    assert torch.allclose(got, expected, atol=1e-4)
    weight = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weight).sum(), [*head.parameters()])
    found = torch.autograd.grad((got * weight).sum(), [*head.parameters()])
    assert all(torch.allclose(one, other, atol=1e-3, rtol=1e-3) for one, other in zip(found, wanted, strict=True))


def test_batch_norm_sees_the_cells_that_are_read_and_no_others():
    head = network().head.train()
    low, high = torch.randn(2, 8, 12, 16), torch.randn(2, 40, 3, 4)
    everywhere = torch.arange(2 * 12 * 16)
    assert torch.allclose(head.logits_at(low, high, everywhere), at(head(low, high), everywhere), atol=1e-4)
    places = torch.tensor([17, 18])
    before = head.logits_at(low, high, places)
    far = low.clone()
    far[:, :, 8:] += 5.0  # more than three rows away
    assert torch.equal(head.logits_at(far, high, places), before)
    assert not torch.allclose(at(head(far, high), places), at(head(low, high), places), atol=1e-3)


def test_only_networks_with_such_a_decoder_say_so():
    other = models.build("fcn_resnet50", json.dumps({}), 3)
    assert network().head.decodes_cells
    assert not other.head.decodes_cells
    with pytest.raises(NotImplementedError):
        other.head.logits_at(torch.zeros(1), torch.zeros(1), torch.zeros(1, dtype=torch.int64))


def test_vectors_of_cells_are_an_image_of_one_row():
    vectors = torch.randn(6, 3)
    assert cells.image(vectors).shape == (1, 3, 1, 6)
    assert cells.image(vectors).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(cells.rows(cells.image(vectors)), vectors)
    conv = torch.nn.Conv2d(3, 2, 1)
    assert torch.allclose(cells.rows(conv(cells.image(vectors))), F.linear(vectors, conv.weight[:, :, 0, 0], conv.bias))
