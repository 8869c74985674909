"""The phase of s4GAN: cross entropy, feature matching and self-training for the network, then a step of D."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tessera.models.discriminators import SegmentationDiscriminator
from tessera.training.ahead import Batch
from tessera.training.artefacts import Artefact, Tensors
from tessera.training.data import ImageSet
from tessera.training.inputs import Inputs
from tessera.training.losses import IGNORE
from tessera.training.methods.s4gan.losses import (
    RunningShare,
    accepted_by_class,
    adversarial,
    feature_matching,
    one_hot,
    scaled,
    self_training,
)
from tessera.training.methods.supervised.phase import SupervisedPhase, image_dtype
from tessera.training.phase import Feed, Iteration, Setup, Update

if TYPE_CHECKING:
    from tessera.training.methods.s4gan.params import S4GAN


class S4GANPhase(SupervisedPhase):
    """Three independent streams: labelled images, unlabelled ones, and labelled ones whose truth D sees."""

    params: S4GAN

    def __init__(self, params: S4GAN, setup: Setup) -> None:
        super().__init__(params, setup)
        self.accepted = RunningShare()
        self.others = {"accepted": self.accepted}
        self.critic: SegmentationDiscriminator | None = None
        pictures = [one.image for one in setup.data.unlabelled]
        self.real = self._covered() if params.discriminator else np.empty(0, np.int64)
        # Without unlabelled images, or without truth for D, this is supervised training.
        self.semi = params.semi_supervised() and bool(pictures) and (len(self.real) > 0 or not params.discriminator)
        if not self.semi:
            return
        self.pool = ImageSet(pictures, setup.device, image_dtype(params, setup))
        self.unlabelled = Inputs(
            self.model,
            self.pool,
            self.precision,
            frozen=params.frozen,
            flips=params.augment.flip,
            cache=params.cache_features,
        )
        self.feeds = {"unlabelled": Feed(len(pictures), params.batch)}
        if params.discriminator:
            self.critic = SegmentationDiscriminator(setup.classes).to(setup.device)
            self.modules = {**self.modules, "discriminator": self.critic}
            rule = torch.optim.Adam(self.critic.parameters(), params.discriminator_lr, betas=(0.9, 0.99), fused=True)
            self.optimisers = {**self.optimisers, "discriminator": rule}
            self.feeds["real"] = Feed(len(self.real), params.batch)

    def begin_epoch(self) -> None:
        """Set modes as the supervised phase; D is in train mode throughout."""
        super().begin_epoch()
        if self.critic is not None:
            self.critic.train()

    def step(self, at: Iteration) -> Iterator[Update]:
        """Update the network on all of its losses, then D on the same, now detached, segmentations."""
        if not self.semi:
            yield from super().step(at)
            return
        drawn, group = self.batches(at), self.setup.group
        labelled = self.learn(drawn["samples"])
        losses = dict(labelled.losses)

        images, logits, shown = self._segmented(drawn["unlabelled"])
        fake = torch.cat([images, logits.softmax(1) * shown[:, None]], 1)
        accepted = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
        truth: Tensor | None = None
        if self.critic is not None:
            truth = self._truth(drawn["real"])
            # The network learns through D, and D does not learn from it.
            self.critic.requires_grad_(False)
            features, verdict = self._judge(fake)
            accepted = verdict.detach().sigmoid() > self.params.threshold
            if self.params.feature_matching:
                with torch.no_grad():
                    real, _ = self._judge(truth)
                losses["feature_matching"] = self.params.feature_matching * feature_matching(real, features, group)
        rows = len(logits)
        seen, _ = group.means({"accepted": float(accepted.float().mean())}, {"accepted": rows})
        if self._teaches(at, seen["accepted"]) and seen["accepted"] > 0:
            losses["self_training"] = self.params.self_training * self_training(logits, accepted, shown)
        seen |= accepted_by_class(logits, accepted, shown, group)
        counts = {"feature_matching": rows, "self_training": int(shown[accepted].sum())}
        yield Update("model", losses, labelled.weight, seen, counts)

        if self.critic is not None and truth is not None:
            self.critic.requires_grad_(True)
            loss = adversarial(self._judge(fake.detach())[1], self._judge(truth)[1])
            yield Update("discriminator", {"discriminator": loss}, counts={"discriminator": rows})

    def artefacts(self) -> Mapping[str, Artefact]:
        """Return ``discriminator``, beside the artefacts of supervised training."""
        made = dict(super().artefacts())
        if self.params.discriminator and self.params.semi_supervised():
            state = {} if self.critic is None else self.critic.state_dict()
            made["discriminator"] = Tensors({key: value.cpu().numpy().copy() for key, value in state.items()})
        return made

    def _covered(self) -> NDArray[np.int64]:
        """Return the places of the labelled images that serve D as real."""
        shares = [float((one.target != IGNORE).mean()) for one in self.examples]
        return np.flatnonzero(np.array(shares) >= max(self.params.real_coverage, 1e-9)).astype(np.int64)

    def _teaches(self, at: Iteration, accepted: float) -> bool:
        """Return whether self-training is on: after the warm-up, while D, which accepts this share, is not fooled."""
        share = self.accepted.add(accepted)
        done = ((at.epoch - 1) * at.steps + at.number) / (self.epochs * at.steps)
        guarded = self.critic is not None and self.params.most_accepted < 1.0
        calm = not guarded or share <= self.params.most_accepted
        return self.params.self_training > 0 and done >= self.params.warm_up and calm

    def draw(self, at: Iteration) -> dict[str, Batch]:
        """Draw for the samples and, each from generators of its own, for both feeds."""
        drawn = super().draw(at)
        if not self.semi:
            return drawn
        rows = {"unlabelled": (self.pool, at.feeds["unlabelled"])}
        if self.critic is not None:
            rows["real"] = (self.own_images, self.real[at.feeds["real"]])
        for stream, (images, index) in rows.items():
            flip = self.mirrored(at.draws(f"flips of {stream}"), len(index))
            changes = self.changes(images, index, flip, at.draws(f"augmentation of {stream}"))
            drawn[stream] = self.own(index, flip, changes)
        return drawn

    def images_of(self, stream: str) -> ImageSet:
        """Return the images of a stream; those that D sees as real are samples."""
        return self.pool if stream == "unlabelled" else self.own_images

    def close(self) -> None:
        """End the threads of all streams."""
        super().close()
        if self.semi:
            self.pool.close()

    def _segmented(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return scaled unlabelled images (N, 3, H, W), full-size logits (N, C, H, W) and a mask of pixels (N, H,
        W)."""
        index, flip, changes = batch
        images = scaled(self.pool.rgb(index, flip, changes))
        logits = self.unlabelled.logits(index, flip, changes).float()
        full = F.interpolate(logits, size=images.shape[2:], mode="bilinear", align_corners=False)
        return images, full, self.pool.shown(index, changes)

    def _truth(self, batch: Batch) -> Tensor:
        """Return scaled images and their true labels, (N, 3 + C, H, W), which D learns as real."""
        index, flip, changes = batch
        labels = one_hot(self.data.target(index, flip, changes), self.setup.classes)
        return torch.cat([scaled(self.data.rgb(index, flip, changes)), labels], 1)

    def _judge(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Return D's features (N, 512) and logits (N,), float32."""
        assert self.critic is not None  # noqa: S101 - only asked where there is one
        with self.inputs.autocast():
            features, verdict = self.critic(pairs)
        return features.float(), verdict.float()
