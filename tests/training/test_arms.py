"""Arms: what they are made of, how long their phases are, and that every registered one trains."""

import math

import numpy as np
import pytest
import timm
import torch
from tiny_sets import RECIPE, squares
from tiny_sets import fit as fit_on
from torch import nn
from torch.nn import functional as F

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.sampling.plan import quotas
from understudy.sampling.settings import DrawSettings
from understudy.settings import build, from_yaml, to_yaml
from understudy.training.arms import ARMS, Arm, check_arm, find_arm, refittable_arms, with_val
from understudy.training.layers import freeze
from understudy.training.settings import CompareSettings, Phase

TWO_LENGTHS = RECIPE.model_copy(update={"equal_steps": False})
SIZES = {"num_real": 24, "num_synthetic": 80}
REAL, SYNTHETIC = Phase(data="real"), Phase(data="synthetic")


def arm_of(*phases):
    return Arm(name="x", phases=phases, summary="")


def fit(arm, **options):
    return fit_on(arm, **{"train": squares("train"), "synthetic": squares("synthetic", seed=1)} | options)


def state(classifier):
    return {name: value.clone() for name, value in classifier.backbone.model.state_dict().items()}


def differing(one, other):
    return {name for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize("name", list(ARMS))
def test_contract(name):
    arm = ARMS[name]
    assert arm.name == name
    assert arm.summary == ARMS.summary(name)
    words = [phase.data.replace("mixed", "real and synthetic") for phase in arm.phases]
    assert all(f"{word} images" in arm.describe() for word in words)
    for steps in (10, 301):
        assert sum(arm.phase_steps(CompareSettings(steps=steps), **SIZES)) == steps
    seen, before = [], torch.get_rng_state()
    synthetic = squares("synthetic", seed=1, strengths=(1.0, 0.5)) if arm.uses_synthetic else None
    classifier = fit(name, synthetic=synthetic, seed=3, watch=seen.append)
    assert [step.step for step in seen] == list(range(1, RECIPE.steps + 1))
    assert [step.phase for step in seen if step.ends_phase] == list(range(len(arm.phases)))
    assert all(np.isfinite(step.loss) and step.learning_rate > 0 and step.of == RECIPE.steps for step in seen)
    assert torch.equal(before, torch.get_rng_state())
    assert all(parameter.requires_grad for parameter in classifier.backbone.model.parameters())
    probabilities = classifier.predict(squares("test", seed=2))
    assert probabilities.dtype == np.float64
    assert probabilities.shape == (12, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)


def test_describe():
    assert ARMS["real"].describe() == "real images"
    assert ARMS["real-long"].describe() == "2 parts real images"
    assert not ARMS["real"].uses_synthetic
    everything = arm_of(
        Phase(data="mixed", share=0.25, real_share=0.5, cutmix=1, layers="late-layer", batch_norm="frozen"),
        Phase(data="real", epochs=2.5, head="fresh", learning_rate=0.01, weight_decay=0),
    )
    assert everything.describe() == (
        "0.25 parts real and synthetic images with 50% real per batch, cutmix 1, late-layer, batch norm "
        "frozen, then 2.5 epochs of real images with a fresh head, learning rate 0.01, weight decay 0.0"
    )
    of_synthetic = arm_of(
        Phase(
            data="mixed",
            auxiliary_batch_norm="both",
            synthetic_weight=0.5,
            soft_labels=0.4,
            temperature=3,
            feature_distillation=2,
        ),
        Phase(data="synthetic", auxiliary_batch_norm="statistics", refresh_every=2, refresh_share=0.25),
    )
    assert of_synthetic.describe() == (
        "1 part real and synthetic images with separate batch norm for synthetic images, synthetic loss "
        "weighted 0.5, 40% soft labels at temperature 3, feature distillation 2, then 1 part synthetic "
        "images with separate batch norm statistics for synthetic images, 25% of the synthetic images fresh "
        "every 2 epochs"
    )


@pytest.mark.parametrize(
    ("phases", "equal", "counts"),
    [
        ((SYNTHETIC, REAL), True, (50, 50)),
        ((SYNTHETIC, REAL), False, (100, 100)),
        ((Phase(data="synthetic", share=3), REAL), True, (75, 25)),
        ((Phase(data="synthetic", share=3), REAL), False, (300, 100)),
        ((Phase(data="synthetic", steps=30), REAL), True, (30, 70)),
        ((Phase(data="synthetic", epochs=1), REAL), True, (10, 90)),  # 80 images, 8 in a batch
        (
            (Phase(data="mixed", epochs=0.5), REAL),
            False,
            (7, 100),
        ),  # half of 104 images, rounded up to whole batches
        ((Phase(data="synthetic", steps=30), Phase(data="real", steps=70)), True, (30, 70)),
        ((Phase(data="synthetic", steps=30), Phase(data="real", steps=5)), False, (30, 5)),
    ],
)
def test_lengths_of_phases(phases, equal, counts):
    assert (
        arm_of(*phases).phase_steps(CompareSettings(steps=100, batch_size=8, equal_steps=equal), **SIZES)
        == counts
    )


@pytest.mark.parametrize(
    ("phases", "steps", "message"),
    [
        (
            (Phase(data="synthetic", share=0.1), Phase(data="real", share=0.9)),
            2,
            r"compare.steps=2 leaves a phase of the arm 'x' .* without a step",
        ),
        (
            (Phase(data="synthetic", steps=30), Phase(data="real", steps=5)),
            100,
            r"must take compare.steps=100 steps, .* 'x' take 35",
        ),
        ((Phase(data="synthetic", steps=100), REAL), 100, r"leaves a phase of the arm 'x' .* without a step"),
        ((Phase(data="synthetic", steps=101),), 100, "take 101"),
    ],
)
def test_lengths_that_cannot_be(phases, steps, message):
    with pytest.raises(InputError, match=message):
        arm_of(*phases).phase_steps(CompareSettings(steps=steps), **SIZES)


def test_the_long_control_has_the_updates_of_both_phases():
    settings = CompareSettings(steps=70, equal_steps=False)
    assert (
        sum(ARMS["real-long"].phase_steps(settings, **SIZES))
        == sum(ARMS["bridged++"].phase_steps(settings, **SIZES))
        == 140
    )
    check_arm(ARMS["real-long"], settings)
    with pytest.raises(InputError, match="'real-long' .* needs compare.equal_steps=false"):
        check_arm(ARMS["real-long"], CompareSettings())


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        (
            {"data": "real", "shares": 1},
            r"unknown setting 'compare.own_arms.mine.0.shares'; known here: data, share, steps",
        ),
        ({"share": 1}, r"setting 'compare.own_arms.mine.0.data' is required"),
        ({"data": "fake"}, "input should be 'real', 'synthetic' or 'mixed'"),
        ({"data": "real", "share": 0}, "greater than 0"),
        (
            {"data": "real", "steps": 3, "epochs": 1},
            "length of a phase must be given once, got steps and epochs",
        ),
        ({"data": "real", "real_share": 0.5}, "real_share needs mixed data, got data 'real'"),
        (
            {"data": "mixed", "class_balanced": True, "real_share": 0.5, "refresh_every": 1},
            "class_balanced decides which images a batch has; leave it out, or real_share, refresh_every",
        ),
        (
            {"data": "synthetic", "class_balanced": True, "order": "descending-strength"},
            "leave it out, or order",
        ),
        (
            {"data": "real", "layers": "linear-probe", "batch_norm": "frozen"},
            "effect with layers 'linear-probe'",
        ),
        ({"data": "real", "mixup": -1}, "greater than or equal to 0"),
    ],
)
def test_bad_phases_of_own_arms(phase, message):
    with pytest.raises(InputError, match=message):
        build(
            {
                "data": {"source": "digits"},
                "compare": {"arms": ["real", "mine"], "own_arms": {"mine": [phase]}},
            }
        )


