"""The supervised phase: cross entropy on labelled samples. Other methods build on it, or on `NetworkPhase` alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tessera.errors import BadInput
from tessera.models.network import SegmentationNetwork, channels_last
from tessera.models.precision import fast_dtype
from tessera.models.predictor import Predictor
from tessera.training.ahead import Batch
from tessera.training.artefacts import Artefact, Tensors
from tessera.training.augment import Augmentation, draw
from tessera.training.compiled import compile_calls
from tessera.training.data import ImageSet, SampleSet, WindowSet
from tessera.training.inputs import Inputs
from tessera.training.losses import IGNORE, cross_entropy
from tessera.training.memory_bank import collect
from tessera.training.phase import Iteration, Phase, Setup, Update
from tessera.training.samples import Sample

if TYPE_CHECKING:
    from tessera.training.methods.supervised.params import Supervised


class NetworkPhase(Phase):
    """A fresh network, ``model``, its optimiser of the same name, and its images ``data``; a subclass says ``step``."""

    def __init__(self, params: Supervised, setup: Setup, data: ImageSet) -> None:
        self.params, self.setup, self.own_images = params, setup, data
        # With a frozen backbone maps are kept, and no image is decoded in a step.
        self.prepares = not params.frozen
        self._drawn: dict[tuple[int, int], dict[str, Batch]] = {}
        self.epochs, self.samples, self.batch = params.epochs, len(data), params.batch
        self.frozen, self.precision = params.frozen, precision(params, setup.device)
        self.model = fresh(params, setup)
        if params.decode == "labelled" and not self.model.head.decodes_cells:
            raise BadInput("training.decode: this network has no decoder that works cell by cell; set it to whole")
        self.whole_images = self.model.head.whole_image
        self.modules = {"model": self.model}
        self.serves = {"acquisition": "model", "reported": "model"}
        self.optimisers = {"model": optimiser(params, groups(params, self.model))}
        if params.view != "images":
            self.model.head.trained_on(*_map_size(self.model, data))
        self.inputs = Inputs(
            self.model,
            data,
            self.precision,
            frozen=params.frozen,
            flips=params.augment.flip,
            cache=params.cache_features,
        )

    def begin_epoch(self) -> None:
        """Set train mode; the backbone's batch norm as the parameters say."""
        self.model.train()
        self.model.backbone.train(self.params.backbone_norm == "train")

    def prepare(self, at: Iteration) -> None:
        """Draw what the step needs, and begin to decode and change its images in a thread."""
        self._drawn[at.epoch, at.number] = made = self.draw(at)
        for name, batch in made.items():
            self.images_of(name).begin(batch)

    def close(self) -> None:
        """End the thread of every stream."""
        self._drawn.clear()
        self.own_images.close()

    def batches(self, at: Iteration) -> dict[str, Batch]:
        """Return the draws of the step by stream: those of `prepare`, or, where it was not called, made now."""
        return self._drawn.pop((at.epoch, at.number), None) or self.draw(at)

    def draw(self, at: Iteration) -> dict[str, Batch]:
        """Draw, by stream, which images are mirrored and how they change; ``samples`` are the phase's own."""
        mirrored = self.mirrored(at.rng, len(at.whole))
        changes = self.changes(self.own_images, at.whole, mirrored, at.draws("augmentation"))
        return {"samples": Batch(at.index, mirrored[at.part], None if changes is None else changes[at.part])}

    def own(
        self, index: NDArray[np.int64], flip: NDArray[np.bool_], changes: list[Augmentation] | None = None
    ) -> Batch:
        """Return this process's part of the draws of a feed."""
        part = self.setup.group.part(len(index))
        return Batch(index[part], flip[part], None if changes is None else changes[part])

    def images_of(self, stream: str) -> ImageSet:
        """Return the images of a stream that `draw` names."""
        return self.own_images

    def mirrored(self, rng: np.random.Generator, count: int) -> NDArray[np.bool_]:
        """Draw which of ``count`` images are mirrored."""
        drawn: NDArray[np.bool_] = rng.random(count) < (0.5 if self.params.augment.flip else 0.0)
        return drawn

    def changes(
        self, data: ImageSet, index: NDArray[np.int64], flip: NDArray[np.bool_], rng: np.random.Generator
    ) -> list[Augmentation] | None:
        """Draw how the images of a batch are scaled, cropped and recoloured; None: not at all."""
        return draw(self.params.augment, data.shapes(index), flip, data.size, rng)

    def rate(self, optimiser: str, start: float, at: Iteration) -> float:
        """Return the rate by the schedule."""
        return self.params.schedule.rate(start, at.epoch - 1, at.number, at.steps, self.epochs)


