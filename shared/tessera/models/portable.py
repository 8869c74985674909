"""A network as one graph from image to labels, without a branch that depends on the size: other runtimes take it.

What the networks decide from a map's size in Python becomes arithmetic on that size, with equal results:

- an atrous convolution keeps the kernel rows and columns that it may read; where they read padding alone they add zero;
- the mean around each cell, and that over a grid, are products with matrices of weights, rows and columns apart.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.models.aspp import ASPP, AtrousConv2d
from tessera.models.folding import fold_batch_norm
from tessera.models.mobilenetv2 import backbone_input
from tessera.models.network import SegmentationNetwork


class PortableNetwork(nn.Module):
    """What scoring and evaluation do with an image, in float32: normalise, predict, resize to the image.

    Maps ``image`` (N, H, W, 3) uint8 RGB → logits and labels of the first ``classes`` outputs: (N, classes, H, W)
    float32 and (N, H, W) uint8. A classifier of whole images gives (N, classes) and (N,). Labels are the index of the
    largest logit, the lowest of equal ones (`models.upsample.predict`).
    """

    def __init__(self, model: SegmentationNetwork, classes: int) -> None:
        super().__init__()
        folded = fold_batch_norm(model)
        for module in folded.modules():
            if isinstance(getattr(module, "inplace", None), bool):
                module.inplace = False  # type: ignore[assignment]  # a graph has no places: undoing them takes long
        for parent in list(folded.modules()):
            for name, child in parent.named_children():
                portable = _portable(parent, child)
                if portable is not None:
                    parent.set_submodule(name, portable)
        self.network, self.classes = folded, classes

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        head = self.network.head
        logits = head(*self.network.features(backbone_input(image, torch.float32)))[:, : self.classes]
        if head.whole_image:
            logits = logits[:, :, 0, 0]
        else:
            size = (image.shape[1], image.shape[2])
            logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return logits, logits.argmax(1).to(torch.uint8)


class _WindowMean(nn.Module):
    """As `aspp.WindowMean`, for a window that is known."""

    def __init__(self, window: Tensor) -> None:
        super().__init__()
        self.seen = [int(side) for side in window]

    def forward(self, high: Tensor, window: Tensor) -> Tensor:
        """Map (N, C, h, w) → (N, C, 1, 1), or (N, C, h, w) where there is a window."""
        if not any(self.seen):
            return high.mean(dim=(2, 3), keepdim=True)
        places = [torch.arange(side, device=high.device) for side in high.shape[2:]]
        counts = [at[-1] + 1 for at in places]
        sides = [count.clamp(max=seen) if seen else count for count, seen in zip(counts, self.seen, strict=True)]
        whole = (sides[0] == counts[0]) & (sides[1] == counts[1])
        rows, columns = (_around(at, side, whole).to(high.dtype) for at, side in zip(places, sides, strict=True))
        return torch.matmul(torch.matmul(rows, high), columns.t())


def _around(at: Tensor, side: Tensor, whole: Tensor) -> Tensor:
    """Return the weights (cells, cells) of a mean over ``side`` cells around each, or of all where it is ``whole``."""
    first = at[:, None] - side // 2
    inside = (at >= first) & (at < first + side) | whole
    return inside / inside.sum(1, keepdim=True)


class GridMean(nn.Module):
    """As ``nn.AdaptiveAvgPool2d``: cell i of k averages cells ⌊i·n/k⌋ up to ⌈(i + 1)·n/k⌉ of n."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, high: Tensor) -> Tensor:
        """Map (N, C, h, w) → (N, C, cells, cells)."""
        rows, columns = (
            self._weights(torch.arange(side, device=high.device)).to(high.dtype) for side in high.shape[2:]
        )
        return torch.matmul(torch.matmul(rows, high), columns.t())

    def _weights(self, at: Tensor) -> Tensor:
        cell, side = torch.arange(self.cells, device=at.device)[:, None], at[-1] + 1
        first, past = cell * side // self.cells, ((cell + 1) * side + self.cells - 1) // self.cells
        inside = (at >= first) & (at < past)
        return inside / inside.sum(1, keepdim=True)


def _portable(parent: nn.Module, child: nn.Module) -> nn.Module | None:
    """Return what takes the place of a module; None: it stays."""
    if isinstance(child, AtrousConv2d):
        return _atrous(child)
    if isinstance(parent, ASPP) and child is parent.mean:
        return _WindowMean(parent.window)
    if isinstance(child, nn.AdaptiveAvgPool2d):
        return GridMean(int(child.output_size))  # type: ignore[arg-type]  # heads give one number
    return None


def _atrous(conv: AtrousConv2d) -> nn.Conv2d:
    """Return the plain convolution with what ``conv.cut`` leaves of the kernel."""
    rows, columns = (slice(1, 2) if cut else slice(0, 3) for cut in conv.cut.tolist())
    weight = conv.weight.detach()[:, :, rows, columns]
    rate = int(conv.dilation[0])
    size = (weight.shape[2], weight.shape[3])
    made = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        size,
        padding=(rate * (size[0] // 2), rate * (size[1] // 2)),
        dilation=rate,
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    made.weight.data = weight
    if conv.bias is not None and made.bias is not None:
        made.bias.data = conv.bias.detach()
    return made.requires_grad_(False)
