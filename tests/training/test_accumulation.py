"""The gradients of a batch in parts equal those of the whole, unless batch normalisation sees the parts."""

import json

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sets import RECIPE, fit, squares

from understudy.core.errors import InputError
from understudy.core.micro_batch import MicroBatch
from understudy.training import fit as fit_module
from understudy.training.accumulation import Gradients
from understudy.training.auxiliary_batch_norm import AuxiliaryBatchNorm
from understudy.training.backbones import Backbone, build_backbone, seeded_globals
from understudy.training.data import HeldOut, TrainingData
from understudy.training.fit import check_arms_fit
from understudy.training.guides import Guides
from understudy.training.layers import BATCH_NORMS
from understudy.training.losses import Loss
from understudy.training.optimisers import build_optimiser
from understudy.training.precision import Precision
from understudy.training.records import ArmFolder
from understudy.training.run import SeedTraining
from understudy.training.settings import CompareSettings, Phase

VIT = RECIPE.model_copy(update={"backbone": "test_vit", "resolution": None, "learning_rate": 1e-4})


def network(seed, name="test_vit"):
    with seeded_globals(seed):
        model = timm.create_model(name, num_classes=3)
    size = model.pretrained_cfg["input_size"][-1]
    return Backbone(model.train(), name, {}, size, (0.5,) * 3, (0.2,) * 3)


STUDENT, GUIDES = network(1), Guides(teacher=network(2), extractor=network(3))
X = torch.randn(7, 3, 160, 160, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0, 1, 2, 2])


def gradients_of(phase, num_real, size, *, backbone=STUDENT):
    """The loss of a batch and the gradients of all weights, computed with ``size`` images at once."""
    loss_of = Loss(backbone, phase, label_smoothing=0.1, guides=GUIDES)
    optimiser = build_optimiser(backbone.model, CompareSettings())
    auxiliary = AuxiliaryBatchNorm(backbone.model, "none", name="x")
    gradients = Gradients(backbone.model, loss_of, auxiliary, Precision("cpu"), MicroBatch(size, work="x"))
    loss = gradients.replace(optimiser, X, Y, num_real)
    weights = [*backbone.model.parameters(), *(() if loss_of.map is None else loss_of.map.parameters())]
    return loss, torch.cat([weight.grad.flatten() for weight in weights])


@given(
    size=st.integers(1, 6),
    num_real=st.integers(0, 7),
    weight=st.sampled_from([None, 0.5]),
    soft=st.sampled_from([0.0, 0.6]),
    distance=st.sampled_from([0.0, 0.7]),
)
@settings(max_examples=12, deadline=None)
def test_parts_add_up_to_the_batch(size, num_real, weight, soft, distance):
    phase = Phase(data="mixed", synthetic_weight=weight, soft_labels=soft, feature_distillation=distance)
    whole, expected = gradients_of(phase, num_real, 7)
    loss, gradient = gradients_of(phase, num_real, size)
    torch.testing.assert_close(loss, whole, rtol=1e-5, atol=1e-6)
    assert (gradient - expected).norm() < 1e-4 * expected.norm()
    assert not loss.requires_grad


def final_weights(arm="mixed", **changes):
    classifier = fit(
        arm,
        train=squares("train"),
        synthetic=squares("synthetic", seed=1),
        settings=VIT.model_copy(update={"steps": 3} | changes),
    )
    return torch.cat([value.flatten() for value in classifier.backbone.model.parameters()])


def test_a_training_in_parts_differs_by_rounding():
    """AdamW's first steps follow the signs of gradients, which rounding can turn where they are almost 0."""
    whole, parts = final_weights(), final_weights(micro_batch=3)
    assert ((whole - parts).abs() > 1e-6).float().mean() < 0.02
    assert torch.equal(final_weights(micro_batch=64), whole)


def test_batch_normalisation_sees_parts_with_their_share_of_real_images():
    """Three of eight images are real, so that parts of four have one or two of them."""
    seen = []
    backbone = network(0, "test_resnet")
    norm = next(module for module in backbone.model.modules() if isinstance(module, BATCH_NORMS))
    norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[0]))
    marked = torch.zeros(8, 3, 160, 160)
    marked[:3] = 1
    backbone.model.register_forward_pre_hook(
        lambda module, inputs: seen.append(int(inputs[0][:, 0, 0, 0].sum()))
    )
    phase = Phase(data="mixed", synthetic_weight=0.5)
    gradients = Gradients(
        backbone.model,
        Loss(backbone, phase, label_smoothing=0.1, guides=Guides()),
        AuxiliaryBatchNorm(backbone.model, "none", name="x"),
        Precision("cpu"),
        MicroBatch(4, work="x"),
    )
    gradients.replace(build_optimiser(backbone.model, CompareSettings()), marked, torch.zeros(8).long(), 3)
    assert seen == [2, 4, 1, 4]


