"""Discriminators of labelled and unlabelled inputs, or true and predicted ones; and how their inputs are made."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SLOPE = 0.2


class FeatureDiscriminator(nn.Module):
    """MAL's D for segmentation: features (d, h, w) → one logit of P(labelled) (MAL §3.2).

    The paper says "3 convs" and a binary output, without widths. Here: 3×3 of stride 2 with 64, 128 and 256 channels,
    global average, linear layers to 128 and 1, LeakyReLU 0.2 in between. No batch norm, so that no logit depends on the
    other inputs of a batch.
    """

    def __init__(self, channels: int, widths: Sequence[int] = (64, 128, 256), hidden: int = 128) -> None:
        super().__init__()
        sizes = (channels, *widths)
        self.convolutions = nn.Sequential(
            *(
                layer
                for inputs, outputs in itertools.pairwise(sizes)
                for layer in (nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.LeakyReLU(_SLOPE))
            )
        )
        self.decide = nn.Sequential(nn.Linear(sizes[-1], hidden), nn.LeakyReLU(_SLOPE), nn.Linear(hidden, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, channels, h, w), h and w at least 1 → (N,) logits."""
        out: Tensor = self.decide(self.convolutions(maps).mean(dim=(2, 3)))
        return out[:, 0]


class SegmentationDiscriminator(nn.Module):
    """s4GAN's D: an image and its segmentation → how much the segmentation looks like true labels.

    Four 4×4 convolutions of stride 2 and padding 1 with 64, 128, 256 and 512 channels, LeakyReLU 0.2 after each and
    channel dropout 0.5 after the first three, global average, one linear layer, as in the published code. The code
    averages over a window that fits one crop size; here the average is global.
    """

    def __init__(self, classes: int, widths: Sequence[int] = (64, 128, 256, 512), dropout: float = 0.5) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise((3 + classes, *widths)):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.LeakyReLU(_SLOPE), nn.Dropout2d(dropout)]
        self.convolutions = nn.Sequential(*layers[:-1])
        self.decide = nn.Linear(widths[-1], 1)

    def forward(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, 3 + classes, H, W), H and W at least 16 → features (N, 512) and logits (N,)."""
        features = self.convolutions(pairs).mean(dim=(2, 3))
        return features, self.decide(features)[:, 0]


class VectorDiscriminator(nn.Module):
    """D of VAAL and of MAL's classification: inputs → 512 → 512 → 1, ReLU; 525,825 parameters at 512 inputs."""

    def __init__(self, inputs: int, hidden: Sequence[int] = (512, 512)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(inputs, size), nn.ReLU(inplace=True)]
            inputs = size
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, 1))

    def forward(self, vectors: Tensor) -> Tensor:
        """Map (N, inputs), or maps of one cell (N, inputs, 1, 1) → (N,) logits."""
        out: Tensor = self.layers(vectors.flatten(1))
        return out[:, 0]


def normalised(features: Tensor, pool: int) -> Tensor:
    """Scale each cell's vector of (D, h, w) to length 1 (MAL §3.1), average pool × pool cells: (D, ⌈h/pool⌉, ⌈w/pool⌉).

    At the border fewer cells are averaged.
    """
    unit = F.normalize(features[None].float(), dim=1)
    return F.avg_pool2d(unit, pool, ceil_mode=True, count_include_pad=False)[0] if pool > 1 else unit[0]


def cells(box: Sequence[int], shape: tuple[int, int], size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of a map of ``size`` cells that a half-open box of an image of ``shape`` touches."""
    (y0, x0, y1, x1), (height, width), (rows, columns) = box, shape, size
    return slice(y0 * rows // height, -(-y1 * rows // height)), slice(x0 * columns // width, -(-x1 * columns // width))


def batched(network: nn.Module, parts: Iterable[Tensor]) -> Tensor:
    """Return the logits (n,) of maps (D, h, w) of any sizes, equal sizes together, in the order given."""
    listed = list(parts)
    by_size: dict[torch.Size, list[int]] = {}
    for index, part in enumerate(listed):
        by_size.setdefault(part.shape, []).append(index)
    order = [index for group in by_size.values() for index in group]
    logits = torch.cat([network(torch.stack([listed[index] for index in group])) for group in by_size.values()])
    return logits[torch.argsort(torch.tensor(order, device=logits.device))]
