"""s4GAN (Mittal et al. 2019): labelled images, and unlabelled images whose segmentations a discriminator judges."""

from __future__ import annotations

from collections.abc import Iterator

from tessera.training import METHODS, MethodTraits
from tessera.training.methods.s4gan.params import S4GAN
from tessera.training.phase import Phase, Setup


@METHODS.register("s4gan", S4GAN, MethodTraits(several_processes=True))
def s4gan(params: S4GAN, setup: Setup) -> Iterator[Phase]:
    """Yield one phase, in which network and discriminator take turns."""
    from tessera.training.methods.s4gan.phase import S4GANPhase

    yield S4GANPhase(params, setup)


__all__ = ["S4GAN", "s4gan"]
