"""Interface of a backbone: a map at stride 4 and its deepest map, under the names of published weights."""

from __future__ import annotations

from torch import Tensor, nn


class Backbone(nn.Module):
    """Normalised images (N, 3, H, W) → low map (N, low_channels, ⌈H/4⌉, ⌈W/4⌉) and deepest map (N, high_channels, …).

    Where the head reads the deepest map alone, the low map has no channels; its size is that of the logits. Every
    stride divides 16, so that parts of images can be cut out of maps.
    """

    low_channels: int
    high_channels: int
    unused: tuple[str, ...] = ()
    """Prefixes of published weights that segmentation does not use, such as ``fc``; loading drops them."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        raise NotImplementedError

    def widen(self, high: Tensor) -> Tensor | None:
        """Return the deepest map after the published layers beyond it; None for a network without them."""
        return None


def size_only(x: Tensor) -> Tensor:
    """Map images (N, C, H, W) → a low map without channels, (N, 0, ⌈H/4⌉, ⌈W/4⌉)."""
    # Of numbers above zero alone: in ONNX the quotient of a negative one is rounded up.
    return x.new_empty(x.shape[0], 0, (x.shape[2] + 3) // 4, (x.shape[3] + 3) // 4)