@pytest.mark.parametrize("strategy", ["refresh", "two-stream", "aux-batch-norm"])
def test_a_strategy_that_does_not_fit_an_own_arm_is_named(strategy):
    phase = Phase(data="mixed", class_balanced=True)
    message = (
        f"the strategy '{strategy}' of the arm 'mine@{strategy}' does not fit its phases .* equally often"
    )
    with pytest.raises(InputError, match=message) as refused:
        find_arm(
            f"mine@{strategy}",
            CompareSettings(arms=("real", f"mine@{strategy}"), own_arms={"mine": (phase,)}),
        )
    assert "Value error" not in str(refused.value)


def test_own_arms():
    settings = CompareSettings(arms=("real", "mine"), own_arms={"mine": (SYNTHETIC, REAL)})
    assert find_arm("mine", settings).phases == (SYNTHETIC, REAL)
    assert find_arm("real", settings) is ARMS["real"]
    with pytest.raises(InputError, match="unknown arm 'min'"):
        find_arm("min", settings)
    taken = CompareSettings(arms=("real", "mixed"), own_arms={"mixed": (REAL,)})
    with pytest.raises(InputError, match="'mixed', which is built in"):
        find_arm("mixed", taken)
    for arms, message in (
        ({"mine": []}, "needs at least one phase"),
        ({"mine": [{"data": "real"}]}, "no effect for mine"),
    ):
        with pytest.raises(InputError, match=message):
            build({"data": {"source": "digits"}, "compare": {"own_arms": arms}})


