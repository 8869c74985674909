"""Contrast between pixels with a memory bank and a mean teacher (superpixel-contrastive paper, §3.2, algorithm 1).

    L = L_CE + λ L_NCE
    L_NCE = mean over anchors i and positives i+ of  −log( e^(i·i+/τ) / (e^(i·i+/τ) + Σ_(i−) e^(i·i−/τ)) )

Vectors have length 1. Anchors are pixels of the batch, by their true class; positives and negatives lie in a memory
bank of one queue per class. After each step the teacher moves, M_t ← α M_t + (1 − α) M_s, and the bank takes, per image
and class of the batch, the hardest pixels that the teacher predicts correctly. The trained network is evaluated and
acquires by entropy; the teacher's vectors describe regions, in the space of the bank.
"""

from __future__ import annotations

from collections.abc import Iterator

from tessera.training import METHODS, MethodTraits
from tessera.training.methods.contrastive.params import Contrastive
from tessera.training.phase import Phase, Setup


@METHODS.register("contrastive", Contrastive, MethodTraits(several_processes=True))
def contrastive(params: Contrastive, setup: Setup) -> Iterator[Phase]:
    """Yield one phase of cross entropy and contrastive loss."""
    from tessera.training.methods.contrastive.phase import ContrastivePhase

    yield ContrastivePhase(params, setup)


__all__ = ["Contrastive", "contrastive"]