class Small:
    """Lets a network compute at most ``limit`` images at once, as a card with little memory."""

    def __init__(self, model, limit):
        self.limit, self.sizes = limit, []
        self.handle = model.register_forward_pre_hook(self)

    def __call__(self, module, inputs):
        self.sizes.append(len(inputs[0]))
        if module.training and len(inputs[0]) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_a_training_goes_on_with_fewer_images_at_once(name, monkeypatch, tmp_path):
    def small(*arguments, **options):
        backbone = build_backbone(*arguments, **options)
        Small(backbone.model, 3)
        return backbone

    monkeypatch.setattr(fit_module, "build_backbone", small)
    recipe = RECIPE if name == "test_resnet" else VIT
    training = SeedTraining(
        folder=ArmFolder(tmp_path, "bridged"),
        index=0,
        data=TrainingData(train=squares("train"), synthetic=squares("synthetic", seed=1)),
        held_out=HeldOut(val=squares("val"), test=squares("test")),
        settings=recipe.model_copy(update={"steps": 4}),
        seed=0,
        device="cpu",
    )
    with pytest.warns(UserWarning, match="training of a classifier ran out of memory") as warned:
        assert sum(training.steps()) == 4
    effect = "takes its statistics from these" if name == "test_resnet" else "by rounding only"
    assert [effect in str(each.message) for each in warned] == [True, True]
    with np.load(training.folder.record(0)) as record:
        assert json.loads(str(record["history"]))["micro_batch"] == 2


BUNDLED = CompareSettings(steps=2, batch_size=8, bootstrap=100)


@pytest.mark.parametrize(
    "changes", [{"micro_batch": 2, "batch_size": 3}, {"micro_batch": 2, "batch_size": 5}]
)
def test_batch_normalisation_never_sees_a_single_image(changes):
    """The bundled network normalises features of one pixel, so one image has no variance."""
    fit("real", train=squares("train"), settings=BUNDLED.model_copy(update=changes))


def test_parts_have_at_least_the_smallest_number_of_images():
    sizes = Small(STUDENT.model, limit=7)
    loss_of = Loss(STUDENT, Phase(data="real"), label_smoothing=0.1, guides=Guides())
    auxiliary = AuxiliaryBatchNorm(STUDENT.model, "none", name="x")
    for size, expected in ((2, [3, 2, 2]), (3, [3, 2, 2]), (4, [4, 3]), (7, [7])):
        sizes.sizes.clear()
        micro_batch = MicroBatch(size, work="x", smallest=2)
        gradients = Gradients(STUDENT.model, loss_of, auxiliary, Precision("cpu"), micro_batch)
        gradients.replace(build_optimiser(STUDENT.model, CompareSettings()), X, Y, 0)
        assert sizes.sizes == expected
    sizes.handle.remove()


@pytest.mark.parametrize("name", ["mini", "test_resnet"])
def test_one_image_at_once_is_refused_for_batch_normalisation(name):
    settings = BUNDLED.model_copy(update={"micro_batch": 1, "backbone": name, "pretrained": name == "mini"})
    message = f"compare.micro_batch must be at least 2 for .* compare.backbone '{name}', got 1: use 2 or more"
    with pytest.raises(InputError, match=message):
        check_arms_fit(settings, squares("train"), num_synthetic=12)
    with pytest.raises(InputError, match=message):
        fit("real", train=squares("train"), settings=settings)
    check_arms_fit(settings.model_copy(update={"micro_batch": 2}), squares("train"), num_synthetic=12)
    check_arms_fit(VIT.model_copy(update={"micro_batch": 1}), squares("train"), num_synthetic=12)


def trained_on_a_small_card(monkeypatch, limit, *, after=False, **changes):
    """Train the bundled network; with ``after``, memory runs out after the forward pass, not before it."""

    def small(*arguments, **options):
        backbone = build_backbone(*arguments, **options)
        card = Small(backbone.model, limit)
        if after:
            card.handle.remove()
            backbone.model.register_forward_hook(lambda module, inputs, outputs: card(module, inputs))
        return backbone

    monkeypatch.setattr(fit_module, "build_backbone", small)
    return fit("real", train=squares("train"), settings=BUNDLED.model_copy(update=changes))


def test_batch_normalisation_stops_at_two_images(monkeypatch):
    with (
        pytest.warns(UserWarning, match="goes on with 2"),
        pytest.raises(InputError, match="even with 2 images at once: use smaller images"),
    ):
        trained_on_a_small_card(monkeypatch, 1, micro_batch=4)


def test_an_attempt_that_ran_out_of_memory_leaves_the_running_statistics(monkeypatch):
    expected = trained_on_a_small_card(monkeypatch, 8, micro_batch=4)
    with pytest.warns(UserWarning, match="goes on with 4"):
        found = trained_on_a_small_card(monkeypatch, 4, after=True)
    theirs = expected.backbone.model.state_dict()
    for name, value in found.backbone.model.state_dict().items():
        assert "num_batches" in name or torch.equal(value, theirs[name])
