"""The head of DeepLabv3+ (Chen et al. 2018): atrous spatial pyramid pooling and a decoder at stride 4.

Channel counts and the places of the 1×1 reductions are those of the published MobileNetV2 models with 4,001,771 head
parameters at 11 classes: ASPP 5 × 256 → 256, low level 24 → 48, 304 → 256 → 256 → classes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.models.dropout import Dropout
from tessera.models.mobilenetv2 import divisible
from tessera.models.network import Head, seeded
from tessera.models.upsampled_conv import Offsets, upsampled_conv3x3

_RATES = {16: (6, 12, 18), 8: (12, 24, 36)}


class AtrousConv2d(nn.Conv2d):
    """A 3×3 convolution of dilation d that leaves out kernel rows and columns it cannot use.

    Those that can only read padding (maps of at most d cells) are skipped, which changes no result and saves up to 8/9
    of the work. Those that ``trained_on`` cuts are left out of training and prediction alike: another network than the
    paper's, with the same parameters (cut weights stay in the checkpoint and are never read).
    """

    cut: Tensor

    def __init__(self, inputs: int, outputs: int, rate: int) -> None:
        super().__init__(inputs, outputs, 3, padding=rate, dilation=rate, bias=False)
        # Outer rows, outer columns. Part of the checkpoint, since prediction depends on it.
        self.register_buffer("cut", torch.zeros(2, dtype=torch.uint8))

    def trained_on(self, height: int, width: int) -> None:
        """Cut the outer rows (columns) where fewer than a third of the cells of such a map have a cell that far away.

        They would be trained at the rim only and then read at every cell of a whole image.
        """
        rate = int(self.dilation[0])
        self.cut.copy_(torch.tensor([3 * (size - rate) < size for size in (height, width)]))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, O, H, W)."""
        rate = int(self.dilation[0])
        rows, columns = (
            slice(1, 2) if cut or size <= rate else slice(0, 3)
            for cut, size in zip(self.cut.tolist(), x.shape[2:], strict=True)
        )
        weight = self.weight[:, :, rows, columns]
        padding = (rate * (weight.shape[2] // 2), rate * (weight.shape[3] // 2))
        return F.conv2d(x, weight, self.bias, 1, padding, rate)


def _block(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU(inplace=True))


def _projection(inputs: int, outputs: int) -> nn.Sequential:
    """3×3 convolution, batch norm, ReLU, dropout 0.1, 1×1 convolution (superpixel-contrastive paper, §4.2).

    The paper gives no width between the two; a quarter of the input's, as in the FCN head its network is made of.
    """
    hidden = divisible(inputs / 4)
    return nn.Sequential(
        *_block(nn.Conv2d(inputs, hidden, 3, padding=1, bias=False)), Dropout(0.1), nn.Conv2d(hidden, outputs, 1)
    )


class ASPP(nn.Module):
    """Parallel 1×1, three atrous 3×3 and image-pool branches, concatenated and reduced.

    A network trained on parts of images (crops or windows) would meet other statistics on whole ones, where the pool
    averages a whole scene. After ``trained_on`` the mean is therefore taken, around each cell, over as many cells as
    the training maps have (test-time local conversion, Chu et al. 2022); trained on whole images it is that of the map.
    """

    window: Tensor

    def __init__(self, inputs: int, outputs: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList([_block(nn.Conv2d(inputs, outputs, 1, bias=False))])
        for rate in rates:
            self.branches.append(_block(AtrousConv2d(inputs, outputs, rate)))
        self.pool = _block(nn.Conv2d(inputs, outputs, 1, bias=False))
        self.project = _block(nn.Conv2d(outputs * (len(rates) + 2), outputs, 1, bias=False))
        # Cells of the maps seen in training; zero: any. Part of the checkpoint, since prediction depends on it.
        self.register_buffer("window", torch.zeros(2, dtype=torch.int64))

    def forward(self, high: Tensor) -> Tensor:
        """(N, inputs, h, w) → (N, outputs, h, w)."""
        maps = [branch(high) for branch in self.branches]
        pooled = self.pool(self._pooled(high))
        # In the others' layout: one map in another would turn all of them around, forward and backward.
        maps.append(pooled.expand(-1, -1, *high.shape[2:]).contiguous(memory_format=torch.channels_last))
        out: Tensor = self.project(torch.cat(maps, dim=1))
        return out

    def trained_on(self, height: int, width: int) -> None:
        """Prepare pool and atrous branches for training on maps of this size and prediction on larger ones."""
        self.window.copy_(torch.tensor((height, width)))
        for module in self.modules():
            if isinstance(module, AtrousConv2d):
                module.trained_on(height, width)

    def _pooled(self, high: Tensor) -> Tensor:
        """The mean of the map, or, when training saw smaller maps, around each cell the mean of that many cells."""
        window = [int(side) for side in self.window]
        height, width = high.shape[2:]
        rows, columns = (min(seen or side, side) for seen, side in zip(window, (height, width), strict=True))
        if (rows, columns) == (height, width):
            return high.mean(dim=(2, 3), keepdim=True)
        around = (rows // 2, columns // 2)
        local = F.avg_pool2d(high, (rows, columns), stride=1, padding=around, count_include_pad=False)
        return local[:, :, :height, :width]


class DeepLabV3PlusHead(Head):
    """ASPP on the high map, joined with the low map at stride 4, two 3×3 convolutions, one score map per class.

    With a convolution, batch norm and ReLU in each of ``low``, ``fuse`` and ``refine``, and dropout after them:

        context = aspp(high);  logits = classifier(refine(fuse(concatenate(upsample(context), low(low map))))).

    `share` and `decode` compute ``fuse`` in two parts, because what reads the upsampled context is cheaper before it is
    upsampled; the result is the same.
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
    ) -> None:
        super().__init__()
        middle, reduced = divisible(256 * width), divisible(48 * width)
        self.ratio = output_stride // 4
        self.aspp = ASPP(high_channels, middle, _RATES[output_stride])
        self.aspp_dropout = Dropout(dropout)
        self.low = _block(nn.Conv2d(low_channels, reduced, 1, bias=False))
        # With MC dropout the decoder's three places have one probability, in training and in the passes of BALD.
        self.low_dropout = Dropout(mc_dropout or 0.0)
        self.fuse = _block(nn.Conv2d(middle + reduced, middle, 3, padding=1, bias=False))
        self.fuse_dropout = Dropout(dropout if mc_dropout is None else mc_dropout)
        self.refine = _block(nn.Conv2d(middle, middle, 3, padding=1, bias=False))
        # A fifth of the others, as in the published code: 0.5, 0.5, 0.1 at the default.
        self.refine_dropout = Dropout(dropout / 5 if mc_dropout is None else mc_dropout)
        self.mc_dropout = mc_dropout
        self.classifier = nn.Conv2d(middle, classes, 1)
        # After all others, so that a network without it draws the same weights.
        self.projection = None if projection_head is None else _projection(middle, projection_head)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every weight anew from torch's random state (Kaiming normal), clear statistics and ``trained_on``."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # Drawing fills memory in its order: a channels-last weight would get the same numbers elsewhere.
                module.weight.data = module.weight.data.contiguous()
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
        self.aspp.window.zero_()
        for module in self.modules():
            if isinstance(module, AtrousConv2d):
                module.cut.zero_()

    def trained_on(self, height: int, width: int) -> None:
        """Prepare for training on high maps of this size; see ``ASPP.trained_on``."""
        self.aspp.trained_on(height, width)

    def forward(self, low: Tensor, high: Tensor, offsets: Offsets | None = None) -> Tensor:
        """Low (N, 24, h4, w4) and high (N, 320, h, w) → logits (N, classes, h4, w4), the classifier in float32.

        ``offsets``: where each low map begins on the stride-4 grid of its high map, for parts of images.
        """
        context = self.aspp_dropout(self.aspp(high))
        return self.classify(self.decode(low, self.share(context, (low.shape[2], low.shape[3]), offsets)))

    def share(self, context: Tensor, size: tuple[int, int], offsets: Offsets | None = None) -> Tensor:
        """What the ASPP's map (N, 256, h, w) contributes to the first 3×3 convolution: (N, 256, *size), no bias.

        The convolution of the concatenation is taken apart: what reads the upsampled context works at low resolution,
        which needs a tenth of the multiplications. Free of dropout's decoder places, so that all MC passes share it.
        """
        conv = self.fuse[0]
        assert isinstance(conv, nn.Conv2d)  # noqa: S101 - narrows for the type checker
        return upsampled_conv3x3(context, conv.weight[:, : context.shape[1]], size, self.ratio, offsets)

    def decode(self, low: Tensor, share: Tensor) -> Tensor:
        """Low map and the context's `share` → decoder features (N, 256, h4, w4), what the classifier reads."""
        conv, norm, relu = self.fuse
        assert isinstance(conv, nn.Conv2d)  # noqa: S101 - narrows for the type checker
        reduced = self.low_dropout(self.low(low))
        weight = conv.weight[:, conv.in_channels - reduced.shape[1] :]
        fused = self.fuse_dropout(relu(norm(share + F.conv2d(reduced, weight, conv.bias, padding=1))))
        decoded: Tensor = self.refine_dropout(self.refine(fused))
        return decoded

    def classify(self, decoded: Tensor) -> Tensor:
        """Decoder features → logits: predicted in float32, trained in autocast's dtype as its gradients are."""
        if self.training:
            trained: Tensor = self.classifier(decoded)
            return trained
        with torch.autocast(decoded.device.type, enabled=False):
            logits: Tensor = self.classifier(decoded.to(self.classifier.weight.dtype))
        return logits

    def taps(self, low: Tensor, high: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """Maps inside the head by name, as `Head.taps` says; computes no more than what is asked for needs."""
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
        """Logits of one pass a seed, see `Head.mc_logits`; ASPP and the context's share of the decoder run once.

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
