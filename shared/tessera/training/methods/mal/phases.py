"""The two phases of minimax active learning: encoder, prototypes and discriminator; then the task network.

With f̂ = F(x) / ‖F(x)‖ per pixel and p = softmax(upsample(Wᵀ f̂ / T)), one iteration makes three updates (Algorithm 1):

    F, C ← − mean log p[y] on labelled pixels                                   Eq. 1
    F minimises, C maximises λ H(p), H = − Σ_c p_c log p_c, on unlabelled pixels   Eq. 2
    D ← − mean log D(f̂_L) − mean log(1 − D(f̂_U)), f̂ detached                    Eq. 3, T = 1

For classification "pixel" is "image": F(x) is one vector, which D reads. C has a first layer there, h = fc1(F(x)), and
ĥ = h / ‖h‖ meets the prototypes; the gradient is reversed between the two layers, so that fc1 learns with F (as in the
code of minimax entropy, whose deep predictor has the parameters that MAL §5.1 counts).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tessera.errors import BadInput
from tessera.models.classification import ClassificationHead
from tessera.models.classifiers import CosineClassifier, reverse_gradient
from tessera.models.discriminators import FeatureDiscriminator, VectorDiscriminator, batched, cells, normalised
from tessera.models.network import SegmentationNetwork, seeded
from tessera.training.ahead import Batch
from tessera.training.artefacts import Artefact, Tensors
from tessera.training.data import ImageSet
from tessera.training.distributed import ALONE, Processes
from tessera.training.inputs import Inputs
from tessera.training.losses import entropy
from tessera.training.methods.mal.params import Mal
from tessera.training.methods.supervised.phase import SupervisedPhase, image_dtype
from tessera.training.phase import Feed, Iteration, Setup, Update


class MinimaxPhase(SupervisedPhase):
    """F is ``model`` below its classifier, C the classifier, D ``discriminator``; F and C have one optimiser.

    Where no unlabelled image is left, only the cross entropy remains.
    """

    def __init__(self, params: Mal, setup: Setup) -> None:
        super().__init__(params, setup)
        self.mal = params
        self.classifier = prototypes(self.model)
        self.serves = {"acquisition": "model"}
        pictures = [one.image for one in setup.data.unlabelled]
        self.pool: ImageSet | None = None
        if pictures:
            self.pool = ImageSet(pictures, setup.device, image_dtype(params, setup))
            self.unlabelled = Inputs(
                self.model,
                self.pool,
                self.precision,
                frozen=params.frozen,
                flips=params.augment.flip,
                cache=params.cache_features,
            )
            self.feeds = {"unlabelled": Feed(len(pictures), params.unlabelled_batch or params.batch)}
        if params.discriminator is not None:
            with seeded(setup.seed):  # F and C draw the same numbers with and without D, so that these runs stay paired
                self.discriminator = discriminator(self.model, self.classifier).to(setup.device)
            self.modules = {**self.modules, "discriminator": self.discriminator}
            adam = torch.optim.Adam(self.discriminator.parameters(), params.discriminator.lr)
            self.optimisers = {**self.optimisers, "discriminator": adam}

    def step(self, at: Iteration) -> Iterator[Update]:
        """Yield the updates by cross entropy, by entropy through a reversed gradient, and by D's loss."""
        drawn = self.batches(at)
        yield self.learn(drawn["samples"])
        if self.pool is None:
            return
        index, flip, changes = drawn["unlabelled"]
        if self.mal.entropy_weight > 0:
            with reversed_before(self.classifier):
                logits = self.unlabelled.logits(index, flip, changes)
            # Of a whole image there is one p, whatever part of the input is padding.
            shown = None if self.whole_images else self.pool.shown(index, changes)
            found = entropy(logits, shown)
            # C descends on −λ H and so maximises the entropy; through the reversal F minimises it.
            loss = -self.mal.entropy_weight * found
            count = len(logits) if shown is None else int(shown.sum())
            seen = {"entropy": float(found.detach())}
            yield Update(
                "model",
                {"negative_entropy": loss},
                seen=seen,
                counts={"negative_entropy": count, **dict.fromkeys(seen, count)},
            )
        if self.mal.discriminator is not None:
            labelled = self._judged(self.inputs, self.data, at.index, drawn["samples"].flip)
            others = self._judged(self.unlabelled, self.pool, index, flip)
            seen = {"called_labelled": float((labelled > 0).float().mean().detach())}
            seen["called_unlabelled"] = float((others < 0).float().mean().detach())
            counts = {"discriminator": 1, "called_labelled": len(labelled), "called_unlabelled": len(others)}
            loss = labeledness_loss(labelled, others, self.setup.group)
            yield Update("discriminator", {"discriminator": loss}, seen=seen, counts=counts)

    def draw(self, at: Iteration) -> dict[str, Batch]:
        """Draw for the samples and for the unlabelled images, which the entropy alone sees changed."""
        drawn = super().draw(at)
        if self.pool is not None:
            index, changes = at.feeds["unlabelled"], None
            flip = self.mirrored(at.draws("flips of unlabelled"), len(index))
            if self.mal.entropy_weight > 0:
                changes = self.changes(self.pool, index, flip, at.draws("augmentation of unlabelled"))
            drawn["unlabelled"] = self.own(index, flip, changes)
        return drawn

    def images_of(self, stream: str) -> ImageSet:
        """Return the images of a stream."""
        return self.pool if stream == "unlabelled" and self.pool is not None else self.own_images

    def close(self) -> None:
        """End the threads of both streams."""
        super().close()
        if self.pool is not None:
            self.pool.close()

    def _judged(self, inputs: Inputs, images: ImageSet, index: NDArray[np.int64], flip: NDArray[np.bool_]) -> Tensor:
        """Return D's logits (n,) of features in eval mode, in which the score reads them.

        With batch statistics, labelled and unlabelled images would be normalised apart, which hides differences or
        makes them up. D reads whole images, neither scaled nor cropped, and of a map the part that its image covers, so
        that padding tells it nothing.
        """
        assert self.mal.discriminator is not None  # noqa: S101 - called only with one
        self.model.eval()
        with torch.no_grad():
            low, high = inputs.maps(index, flip)
            with inputs.autocast():
                maps = self.model.head.taps(low, high, ("decoder",))["decoder"]
        self.begin_epoch()
        size = (maps.shape[2], maps.shape[3])
        parts = []
        for one, (height, width, *_) in zip(maps, images.shapes(index), strict=True):
            rows, columns = cells((0, 0, height, width), images.size, size)
            parts.append(normalised(one[:, rows, columns], self.mal.discriminator.pool))
        return batched(self.discriminator, parts)

    def artefacts(self) -> Mapping[str, Artefact]:
        """Return ``discriminator``, which the score ``labeledness`` reads, and the artefacts of supervised training."""
        made = dict(super().artefacts())
        if self.mal.discriminator is not None:
            state = self.discriminator.state_dict()
            made["discriminator"] = Tensors({name: one.detach().cpu().numpy().copy() for name, one in state.items()})
        return made


