"""Heads that read the deepest map alone: FCN (Long et al. 2015, as in torchvision) and DRN's single layer."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from tessera.models.classifiers import pixel_classifier
from tessera.models.dropout import Dropout
from tessera.models.mobilenetv2 import divisible
from tessera.models.network import Head, seeded
from tessera.models.projection_head import projection_head as pixel_vectors
from tessera.models.upsampled_conv import Offsets, upsample


class FCNHead(Head):
    """3×3 convolution to a quarter of the channels, batch norm, ReLU, dropout, classifier; logits at stride 4.

    Without ``reduce`` the classifier reads the deepest map itself, as in DRN's published code. ``temperature`` makes it
    a cosine classifier. The projection head reads the deepest map beside the first convolution (superpixel-contrastive
    paper, §4.2). ``mc_dropout``: probability of dropout before the classifier, in training and in the passes of BALD.
    """

    def __init__(
        self,
        classes: int,
        channels: int,
        *,
        output_stride: int = 8,
        reduce: bool = True,
        dropout: float = 0.1,
        temperature: float | None = None,
        unit_prototypes: bool = True,
        projection_head: int | None = None,
        mc_dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.ratio = output_stride // 4
        hidden = divisible(channels / 4) if reduce else channels
        self.reduce = nn.Sequential()
        if reduce:
            conv = nn.Conv2d(channels, hidden, 3, padding=1, bias=False)
            self.reduce = nn.Sequential(conv, nn.BatchNorm2d(hidden), nn.ReLU(inplace=True), Dropout(dropout))
        self.mc_dropout = mc_dropout
        self.classifier_dropout = Dropout(mc_dropout or 0.0)
        self.classifier = pixel_classifier(hidden, classes, temperature, unit_prototypes=unit_prototypes)
        self.projection = None if projection_head is None else pixel_vectors(channels, projection_head)
        self.reset_parameters()

    def forward(self, low: Tensor, high: Tensor, offsets: Offsets | None = None) -> Tensor:
        """Map high (N, channels, h, w) → logits (N, classes, h4, w4), the size of the low map, which is not read.

        ``offsets``: where each low map begins on the stride-4 grid of its high map, for parts of images.
        """
        features = self.classifier_dropout(self.reduce(high))
        return upsample(self.classify(features), (low.shape[2], low.shape[3]), self.ratio, offsets)

    def mc_logits(self, low: Tensor, high: Tensor, seeds: Sequence[int]) -> Iterator[Tensor]:
        """Yield the logits of one pass per seed, see `Head.mc_logits`: dropout is on, all before it runs once."""
        features, size = self.reduce(high), (low.shape[2], low.shape[3])
        before = self.classifier_dropout.training
        for seed in seeds:
            try:
                self.classifier_dropout.train()
                with seeded(seed):
                    dropped = self.classifier_dropout(features)
            finally:
                self.classifier_dropout.train(before)
            yield upsample(self.classify(dropped), size, self.ratio)

    def taps(self, low: Tensor, high: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """Return maps inside the head by name, as `Head.taps` says: ``decoder`` is the classifier's input."""
        features = self.reduce(high)
        made = {"decoder": features}
        if "logits" in names:
            made["logits"] = self.classify(features)
        if "projection" in names and self.projection is not None:
            made["projection"] = F.normalize(self.projection(high).float(), dim=1)
        return {name: made[name] for name in names if name in made}
