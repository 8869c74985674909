"""The head of DeepLabv3+ (Chen et al. 2018): atrous spatial pyramid pooling and a decoder at stride 4.

Channel counts and the places of the 1×1 reductions are those of the published MobileNetV2 models with 4,001,771 head
parameters at 11 classes: ASPP 5 × 256 → 256, low level 24 → 48, 304 → 256 → 256 → classes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from tessera.models import cells
from tessera.models.aspp import ASPP, block
from tessera.models.backbone import Backbone
from tessera.models.classifiers import pixel_classifier
from tessera.models.dropout import Dropout
from tessera.models.joined_conv import JoinedConv, SeparableJoinedConv
from tessera.models.mobilenetv2 import divisible
from tessera.models.network import Head, seeded
from tessera.models.parameters import DeepLabV3PlusParams
from tessera.models.projection_head import projection_head as pixel_vectors
from tessera.models.upsampled_conv import Offsets

_RATES = {16: (6, 12, 18), 8: (12, 24, 36)}


def head_of(backbone: Backbone, params: DeepLabV3PlusParams, classes: int) -> DeepLabV3PlusHead:
    """Build the head that ``params`` describe, for the maps of ``backbone``; weights from torch's random state."""
    return DeepLabV3PlusHead(
        classes,
        backbone.low_channels,
        backbone.high_channels,
        output_stride=params.output_stride,
        width=params.width,
        dropout=params.dropout,
        mc_dropout=params.mc_dropout,
        projection_head=params.projection_head,
        separable=params.separable,
        temperature=params.temperature,
        unit_prototypes=params.unit_prototypes,
    )


def _conv3x3(channels: int, *, separable: bool) -> list[nn.Module]:
    if not separable:
        return [nn.Conv2d(channels, channels, 3, padding=1, bias=False)]
    return [
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
    ]


