"""MulActSeg: learning from which classes a region shows (Hwang et al., NeurIPS 2023), in two stages.

Stage 1 (phase ``partial``) trains on partial labels and chooses the next questions; stage 2 (phase ``pseudo``) trains a
fresh network on the pseudo labels that stage 1 leaves, and is measured. Regions of one class and answers about the
dominant class take the same path: their set of classes has one element.
"""

from __future__ import annotations

from collections.abc import Iterator

from tessera.training import METHODS, MethodTraits
from tessera.training.methods.mulactseg.params import MulActSeg, PseudoLabels
from tessera.training.phase import Phase, Setup


@METHODS.register("mulactseg", MulActSeg, MethodTraits(learns_classes=True))
def mulactseg(params: MulActSeg, setup: Setup) -> Iterator[Phase]:
    """Train on partial labels, then, unless ``pseudo`` is null, a fresh network on the pseudo labels made of them."""
    from tessera.training.methods.mulactseg.phases import PartialPhase, PseudoPhase

    first = PartialPhase(params, setup)
    yield first
    if params.pseudo is not None:
        yield PseudoPhase(params, params.pseudo, setup, first.model)


__all__ = ["MulActSeg", "PseudoLabels", "mulactseg"]