def test_the_last_phase_is_that_of_real_bit_for_bit():
    """With the first phase left out, what remains of a bridged arm is vanilla transfer."""
    for settings in (RECIPE, TWO_LENGTHS):
        assert not differing(
            state(fit("real", settings=settings)),
            state(fit(arm_of(*ARMS["bridged"].phases[1:]), settings=settings)),
        )
    seen = {"real": [], "bridged": []}
    for name, losses in seen.items():
        fit(name, settings=TWO_LENGTHS, watch=lambda step, losses=losses: losses.append(step.learning_rate))
    assert seen["bridged"][8:] == seen["real"]


def watched_head(arm, **options):
    """Weights at the end of the first phase, and at the end."""
    seen = []
    classifier = fit(
        arm, watch=lambda step: seen.append(state(step.classifier)) if step.ends_phase else None, **options
    )
    return seen[0], state(classifier)


def test_a_fresh_head_and_nothing_else():
    """A phase that learns nothing shows what its beginning changed."""
    still = {"data": "real", "learning_rate": 1e-30, "batch_norm": "frozen"}
    before, kept = watched_head(arm_of(SYNTHETIC, Phase(**still)), settings=TWO_LENGTHS)
    assert not differing(before, kept)
    before, fresh = watched_head(arm_of(SYNTHETIC, Phase(**still, head="fresh")), settings=TWO_LENGTHS)
    assert differing(before, fresh) == {"fc.weight", "fc.bias"}
    other, fresh_too = watched_head(arm_of(REAL, Phase(**still, head="fresh")), settings=TWO_LENGTHS)
    assert differing(before, other) > {"fc.weight"}
    assert torch.equal(
        fresh["fc.weight"], fresh_too["fc.weight"]
    )  # the seed decides it, not what came before


def test_a_head_of_zeros_begins_at_chance():
    classifier = fit("real")
    nn.init.zeros_(classifier.backbone.model.fc.weight), nn.init.zeros_(classifier.backbone.model.fc.bias)
    probabilities = torch.from_numpy(classifier.predict(squares("test")))
    assert F.nll_loss(probabilities.log(), torch.from_numpy(squares("test").labels)).item() == pytest.approx(
        math.log(3)
    )


@pytest.mark.parametrize(
    ("layers", "learns", "statistics"),
    [
        ("full", "", True),
        ("late-layer", ("layer4", "fc"), True),
        ("last-layer", "fc", True),
        ("linear-probe", "fc", False),
    ],
)
def test_only_the_layers_of_a_phase_learn(layers, learns, statistics):
    before, after = watched_head(arm_of(REAL, Phase(data="synthetic", layers=layers)), settings=TWO_LENGTHS)
    changed = differing(before, after)
    weights = {name for name in changed if "running_" not in name and "num_batches" not in name}
    assert {name for name in weights if not name.startswith(learns)} == set()
    for part in (learns,) if isinstance(learns, str) else learns:
        assert any(name.startswith(part) for name in weights)
    assert any("running_mean" in name for name in changed) == statistics


def test_frozen_statistics():
    before, after = watched_head(
        arm_of(REAL, Phase(data="synthetic", batch_norm="frozen")), settings=TWO_LENGTHS
    )
    changed = differing(before, after)
    assert not [name for name in changed if "running_" in name or "num_batches" in name]
    assert "conv1.0.weight" in changed or "conv1.weight" in changed


@pytest.mark.parametrize(
    ("name", "args", "first", "learned"),
    [
        ("resnet10t", {}, "layer3", "layer4"),
        ("vit_tiny_patch16_224", {"img_size": 32, "global_pool": "avg"}, "blocks.10", "blocks.11"),
        ("convnext_atto", {}, "stages.2", "stages.3"),
        ("swin_tiny_patch4_window7_224", {"img_size": 64, "window_size": 2}, "layers.2", "layers.3"),
        ("mobilenetv3_small_050", {}, "blocks.3", "blocks.4"),
        ("deit_tiny_distilled_patch16_224", {"img_size": 32}, "blocks.10", "blocks.11"),
    ],
)
def test_the_late_layer_is_the_last_stage_or_block_and_all_after_it(name, args, first, learned):
    model = timm.create_model(name, num_classes=3, **args)
    freeze(model, Phase(data="real", layers="late-layer"))
    trained = {key: parameter.requires_grad for key, parameter in model.named_parameters()}
    assert not any(grad for key, grad in trained.items() if key.startswith(first))
    of_last = [grad for key, grad in trained.items() if key.startswith(learned)]
    assert of_last
    assert all(of_last)
    assert all(list(trained.values())[-2:])
    freeze(model, Phase(data="real", layers="last-layer"))
    heads = model.get_classifier() if isinstance(model.get_classifier(), tuple) else (model.get_classifier(),)
    wanted = {id(parameter) for head in heads for parameter in head.parameters()}
    assert {id(parameter) for parameter in model.parameters() if parameter.requires_grad} == wanted