class TaskPhase(SupervisedPhase):
    """Cross entropy on all labelled pixels (Eq. 1, as Algorithm 3 says), from F's weights and a fresh classifier.

    What F has and this network does not, such as the first layer of C, is left behind.
    """

    def __init__(self, params: Mal, setup: Setup, trained: SegmentationNetwork) -> None:
        super().__init__(params.of_task(), setup.for_reported())
        self.serves = {"reported": "model"}
        kept = {"encoder": ("backbone.", "head."), "backbone": ("backbone.",), "pretrained": ()}[params.task.start]
        state = {
            name: value
            for name, value in trained.state_dict().items()
            if name.startswith(kept) and not name.startswith("head.classifier.")
        }
        self.model.load_state_dict(state, strict=False)

    def artefacts(self) -> Mapping[str, Artefact]:
        """Return nothing: artefacts are made with the network that acquires."""
        return {}


def prototypes(model: SegmentationNetwork) -> CosineClassifier:
    """Return C, the classifier of the network; BadInput when it is not a cosine one."""
    found: Any = getattr(model.head, "classifier", None)
    if not isinstance(found, CosineClassifier):
        raise BadInput(
            "training mal: its classifier compares features with prototypes and this network's is linear; set "
            "model.temperature (0.05 in minimax entropy)"
        )
    return found


def discriminator(
    model: SegmentationNetwork, classifier: CosineClassifier
) -> FeatureDiscriminator | VectorDiscriminator:
    """Make D for F's output: for maps, which C reads, or for the one vector per image that C's first layer reads."""
    if isinstance(model.head, ClassificationHead):
        return VectorDiscriminator(model.head.inputs)
    return FeatureDiscriminator(classifier.in_channels)


@contextmanager
def reversed_before(classifier: nn.Module) -> Iterator[None]:
    """Reverse, within the block, the gradient that ``classifier`` passes to its input."""

    def turn(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (reverse_gradient(inputs[0]), *inputs[1:])

    handle = classifier.register_forward_pre_hook(turn)
    try:
        yield
    finally:
        handle.remove()


def labeledness_loss(labelled: Tensor, unlabelled: Tensor, group: Processes = ALONE) -> Tensor:
    """Return the mean of −log D over labelled plus the mean of −log(1 − D) over unlabelled, D = σ(logits (n,) and (m,))
    (Eq. 3).

    With several processes: this one's share of it, to be averaged over processes, since the two means count apart.
    """
    parts = ((F.softplus(-labelled), len(labelled)), (F.softplus(unlabelled), len(unlabelled)))
    ours, theirs = (values.mean() * group.share(count) for values, count in parts)
    return ours + theirs
