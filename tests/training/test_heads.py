"""The head that a phase begins with, and its warm-up."""

import numpy as np
import pytest
import timm
import torch
from pydantic import ValidationError
from scipy.spatial.distance import cdist
from tiny_sets import RECIPE, fit, squares

from understudy.core.errors import InputError
from understudy.settings import from_yaml, to_yaml
from understudy.training.arms import Arm
from understudy.training.backbones import Backbone
from understudy.training.batches import Images
from understudy.training.classifier import TrainedClassifier
from understudy.training.fit import check_arms_fit
from understudy.training.heads import begin_head
from understudy.training.layers import heads_of
from understudy.training.optimisers import build_optimiser
from understudy.training.schedules import cosine
from understudy.training.settings import CompareSettings, Phase
from understudy.training.updates import parts_of

STILL = {"learning_rate": 1e-30, "batch_norm": "frozen"}
TWO_LENGTHS = RECIPE.model_copy(update={"equal_steps": False})
SETS = {"train": squares("train"), "synthetic": squares("synthetic", seed=1)}


def arm_of(*phases):
    return Arm(name="x", phases=phases, summary="")


def state(classifier):
    return {name: value.clone() for name, value in classifier.backbone.model.state_dict().items()}


def tiny(name, **args):
    model = timm.create_model(name, num_classes=3, **args)
    return Backbone(model, name, args, 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def images_of(data):
    return Images(torch.from_numpy(data.pixels(32)), torch.from_numpy(data.labels), len(data))


@pytest.mark.parametrize("data", ["real", "synthetic", "mixed"])
@pytest.mark.parametrize("before", [(), (Phase(data="synthetic", steps=20),)], ids=["pretrained", "after"])
def test_a_head_of_class_means_assigns_to_the_nearest_one(before, data):
    """A phase that learns nothing shows the head that it began with."""
    arm = arm_of(*before, Phase(data=data, head="class-means", **STILL))
    classifier = fit(arm, settings=TWO_LENGTHS, **SETS)
    sets = {"real": SETS["train"], "synthetic": SETS["synthetic"]}
    used = [sets[data]] if data in sets else list(sets.values())
    f, y = (
        np.concatenate(parts)
        for parts in zip(*((classifier.features(x), x.labels) for x in used), strict=True)
    )
    means = np.stack([f[y == label].mean(axis=0) for label in range(3)])
    test = squares("test", num=60, seed=9)
    nearest = cdist(classifier.features(test), means).argmin(axis=1)
    np.testing.assert_array_equal(classifier.predict(test).argmax(axis=1), nearest)
    assert not before or (nearest == test.labels).mean() > 0.6  # otherwise equality says little


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("vit_tiny_patch16_224", {"img_size": 32, "depth": 1}),
        ("deit_tiny_distilled_patch16_224", {"img_size": 32, "depth": 1}),
        ("convnext_atto", {}),
        ("mobilenetv3_small_050", {}),
    ],
)
def test_every_linear_head_gets_its_class_means(name, args):
    """Distilled transformers have two heads, which see different features; a test uses their mean."""
    backbone, data = tiny(name, **args), squares("train")
    before = {key: value.clone() for key, value in backbone.model.state_dict().items()}
    begin_head(backbone, images_of(data), Phase(data="real", head="class-means"), batch_size=5)
    changed = {
        key for key, value in backbone.model.state_dict().items() if not torch.equal(value, before[key])
    }
    heads = {id(parameter) for head in heads_of(backbone.model) for parameter in head.parameters()}
    assert changed == {key for key, value in backbone.model.named_parameters() if id(value) in heads}
    assert backbone.model.training
    own = TrainedClassifier(backbone, data.class_names).predict(data)[np.arange(len(data)), data.labels]
    assert own.mean() > 0.5


def test_what_class_means_need():
    data = squares("train")
    two_classes = data.select(np.flatnonzero(data.labels < 2))
    phase = Phase(data="real", head="class-means")
    with pytest.raises(
        InputError, match="an image of every class in its phase, but 1 of 3 classes have none"
    ):
        begin_head(tiny("test_resnet"), images_of(two_classes), phase, batch_size=8)
    settings = CompareSettings(
        backbone="levit_128s", pretrained=False, arms=("real", "mine"), own_arms={"mine": (phase,)}
    )
    with pytest.raises(InputError, match="ends in a linear layer with biases, but that of 'levit_128s' ends"):
        check_arms_fit(settings, data, num_synthetic=10)


def test_only_the_head_learns_in_the_warm_up():
    """Weights and batch statistics below the head stay as the phase before left them."""
    seen = {}
    arm = arm_of(Phase(data="synthetic"), Phase(data="real", head="fresh", head_warmup=0.5))
    fit(
        arm, settings=TWO_LENGTHS, watch=lambda step: seen.update({step.step: state(step.classifier)}), **SETS
    )
    assert len(seen) == 16

    def differing(one, other):
        return {name for name in seen[one] if not torch.equal(seen[one][name], seen[other][name])}

    for step in range(9, 13):
        assert differing(8, step) == {"fc.weight", "fc.bias"}
    assert {name.split(".")[0] for name in differing(12, 13)} > {"layer1", "layer4", "fc"}
    assert any("running_mean" in name for name in differing(12, 13))


def test_both_parts_have_their_own_schedule_and_optimiser(monkeypatch):
    built, rates = [], []

    def build(model, settings):
        built.append([name for name, parameter in model.named_parameters() if parameter.requires_grad])
        return build_optimiser(model, settings)

    monkeypatch.setattr("understudy.training.updates.build_optimiser", build)
    arm = arm_of(Phase(data="real", head_warmup=0.25))
    fit(arm, watch=lambda step: rates.append(step.learning_rate), **SETS)
    assert built[0] == ["fc.weight", "fc.bias"]
    assert len(built) == 2
    assert len(built[1]) > 10
    expected = [cosine(step, length) for length in (2, 6) for step in range(length)]
    assert rates == pytest.approx([RECIPE.learning_rate * factor for factor in expected])


@pytest.mark.parametrize(
    ("share", "steps", "lengths"), [(0.01, 10, [1, 9]), (0.99, 10, [9, 1]), (0.5, 1, [1])]
)
def test_each_part_has_a_step(share, steps, lengths):
    phase = Phase(data="real", head_warmup=share, batch_norm="frozen", layers="late-layer")
    parts = parts_of(phase, steps)
    assert [length for _, length in parts] == lengths
    assert parts[-1][0] == phase


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layers": "linear-probe"}, "head_warmup has no effect with layers 'linear-probe'"),
        ({"layers": "last-layer"}, "head_warmup has no effect with layers 'last-layer'"),
        ({"auxiliary_batch_norm": "both"}, "cannot be combined with auxiliary_batch_norm"),
        ({"head": "fresh", "reset_head": True}, "reset_head"),
        ({"reset_head": "sometimes"}, "reset_head"),
    ],
)
def test_bad_heads(fields, message):
    with pytest.raises(ValidationError, match=message):
        Phase.model_validate({"data": "mixed", "head_warmup": 0.5, **fields})


@pytest.mark.parametrize(("old", "head"), [("true", "fresh"), ("false", "kept")])
def test_settings_of_earlier_versions_with_reset_head(old, head):
    text = f"""
data: {{source: digits}}
compare:
  arms: [real, mine]
  own_arms: {{mine: [{{data: synthetic}}, {{data: real, reset_head: {old}}}]}}
"""
    settings = from_yaml(text)
    assert settings.compare.own_arms["mine"][1].head == head
    assert "reset_head" not in to_yaml(settings)
    assert from_yaml(to_yaml(settings)) == settings