def test_what_has_no_effect_in_an_arm_is_refused():
    settings = CompareSettings(arms=("real", "mine"), own_arms={"mine": (Phase(data="real", head="fresh"),)})
    with pytest.raises(InputError, match="head .fresh. has no effect in the first phase of the arm 'mine'"):
        check_arm(find_arm("mine", settings), settings)
    check_arm(find_arm("mine", settings), settings.model_copy(update={"keep_head": True}))
    below = {
        "feature_distillation": {"feature_distillation": 1.0},
        "auxiliary_batch_norm 'both'": {"auxiliary_batch_norm": "both"},
    }
    for name, setting in below.items():
        with pytest.raises(
            InputError, match=f"{name} has no effect in the arm 'x', because last-layer trains only the head"
        ):
            check_arm(arm_of(Phase(data="mixed", layers="last-layer", **setting)), CompareSettings())
    check_arm(
        arm_of(Phase(data="mixed", layers="last-layer", auxiliary_batch_norm="statistics")), CompareSettings()
    )


def test_budget_of_the_paper():
    """1,000 images of each of the 1,401 classes of its ten data sets, and its larger sets."""
    names = tuple(str(number) for number in range(1401))
    data = LabelledSet.from_images(
        np.zeros((1401, 3, 4, 4), np.uint8), np.arange(1401), class_names=names, split="train"
    )
    assert quotas(data, DrawSettings(per_class=1000)).sum() == 1_401_000
    assert quotas(data, DrawSettings(per_class=2500)).sum() == 3_502_500
    three = LabelledSet.from_images(
        np.zeros((397, 3, 4, 4), np.uint8), np.arange(397), class_names=names[:397], split="train"
    )
    assert quotas(three, DrawSettings(per_class=3000)).sum() == 1_191_000


def test_own_arms_survive_yaml_and_strategies():
    """A run folder records every field of a phase; that alone must not count as setting it."""
    sections = {
        "data": {"source": "x"},
        "compare": {"own_arms": {"mine": [{"data": "synthetic"}]}, "arms": ["real", "mine@refresh"]},
    }
    settings = build(sections)
    assert from_yaml(to_yaml(settings)) == settings
    assert find_arm("mine@refresh", from_yaml(to_yaml(settings)).compare).phases[0].refresh_every == 1


OWN = {
    "mine": (Phase(data="synthetic", steps=3), REAL),
    "of-synthetic": (SYNTHETIC,),
    "in-epochs": (Phase(data="mixed", epochs=1), REAL),
    "taken": (REAL,),
    "taken+val": (SYNTHETIC,),
    "odd+valley": (Phase(data="mixed"),),
}


def test_every_arm_with_real_images_has_a_form_that_learns_from_validation_images():
    settings = CompareSettings(arms=tuple(OWN), own_arms=OWN)
    for name in [*ARMS, *OWN]:
        has_form = name not in ("real+val", "synthetic", "of-synthetic", "in-epochs", "taken", "taken+val")
        found = with_val(name, settings)
        assert found == (f"{name}+val" if has_form else None)
        if found is not None:
            arm, plain = find_arm(found, settings), find_arm(name, settings)
            assert (arm.phases, arm.without_val, arm.name) == (plain.phases, name, found)
            assert arm.uses_val and not arm.can_be_chosen and with_val(found, settings) is None
    assert with_val("mixed-balanced@refresh", settings) == "mixed-balanced+val@refresh"
    assert find_arm("mixed-balanced+val@refresh", settings).without_val == "mixed-balanced@refresh"
    names = ["real", "real+val", "synthetic", "bridged++", "mixed-balanced", "mine", "of-synthetic"]
    assert refittable_arms(names, settings) == ["bridged++", "mixed-balanced", "mine"]


@pytest.mark.parametrize("name", ["synthetic+val", "of-synthetic+val", "in-epochs+val"])
def test_an_arm_that_cannot_learn_from_validation_images_is_refused(name):
    with pytest.raises(
        InputError, match=r"must be an arm that can learn from validation images .* leave \+val"
    ):
        find_arm(name, CompareSettings(arms=tuple(OWN), own_arms=OWN))


def test_an_arm_learns_from_validation_images_once():
    with pytest.raises(InputError) as caught:
        find_arm("real+val+val", CompareSettings())
    assert str(caught.value) == (
        "'real+val' already learns from validation images, got 'real+val+val': leave +val out"
    )