class SupervisedPhase(NetworkPhase):
    """Cross entropy on ``samples`` (the setup's, unless given)."""

    def __init__(self, params: Supervised, setup: Setup, samples: Sequence[Sample] | None = None) -> None:
        kind = WindowSet if params.view == "windows" else SampleSet
        samples = setup.data.samples if samples is None else samples
        if params.without_labels == "leave_out":
            samples = [one for one in samples if (one.target != IGNORE).any()]
        self.examples = samples
        self.data = kind(samples, setup.device, image_dtype(params, setup))
        super().__init__(params, setup, self.data)

    def step(self, at: Iteration) -> Iterator[Update]:
        """Yield the update by cross entropy on the labelled pixels of the batch."""
        update = self.learn(self.batches(at)["samples"])
        if update.losses:
            yield update

    def learn(self, batch: Batch) -> Update:
        """Return the update by cross entropy on the labelled pixels of the batch.

        With ``decode: labelled`` it has no loss where no pixel has a label.
        """
        index, flip, changes = batch
        target = self.data.target(index, flip, changes)
        if self.whole_images:
            target = target.amin((1, 2), keepdim=True)  # the one class of an image; 255 is the largest value
        labelled = target != IGNORE
        if self.params.decode == "labelled":
            if not bool(labelled.any()):
                return Update("model", {})
            pixels = labelled.view(-1).nonzero()[:, 0]
            logits = self.inputs.logits_at(index, flip, pixels, (target.shape[1], target.shape[2]), changes)
            loss = F.cross_entropy(logits, target.view(-1)[pixels].long())
        else:
            loss = cross_entropy(self.inputs.logits(index, flip, changes), target)
        return Update("model", {"cross_entropy": loss}, weight=int(labelled.sum()))

    def artefacts(self) -> Mapping[str, Artefact]:
        """Return ``memory_bank``, where ``params`` ask for one: of the acquiring network, over the labelled images."""
        wanted = self.params.memory_bank
        if wanted is None:
            return {}
        predictor = Predictor(self.model, str(self.setup.device))
        bank = collect(predictor, self.setup.data.whole, wanted, self.setup.classes, self.setup.progress)
        return {"memory_bank": Tensors(bank.contents())}


def fresh(params: Supervised, setup: Setup) -> SegmentationNetwork:
    """Make a fresh network whose head is drawn from torch's random state; a frozen backbone takes no gradient.

    The parts that ``params.reinit`` does not name go on from the round before, where there is one.
    """
    model = setup.network()
    model.head.reset_parameters()
    if setup.previous is not None:
        kept = {"all": (), "backbone": ("head.",), "decoder": ("backbone.",), "none": ("backbone.", "head.")}
        parts = kept[params.reinit]
        former = {key: torch.from_numpy(value) for key, value in setup.previous.items() if key.startswith(parts)}
        model.load_state_dict(model.state_dict() | former)
    for module in model.head.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = params.head_norm_momentum
    channels_last(model.to(setup.device))
    model.backbone.requires_grad_(not params.frozen)
    model.head.requires_grad_(True)
    if params.compile:
        compile_calls(model, setup.device)
    return model


def precision(params: Supervised, device: torch.device) -> torch.dtype:
    """Return the dtype in which convolutions run."""
    return {"auto": fast_dtype(device), "float32": torch.float32, "bf16": torch.bfloat16}[params.precision]


def image_dtype(params: Supervised, setup: Setup) -> torch.dtype:
    """Return the dtype of a network's images: a frozen backbone's own, else float32, which autocast narrows."""
    return precision(params, setup.device) if params.frozen else torch.float32


def groups(params: Supervised, model: SegmentationNetwork) -> list[dict[str, Any]]:
    """Return the trained parameters, backbone first, in two groups where the head has a learning rate of its own."""
    backbone, head = ([one for one in part.parameters() if one.requires_grad] for part in (model.backbone, model.head))
    if params.head_factor == 1.0:
        return [{"params": backbone + head}]
    fast: dict[str, Any] = {"params": head, "lr": params.lr * params.head_factor}
    return [{"params": backbone}, fast] if backbone else [fast]


def optimiser(params: Supervised, parameters: Iterable[Tensor] | Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
    """Build the optimiser that ``params`` name, over parameters, or over groups with learning rates of their own."""
    if params.optimiser == "sgd":
        return torch.optim.SGD(parameters, params.lr, momentum=params.momentum, weight_decay=params.weight_decay)
    kind = torch.optim.AdamW if params.optimiser == "adamw" else torch.optim.Adam
    return kind(parameters, params.lr, weight_decay=params.weight_decay, fused=True)


def _map_size(model: SegmentationNetwork, data: ImageSet) -> tuple[int, int]:
    """Return height and width of the deepest map of one sample."""
    with torch.no_grad():
        blank = torch.zeros(1, 3, *data.context, device=data.device)
        _, high = model.eval().features(blank)
    return high.shape[2], high.shape[3]
