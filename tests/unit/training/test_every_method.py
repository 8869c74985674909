"""What holds for every training method, whoever adds one: it can be stopped anywhere, it sees no answer that nobody was
asked for, and cancelling ends it at once. And where each trap and each switch of the papers has its test.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from memory_blobs import served
from services.trainer.handler import METHODS as SERVED
from tessera.formats import images, manifests, training_state
from tessera.formats.manifests import LabelManifest
from tessera.pb.common_pb2 import AxisValue
from tessera.pb.trainer_pb2 import TrainRequest, TrainResponse
from tessera.runtime.pool import ComputePool
from tessera.runtime.settings import load
from tessera.training import METHODS, loop
from tessera.training import state as state_module
from unit.training import test_partial_answers

train = served("trainer").train
pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = {
    "epochs": 2,
    "batch": 2,
    "precision": "float32",
    "frozen": False,
    "backbone_norm": "train",
    "augment": {"flip": True, "scale": [0.75, 1.5], "crop": [48, 48]},
    "schedule": {"name": "poly"},
    "lr": 1e-3,
    "view": "images",
}
OWN = {
    # Guards and thresholds such that every loss is there from the first step.
    "s4gan": {"warm_up": 0.0, "threshold": 0.2, "most_accepted": 0.97, "real_coverage": 0.0},
    "contrastive": {
        "augment": {"flip": True},
        "memory_bank": {"per_image": 4, "images": 4},
        "negatives": 16,
        "teacher": 0.9,
    },
}
MODELS = {
    "mal": {"temperature": 0.05, "unit_prototypes": False},
    "contrastive": {"projection_head": 16},
    "mulactseg": {"temperature": 0.1},
}
OTHERS = {"s4gan": "accepted", "contrastive": "bank"}
"""What a checkpoint must hold beside networks and optimisers, where a method has such state."""

TRAPS = {
    "the best checkpoint on the reported split": (
        "unit/training/test_services.py",
        "test_best_val_reads_val_and_says_when_it_cannot",
    ),
    "truth that filters regions before the choice": ("security/test_objects.py", "test_who_may_read_which_labels"),
    "clicks with or without the undefined class": (
        "unit/queries/test_formats.py",
        "test_multi_class_names_every_class_outside_the_band",
    ),
    "entropy after min-max by image": (
        "unit/acquisition/scoring/test_scores.py",
        "test_minmax_mean_scales_the_map_of_the_image",
    ),
    "a decoder that is not initialised again": (
        "unit/training/test_augment.py",
        "test_what_does_not_start_anew_goes_on_from_the_round_before",
    ),
    "labelled regions counted twice in the prior": (
        "unit/acquisition/selection/test_class_balanced.py",
        "test_the_prior_is_over_the_pool_or_over_what_is_unlabelled",
    ),
    "a crop that cuts a region": (
        "unit/training/test_mulactseg.py",
        "test_a_region_that_a_crop_cuts_has_no_prototypical_pixels_unless_told_so",
    ),
    "index, pointer and class 0 of the bank": (
        "unit/training/test_memory_bank.py",
        "test_queues_are_first_in_first_out_and_wrap",
    ),
    "the wrong pixels in the bank": ("unit/training/test_memory_bank.py", "test_the_hardest_correct_pixels_are_chosen"),
    "top-k of each replica": ("unit/acquisition/services/test_selector_shards.py", "test_shards_change_nothing"),
    "features that upsampling shortened": (
        "unit/training/test_pseudo_labels.py",
        "test_pseudo_labels_are_those_of_the_formulas",
    ),
    "one random stream for several purposes": ("unit/training/test_seam.py", "test_purposes_do_not_shift_each_other"),
    "images scaled by another batch": ("unit/training/test_s4gan.py", "test_every_image_is_scaled_by_its_own_range"),
}
"""Known mistakes of published code, and the test that keeps each out."""

SWITCHES = {
    "merged positives": ("unit/training/test_mulactseg.py", "test_weights_of_zero_leave_losses_out"),
    "prototypical pixels": ("unit/training/test_mulactseg.py", "test_weights_of_zero_leave_losses_out"),
    "every loss of stage 1": ("unit/training/test_mulactseg.py", "test_switches_of_stage_one_change_the_weights"),
    "localisation": ("unit/training/test_pseudo_labels.py", "test_pseudo_labels_are_those_of_the_formulas"),
    "expansion": ("unit/training/test_mulactseg.py", "test_expansion_labels_neighbours_without_an_answer"),
    "stage 2": ("unit/training/test_mulactseg.py", "test_stage_two_leaves_stage_one_as_it_is"),
    "contrast": ("unit/training/test_contrastive.py", "test_without_contrast_it_is_supervised_training"),
    "teacher": ("unit/training/test_contrastive.py", "test_each_switch_changes_what_it_should"),
    "entropy, discriminator and start of the task network": (
        "unit/training/test_mal.py",
        "test_switches_change_what_they_should",
    ),
    "all of minimax training": ("unit/training/test_mal.py", "test_labels_alone_are_supervised_training_bit_for_bit"),
    "feature matching, self-training and discriminator": (
        "unit/training/test_s4gan.py",
        "test_each_switch_changes_what_it_should",
    ),
    "all of s4GAN": ("unit/training/test_s4gan.py", "test_without_its_losses_it_is_supervised_training_bit_for_bit"),
}
"""What can be left out of a training, and the test that says what that changes."""


class World(test_partial_answers.World):
    """Two images with SEEDS regions; an oracle is asked about some of the second's. Every checkpoint is kept."""

    def __init__(self, truth=None):
        super().__init__()
        self.checkpoints: list[bytes] = []
        if truth is not None:
            self.truth = truth(self)
            refs = {name: self.write(images.encode_png(one), "image/png") for name, one in self.truth.items()}
            self.labels = self.write(manifests.labels_to_json(LabelManifest("train", refs)))

    def keep(self, data):
        super().keep(data)
        self.checkpoints.append(data)

    def asked_regions(self):
        return [("im1", region) for region in range(0, int(self.maps["im1"].max()) + 1, 2)]

    def job(self, method, **changes):
        known = METHODS.entry(method).params.model_fields
        wanted = SETTINGS | OWN.get(method, {}) | changes
        settings = {name: value for name, value in wanted.items() if name in known}
        query = "multi_class" if METHODS.entry(method).traits.learns_classes else "mask"
        network = {"width": 0.125, "output_stride": 16, **MODELS.get(method, {})}
        return TrainRequest(
            manifest=self.manifest,
            ledgers=[self.asked(query, self.asked_regions())],
            shards=[self.shard],
            architecture=AxisValue(name="deeplabv3plus_mobilenetv2", parameters=json.dumps(network)),
            classes=test_partial_answers.CLASSES,
            training=AxisValue(name=method, parameters=json.dumps(settings)),
            checkpoint_policy="last",
            seed=3,
        )


