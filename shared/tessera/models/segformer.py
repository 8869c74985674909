"""SegFormer (Xie et al. 2021): Hugging Face's encoder, and the all-MLP decoder with the names of its release."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.errors import BadInput
from tessera.models.backbone import Backbone
from tessera.models.dropout import Dropout
from tessera.models.network import Head
from tessera.models.upsampled_conv import Offsets

_LEAST = 32  # pixels


def ceil_div(size: int, stride: int) -> int:
    """Return ⌈size / stride⌉ of sizes ≥ 1; without a negative number, whose division ONNX rounds the other way."""
    return (size + stride - 1) // stride


class SegFormerEncoder(Backbone):
    """Four maps at strides 4, 8, 16 and 32. The low map is the first; the others travel as one map at stride 16.

    Nothing is lost: 2×2 cells of the second map become channels, and each cell of the fourth is repeated. Names below
    ``segformer`` are those of the installed library, whose versions differ: weights load strictly with the version that
    saved them. Save published ones anew by ``SegformerModel.from_pretrained(…).state_dict()``. Attention needs 32×32
    pixels; smaller images are padded by zeros, the mean colour.
    """

    unused = ("decode_head.", "classifier.")

    def __init__(self, hidden: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        try:
            from transformers import SegformerConfig, SegformerModel
        except ModuleNotFoundError:
            raise BadInput(
                "model segformer: needs the package transformers; install it with pip install 'tessera-al[hf]'"
            ) from None
        config: Any = SegformerConfig(hidden_sizes=list(hidden), depths=list(depths))
        self.segformer = SegformerModel(config)
        self.low_channels = hidden[0]
        self.high_channels = 4 * hidden[1] + hidden[2] + hidden[3]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, 3, H, W) normalised RGB → low (N, c1, ⌈H/4⌉, ⌈W/4⌉) and high (N, 4·c2 + c3 + c4, ⌈H/16⌉, ⌈W/16⌉)."""
        rows, columns = x.shape[2:]
        # As arithmetic on the size, not as a branch: an exported graph takes every size.
        right, below = (torch.sym_max(0, _LEAST - size) for size in (columns, rows))  # type: ignore[no-untyped-call]
        padded = F.pad(x, (0, right, 0, below))
        made = self.segformer(padded, output_hidden_states=True, return_dict=True).hidden_states
        first, second, third, fourth = (
            one[:, :, : ceil_div(rows, stride), : ceil_div(columns, stride)]
            for one, stride in zip(made, (4, 8, 16, 32), strict=True)
        )
        height, width = third.shape[2:]
        even = F.pad(second, (0, 2 * width - second.shape[3], 0, 2 * height - second.shape[2]))
        repeated = fourth.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)[:, :, :height, :width]
        return first, torch.cat([F.pixel_unshuffle(even, 2), third, repeated], dim=1)


class _Linear(nn.Module):
    """``proj``: one linear layer, applied at every cell."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class SegFormerHead(Head):
    """Linear layer per map, upsampling to stride 4, concatenation, 1×1 convolution, classifier (§3.2)."""

    def __init__(self, classes: int, hidden: Sequence[int], channels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.hidden = tuple(hidden)
        self.linear_c = nn.ModuleList([_Linear(size, channels) for size in hidden])
        self.linear_fuse = nn.Conv2d(channels * len(hidden), channels, 1, bias=False)
        self.batch_norm = nn.BatchNorm2d(channels)
        self.folds = (("linear_fuse", "batch_norm"),)
        self.dropout = Dropout(dropout)
        self.classifier = nn.Conv2d(channels, classes, 1)
        self.reset_parameters()

    def forward(self, low: Tensor, high: Tensor, offsets: Offsets | None = None) -> Tensor:
        """Map low and high maps of `SegFormerEncoder` → logits (N, classes, h4, w4), the classifier in float32 to
        predict.

        BadInput for windows: a map of attention depends on the whole image, not on a window around each cell.
        """
        if offsets is not None:
            raise BadInput("training.view: windows do not fit segformer, whose cells see the whole image; use images")
        return self.classify(self._features(low, high))

    def taps(self, low: Tensor, high: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """Return maps inside the head by name, as `Head.taps` says: ``decoder`` is the classifier's input."""
        made = {"decoder": self._features(low, high)}
        if "logits" in names:
            made["logits"] = self.classify(made["decoder"])
        return {name: made[name] for name in names if name in made}

    def _features(self, low: Tensor, high: Tensor) -> Tensor:
        size = (low.shape[2], low.shape[3])
        _, second, third, _ = self.hidden
        eighth = F.pixel_shuffle(high[:, : 4 * second], 2)[:, :, : ceil_div(size[0], 2), : ceil_div(size[1], 2)]
        deep = high[:, 4 * second + third :, ::2, ::2]
        maps = (low, eighth, high[:, 4 * second : 4 * second + third], deep)
        wide = [
            F.interpolate(linear(part), size=size, mode="bilinear", align_corners=False)
            for linear, part in zip(self.linear_c, maps, strict=True)
        ]
        # Deepest first, as in the release.
        fused = F.relu(self.batch_norm(self.linear_fuse(torch.cat(wide[::-1], dim=1))))
        out: Tensor = self.dropout(fused)
        return out
