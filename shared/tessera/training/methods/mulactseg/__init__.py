"""MulActSeg (Hwang et al., NeurIPS 2023): learning from the set of classes in each region, in two stages.

Stage 1 (phase ``partial``) trains on partial labels and chooses the next questions; stage 2 (phase ``pseudo``) trains a
fresh network on the pseudo labels of stage 1, which is evaluated. Regions of one class and answers about the dominant
class take the same path: their set of classes has one element.
"""

from __future__ import annotations

from collections.abc import Iterator

from tessera.training import METHODS, MethodTraits
from tessera.training.methods.mulactseg.params import MulActSeg, PseudoLabels
from tessera.training.phase import Phase, Setup


@METHODS.register("mulactseg", MulActSeg, MethodTraits(learns_classes=True, several_processes=True))
def mulactseg(params: MulActSeg, setup: Setup) -> Iterator[Phase]:
    """Yield the phase of partial labels, then, unless ``pseudo`` is null, a fresh network's on their pseudo labels."""
    from tessera.training.methods.mulactseg.phases import PartialPhase, PseudoPhase

    first = PartialPhase(params, setup)
    yield first
    if params.pseudo is not None:
        yield PseudoPhase(params, params.pseudo, setup, first.model)


__all__ = ["MulActSeg", "PseudoLabels", "mulactseg"]