@pytest.mark.parametrize("method", METHODS.names())
async def test_a_training_that_is_stopped_after_any_epoch_ends_in_the_same_bytes(method):
    """Weights, artefacts, losses and rates: what is stateful and not in the checkpoint would show in one of them."""
    world = World()
    whole = await train(world.job(method), world)
    assert world.images_per_second > 0
    world = World()
    world.keeps = True
    assert await train(world.job(method), world) == whole  # keeping changes nothing
    assert len(world.checkpoints) >= 2
    if method in OTHERS:
        state = training_state.load(world.checkpoints[0], "checkpoint")
        assert OTHERS[method] in state.phase["others"]
    for number, checkpoint in enumerate(world.checkpoints, start=1):
        again = World()  # another process, with nothing but the checkpoint
        again.kept = checkpoint
        assert await train(again.job(method), again) == whole, number
        assert any(f"going on after epoch {number}" in note for _, note in again.notes)


@pytest.mark.parametrize("part", ["optimisers", "bank", "streams"])
async def test_what_a_checkpoint_lacks_would_show(part, monkeypatch):
    """The test above can fail: where one part of the state is lost, the end is another."""

    def forgetful(phase, streams, state):
        state_module.recall(phase, streams, state)
        if part == "optimisers":
            for one in phase.optimisers.values():
                one.state.clear()
        elif part == "bank":
            phase.others["bank"].load_state_dict({"vectors": 0, "next": 0, "counts": 0})
        else:
            streams._generators.clear()

    world = World()
    world.keeps = True
    whole = await train(world.job("contrastive"), world)
    again = World()
    again.kept = world.checkpoints[0]
    monkeypatch.setattr(loop, "recall", forgetful)
    assert await train(again.job("contrastive"), again) != whole


@pytest.mark.parametrize("method", METHODS.names())
async def test_labels_that_nobody_was_asked_for_teach_nothing(method):
    """Noise in place of every label outside the asked regions leaves every byte of the result as it was."""
    rng = np.random.default_rng(9)

    def noisy(world):
        made = {}
        for name, truth in world.truth.items():
            asked = np.isin(world.maps[name], [region for image, region in world.asked_regions() if image == name])
            made[name] = np.where(asked, truth, rng.integers(0, 3, truth.shape)).astype(np.uint8)
            assert not np.array_equal(made[name], truth)
        return made

    def other(world):
        return {name: (truth + 1) % 3 for name, truth in world.truth.items()}

    found = []
    for truth in (None, noisy, other):
        world = World(truth)
        found.append(await train(world.job(method), world))
    assert found[0] == found[1]
    assert found[0] != found[2]  # labels that were asked for do teach


@pytest.mark.full
@pytest.mark.parametrize("method", METHODS.names())
async def test_cancelling_ends_it_at_once(method, tmp_path, capsys):
    """Its process is killed in the middle of an epoch: in two seconds; the rest is for a busy machine."""
    world = World()
    served_method = next(one for one in SERVED if one.name == "Train")
    request = world.job(method, epochs=10_000)
    paths = {}
    for ref in await served_method.reads(request, world):
        paths[ref.sha256] = tmp_path / ref.sha256
        paths[ref.sha256].write_bytes(world.objects[ref.sha256])
    pool = ComputePool(1, load(cores=1, cache_dir=tmp_path, scratch_dir=tmp_path, store=tmp_path.as_uri()))
    begun = asyncio.Event()
    try:
        running = asyncio.create_task(
            pool.run(
                served_method.function, request, TrainResponse, paths, timeout=250, on_progress=lambda *_: begun.set()
            )
        )
        begins = asyncio.create_task(begun.wait())
        await asyncio.wait([running, begins], timeout=240, return_when=asyncio.FIRST_COMPLETED)
        begins.cancel()
        assert begun.is_set()
        (pid,) = pool.pids
        before = time.monotonic()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        took = time.monotonic() - before
        with capsys.disabled():
            print(f"\n{method}: cancelled in {took:.2f} s")
        assert took < 10
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    finally:
        await pool.close()


@pytest.mark.parametrize("listed", [TRAPS, SWITCHES])
def test_every_trap_and_every_switch_has_its_test(listed):
    tests = Path(__file__).parents[2]
    for what, (file, name) in listed.items():
        assert f"def {name}(" in (tests / file).read_text(), what
