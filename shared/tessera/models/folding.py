"""Batch-norm folding: eval-mode batch norm becomes part of the convolution before it."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tessera.models.network import SegmentationNetwork


def fold_batch_norm(model: SegmentationNetwork) -> SegmentationNetwork:
    """Return a copy of ``model`` in eval mode whose every (convolution, batch norm) pair is one convolution.

    Outputs equal the model's eval mode up to float32 rounding. The copy cannot be trained.
    """
    folded = copy.deepcopy(model).eval()
    for sequence in list(folded.modules()):
        if isinstance(sequence, nn.Sequential):
            for index in range(len(sequence) - 1):
                conv, norm = sequence[index], sequence[index + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    sequence[index] = fuse_conv_bn_eval(conv, norm)
                    sequence[index + 1] = nn.Identity()
    for parameter in folded.parameters():
        parameter.requires_grad_(False)
    return folded
