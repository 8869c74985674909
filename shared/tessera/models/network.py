"""Interfaces of a segmentation network: a backbone, a head and the two steps between image and logits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.models.backbone import Backbone

TAPS = ("aspp", "decoder", "logits", "projection")
"""Maps inside a head: the reduced context of the ASPP, the classifier's input, the logits, and the pixel vectors of a
projection head (length 1 at every cell)."""


class Head(nn.Module):
    """Methods of a head beside its forward pass: low map, high map → logits at stride 4, or 1×1 for the whole image."""

    classifier: nn.Conv2d
    """The last layer."""
    whole_image = False
    """Whether logits are those of the whole image, (N, classes, 1, 1), which is then the class of all its pixels."""

    def reset_parameters(self) -> None:
        """Draw every weight anew from torch's random state (Kaiming normal) and clear the batch-norm statistics."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                # Drawing fills memory in order: in a channels-last weight the same numbers would land on other weights.
                module.weight.data = module.weight.data.contiguous()
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()

    def classify(self, features: Tensor) -> Tensor:
        """Map the classifier's input → logits, in float32 to predict, in autocast's dtype (as gradients) to train."""
        if self.training:
            trained: Tensor = self.classifier(features)
            return trained
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.classifier(features.to(self.classifier.weight.dtype))
        return logits

    def taps(self, low: Tensor, high: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """Return maps (N, D, h, w) of ``TAPS`` by name, from low and high maps; leave out names that it lacks."""
        raise NotImplementedError

    decodes_cells = False
    """Whether `logits_at` computes the decoder at the cells it is asked for alone."""

    def logits_at(self, low: Tensor, high: Tensor, places: Tensor) -> Tensor:
        """Return the logits (n, classes) at ``places`` (n,), ascending rows of the (N · h4 · w4) cells at stride 4.

        As the forward pass, but that the decoder's batch norm sees only the cells that these logits depend on.
        """
        raise NotImplementedError

    mc_dropout: float | None = None
    """Probability of the decoder's MC dropout; None: the head has no such places."""

    def mc_logits(self, low: Tensor, high: Tensor, seeds: Sequence[int]) -> Iterator[Tensor]:
        """Yield logits of one pass per seed: MC dropout on, masks from that seed alone, the rest in eval mode."""
        raise NotImplementedError

    def trained_on(self, height: int, width: int) -> None:
        """Prepare for training on parts of images, whose high maps have this size; do not call it for whole images."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run the block with torch's random state set from ``seed``; the caller's state is put back afterwards.

    Of a CUDA device, that of the current one, where it is in use: no other device is touched.
    """
    used = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(used, device_type="cuda"):
        torch.manual_seed(seed)
        yield


class SegmentationNetwork(nn.Module):
    """Backbone and head. Batch norm uses running statistics in eval mode, the batch's in train mode."""

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map normalised (N, 3, H, W) → low-level map at stride 4 and the deepest map."""
        low, high = self.backbone(x)
        return low, high

    def widen(self, high: Tensor) -> Tensor | None:
        """Return the deepest map after the backbone's layers that segmentation does not use; None without them."""
        return self.backbone.widen(high)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised (N, 3, H, W) → logits (N, classes, H, W), bilinear from stride 4."""
        logits = self.head(*self.features(x))
        return F.interpolate(logits, size=x.shape[2:], mode="bilinear", align_corners=False)


def channels_last(model: SegmentationNetwork) -> SegmentationNetwork:
    """Lay out the convolution weights of ``model`` with channels innermost, in place: it is faster everywhere."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model
