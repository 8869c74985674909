"""Batch-norm folding: eval-mode batch norm becomes part of the convolution before it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from tessera.models.network import SegmentationNetwork


def _pairs(module: nn.Module) -> Iterable[tuple[str, str]]:
    """Return the names of modules that follow each other: by order in a sequence, by ``folds`` in other modules."""
    if isinstance(module, nn.Sequential):
        return itertools.pairwise(name for name, _ in module.named_children())
    found: tuple[tuple[str, str], ...] = getattr(module, "folds", ())
    return found


def fold_batch_norm(model: SegmentationNetwork) -> SegmentationNetwork:
    """Return a copy of ``model`` in eval mode whose every (convolution, batch norm) pair is one convolution.

    Outputs equal the model's eval mode up to float32 rounding. The copy cannot be trained.
    """
    folded = copy.deepcopy(model).eval()
    for module in list(folded.modules()):
        for first, second in _pairs(module):
            conv, norm = module.get_submodule(first), module.get_submodule(second)
            # Not a subclass of batch norm: it may do more than normalise.
            if isinstance(conv, nn.Conv2d) and type(norm) is nn.BatchNorm2d:
                module.set_submodule(first, fuse_conv_bn_eval(conv, norm))
                module.set_submodule(second, nn.Identity())
    for parameter in folded.parameters():
        parameter.requires_grad_(False)
    return folded
