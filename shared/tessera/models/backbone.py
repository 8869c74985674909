"""Interface of a backbone: a map at stride 4 and its deepest map, under the names of published weights."""

from __future__ import annotations

from torch import Tensor, nn


class Backbone(nn.Module):
    """Normalised images (N, 3, H, W) → low map (N, low_channels, ⌈H/4⌉, ⌈W/4⌉) and deepest map (N, high_channels, …).

    A network whose head reads the deepest map alone has a low map of no channels: its size still says where logits go.
    Every stride divides 16, so that parts of images can be cut out of maps.
    """

    low_channels: int
    high_channels: int
    unused: tuple[str, ...] = ()
    """Beginnings of entries of published weights that segmentation has no place for: dropped knowingly."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        raise NotImplementedError

    def widen(self, high: Tensor) -> Tensor | None:
        """Return the deepest map after the published layers beyond it; None where they are not carried along."""
        return None


def size_only(x: Tensor) -> Tensor:
    """(N, C, H, W) images → a map at stride 4 without channels, (N, 0, ⌈H/4⌉, ⌈W/4⌉)."""
    return x.new_empty(x.shape[0], 0, -(-x.shape[2] // 4), -(-x.shape[3] // 4))
