"""Minimax active learning (Ebrahimi et al. 2020): an encoder minimises entropy, prototypes maximise it.

Phase ``minimax`` trains encoder F, prototypes C and discriminator D on labelled and unlabelled images (Algorithm 1); F
and C choose the next questions by entropy, D by how labelled an image looks. Phase ``task`` trains the network that is
evaluated, which begins with F's weights (Algorithm 3).
"""

from __future__ import annotations

from collections.abc import Iterator

from tessera.training import METHODS, MethodTraits
from tessera.training.methods.mal.params import Mal, MinimaxDiscriminator, TaskNetwork
from tessera.training.phase import Phase, Setup


@METHODS.register("mal", Mal, MethodTraits(several_processes=True))
def mal(params: Mal, setup: Setup) -> Iterator[Phase]:
    """Yield the phase that trains F, C and D, then the one of the task network, which starts from F."""
    from tessera.training.methods.mal.phases import MinimaxPhase, TaskPhase

    first = MinimaxPhase(params, setup)
    yield first
    yield TaskPhase(params, setup, first.model)


__all__ = ["Mal", "MinimaxDiscriminator", "TaskNetwork", "mal"]