class DeepLabV3PlusHead(Head):
    """ASPP on the high map, joined with the low map at stride 4, two 3×3 convolutions, one score map per class.

    With a convolution, batch norm and ReLU in each of ``low``, ``fuse`` and ``refine``, and dropout after them:

        context = aspp(high);  logits = classifier(refine(fuse(concatenate(upsample(context), low(low map))))).

    `share` and `decode` compute ``fuse`` in two parts: the part that reads the context is cheaper before upsampling.
    The result is the same.
    """

    def __init__(
        self,
        classes: int,
        low_channels: int,
        high_channels: int,
        *,
        output_stride: int = 16,
        width: float = 1.0,
        dropout: float = 0.5,
        mc_dropout: float | None = None,
        projection_head: int | None = None,
        separable: bool = False,
        temperature: float | None = None,
        unit_prototypes: bool = True,
    ) -> None:
        super().__init__()
        middle, reduced = divisible(256 * width), divisible(48 * width)
        self.ratio = output_stride // 4
        self.aspp = ASPP(high_channels, middle, _RATES[output_stride], separable=separable)
        self.aspp_dropout = Dropout(dropout)
        self.low = block(nn.Conv2d(low_channels, reduced, 1, bias=False), outputs=reduced)
        # With MC dropout the decoder's three places have one probability, in training and in the passes of BALD.
        self.low_dropout = Dropout(mc_dropout or 0.0)
        joined = SeparableJoinedConv if separable else JoinedConv
        self.fuse = block(joined(middle, reduced, middle), outputs=middle)
        self.fuse_dropout = Dropout(dropout if mc_dropout is None else mc_dropout)
        self.refine = block(*_conv3x3(middle, separable=separable), outputs=middle)
        # A fifth of the others, as in the published code: 0.5, 0.5, 0.1 on MobileNetV2.
        self.refine_dropout = Dropout(dropout / 5 if mc_dropout is None else mc_dropout)
        self.mc_dropout = mc_dropout
        self.classifier = pixel_classifier(middle, classes, temperature, unit_prototypes=unit_prototypes)
        # Made last, so that all other weights are drawn the same with and without it.
        self.projection = None if projection_head is None else pixel_vectors(middle, projection_head)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every weight anew from torch's random state (Kaiming normal), clear statistics and ``trained_on``."""
        super().reset_parameters()
        self.aspp.forget()

    def trained_on(self, height: int, width: int) -> None:
        """Prepare for training on high maps of this size; see ``ASPP.trained_on``."""
        self.aspp.trained_on(height, width)

    def forward(self, low: Tensor, high: Tensor, offsets: Offsets | None = None) -> Tensor:
        """Map low (N, low_channels, h4, w4) and high (N, high_channels, h, w) → logits (N, classes, h4, w4).

        ``offsets``: where each low map begins on the stride-4 grid of its high map, for parts of images.
        """
        context = self.aspp_dropout(self.aspp(high))
        return self.classify(self.decode(low, self.share(context, (low.shape[2], low.shape[3]), offsets)))

    def share(self, context: Tensor, size: tuple[int, int], offsets: Offsets | None = None) -> Tensor:
        """Convolve the ASPP's map (N, 256, h, w) with its part of the first 3×3 convolution: (N, 256, *size), no bias.

        It works at low resolution, which needs a tenth of the multiplications. None of dropout's decoder places comes
        before it, so that all MC passes share it.
        """
        conv: JoinedConv | SeparableJoinedConv = self.fuse[0]  # type: ignore[assignment]  # a module to torch
        return conv.of_context(context, size, self.ratio, offsets)

    def decode(self, low: Tensor, share: Tensor) -> Tensor:
        """Map a low map and the context's `share` → decoder features (N, 256, h4, w4), the classifier's input."""
        conv: JoinedConv | SeparableJoinedConv = self.fuse[0]  # type: ignore[assignment]  # a module to torch
        norm, relu = self.fuse[1], self.fuse[2]
        fused = self.fuse_dropout(relu(norm(share + conv.of_low(self.low_dropout(self.low(low))))))
        decoded: Tensor = self.refine_dropout(self.refine(fused))
        return decoded

    decodes_cells = True

    def logits_at(self, low: Tensor, high: Tensor, places: Tensor) -> Tensor:
        """Return logits at some cells, see `Head.logits_at`: the ASPP and `share` see whole maps, the rest does not."""
        size = (low.shape[0], low.shape[2], low.shape[3])
        share = self.share(self.aspp_dropout(self.aspp(high)), size[1:])
        fused_at = cells.widened(places, size)
        low_at = cells.widened(fused_at, size)
        conv: JoinedConv | SeparableJoinedConv = self.fuse[0]  # type: ignore[assignment]  # a module to torch
        norm, relu = self.fuse[1], self.fuse[2]
        read = self.low_dropout(self.low(cells.take(low, low_at)))
        fused = cells.take(share, fused_at) + conv.of_low_at(read, cells.around(fused_at, low_at, size))
        fused = self.fuse_dropout(relu(norm(fused)))
        first: nn.Conv2d = self.refine[0]  # type: ignore[assignment]  # a module to torch
        refined = cells.conv3x3(first, first.weight, fused, cells.around(places, fused_at, size))
        return cells.rows(self.classify(self.refine_dropout(self.refine[1:](refined))))

    def taps(self, low: Tensor, high: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """Return maps inside the head by name, as `Head.taps` says; compute only what they need."""
        context = self.aspp_dropout(self.aspp(high))
        made = {"aspp": context}
        if not set(names) <= {"aspp"}:
            decoded = self.decode(low, self.share(context, (low.shape[2], low.shape[3])))
            made["decoder"] = decoded
            if "logits" in names:
                made["logits"] = self.classify(decoded)
            if "projection" in names and self.projection is not None:
                made["projection"] = F.normalize(self.projection(decoded).float(), dim=1)
        return {name: made[name] for name in names if name in made}

    def mc_logits(self, low: Tensor, high: Tensor, seeds: Sequence[int]) -> Iterator[Tensor]:
        """Yield the logits of one pass per seed, see `Head.mc_logits`; the ASPP and `share` run once.

        Dropout is on after each of the decoder's three convolutions and off after the ASPP.
        """
        share = self.share(self.aspp(high), (low.shape[2], low.shape[3]))
        places = (self.low_dropout, self.fuse_dropout, self.refine_dropout)
        for seed in seeds:
            before = [place.training for place in places]
            try:
                for place in places:
                    place.train()
                with seeded(seed):
                    logits = self.classify(self.decode(low, share))
            finally:
                for place, mode in zip(places, before, strict=True):
                    place.train(mode)
            yield logits
