"""Ensembles train as fit_arm does, however the work is organised; arms that they do not implement go through
fit_arm.
"""

import functools

import numpy as np
import pytest
import timm
import torch
from tiny_sets import RECIPE, fit, squares

from understudy.core.errors import InputError
from understudy.training import ensemble as module
from understudy.training.arms import Arm
from understudy.training.data import TrainingData
from understudy.training.ensemble import Training, can_group, fit_ensemble
from understudy.training.fit import fit_arm
from understudy.training.loop import DivergedError
from understudy.training.settings import CompareSettings, Phase

SHORT = RECIPE.model_copy(
    update={"steps": 4, "learning_rate": 1e-4}
)  # rounding grows with every step of AdamW


def training_of(train, synthetic=None, *, seed=0):
    return Training(data=TrainingData(train=train, synthetic=synthetic), seed=seed)


SETS = {"train": squares("train", num=18), "synthetic": squares("synthetic", num=18)}


def several(count=3):
    return [
        training_of(
            squares("train", num=18, seed=seed), squares("synthetic", num=18, seed=seed + 50), seed=seed
        )
        for seed in range(count)
    ]


def apart(name, training, settings):
    data = training.data
    return fit_arm(
        name, train=data.train, synthetic=data.synthetic, settings=settings, seed=training.seed, device="cpu"
    )


@functools.cache
def each_apart(name):
    """The trainings of :func:`several`, which do not depend on how an ensemble is stacked."""
    return [apart(name, training, SHORT) for training in several()]


def weights(classifier):
    return torch.cat([value.flatten().double() for value in classifier.backbone.model.state_dict().values()])


@pytest.mark.parametrize("stacked", [1, 2, 3])
@pytest.mark.parametrize(
    "name",
    ["real", "real+class-balanced", "synthetic", "mixed-balanced", "bridged++", "bridged+class-means"],
)
def test_same_weights_as_one_after_the_other(name, stacked):
    group, test = several(), squares("test", num=30, seed=9)
    trained = fit_ensemble(name, group, settings=SHORT, device="cpu", stacked=stacked)
    for expected, classifier in zip(each_apart(name), trained, strict=True):
        difference = (weights(classifier) - weights(expected)).abs()
        assert (
            difference > 1e-5
        ).double().mean() < 0.01  # where a gradient is next to none, its sign decides AdamW's first steps
        assert difference.max() <= 2 * SHORT.steps * SHORT.learning_rate
        np.testing.assert_allclose(classifier.predict(test), expected.predict(test), atol=1e-4)


def test_the_bundled_network_in_a_stack():
    settings = CompareSettings(steps=2, batch_size=8, learning_rate=1e-4, augmentation="trivial-augment")
    group, test = several(2), squares("test", num=12, seed=9)
    for stacked in (1, 2):
        trained = fit_ensemble("real", group, settings=settings, device="cpu", stacked=stacked)
        for training, classifier in zip(group, trained, strict=True):
            np.testing.assert_allclose(
                classifier.predict(test), apart("real", training, settings).predict(test), atol=1e-4
            )


def test_workers_do_not_change_the_result():
    torch.set_num_threads(2)
    try:
        found = [
            weights(classifier)
            for classifier in fit_ensemble("bridged++", several(4), settings=SHORT, device="cpu")
        ]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    expected = [
        weights(classifier)
        for classifier in fit_ensemble("bridged++", several(4), settings=SHORT, device="cpu")
    ]
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "phase",
    [
        Phase(data="mixed", soft_labels=0.5),
        Phase(data="real", layers="last-layer"),
        Phase(data="real", batch_norm="frozen"),
        Phase(data="real", head_warmup=0.5),
        Phase(data="real", optimiser="sgd", learning_rate=0.1),
    ],
    ids=lambda phase: "-".join(sorted(phase.model_fields_set)),
)
def test_other_arms_are_fit_arms(phase):
    settings = SHORT.model_copy(update={"own_arms": {"own": (phase,)}})
    steps = []
    (found,) = fit_ensemble(
        "own", several(1), settings=settings, device="cpu", on_step=lambda: steps.append(1)
    )
    assert len(steps) == settings.steps
    if not phase.soft_labels:
        assert torch.equal(weights(found), weights(apart("own", several(1)[0], settings)))


def test_epochs_are_those_of_each_training():
    """In one group, all would take as many steps as the first."""
    phases = (Phase(data="synthetic", share=1.0), Phase(data="real", epochs=2))
    settings = SHORT.model_copy(update={"own_arms": {"own": phases}, "equal_steps": False})
    group = [training_of(squares("train", num=num), squares("synthetic", num=18)) for num in (18, 36)]
    steps = []
    trained = fit_ensemble(
        "own", group, settings=settings, device="cpu", stacked=2, on_step=lambda: steps.append(1)
    )
    lengths = [
        module.find_arm("own", settings).phase_steps(settings, num_real=num, num_synthetic=18)
        for num in (18, 36)
    ]
    assert lengths[0] < lengths[1] and len(steps) == sum(map(sum, lengths))
    for training, classifier in zip(group, trained, strict=True):
        assert torch.equal(weights(classifier), weights(apart("own", training, settings)))


def test_networks_with_dropout_are_no_stack():
    settings = SHORT.model_copy(update={"augmentation": "none"})
    assert can_group(module.find_arm("real", settings), settings, 3)
    assert not module._has_dropout(timm.create_model("efficientnet_b0"))
    assert module._has_dropout(timm.create_model("efficientnet_b0", drop_rate=0.1))
    assert module._has_dropout(timm.create_model("efficientnet_b0", drop_path_rate=0.1))


class NewPhase(Phase):
    novelty: float = 0.0


class NewSettings(CompareSettings):
    novelty: float = 0.0


def test_a_new_field_is_not_ignored():
    """A field that ensembles have not heard of sends the arm through the ordinary loop, unless it has its
    default.
    """
    for novelty, is_grouped in ((0.0, True), (0.5, False)):
        arm = Arm(name="own", phases=(NewPhase(data="real", novelty=novelty),), summary="")
        assert can_group(arm, SHORT, 3) == is_grouped
        settings = NewSettings(**SHORT.model_dump(), novelty=novelty)
        assert can_group(module.find_arm("real", settings), settings, 3) == is_grouped
    assert set(Phase.model_fields) > module._PHASE_FIELDS
    assert set(CompareSettings.model_fields) >= module._SETTINGS_FIELDS


def test_a_quota_is_not_ignored():
    training = Training(data=TrainingData(**SETS, quota=np.array([1, 1, 1])), seed=0)
    (found,) = fit_ensemble("mixed", [training], settings=SHORT, device="cpu")
    assert torch.equal(
        weights(found), weights(fit("mixed", settings=SHORT, **SETS, quota=training.data.quota))
    )


def test_every_step_is_told():
    steps = []
    fit_ensemble(
        "bridged", several(3), settings=SHORT, device="cpu", stacked=2, on_step=lambda: steps.append(1)
    )
    assert len(steps) == 3 * SHORT.steps


def test_nobody_to_train():
    assert fit_ensemble("real", [], settings=SHORT, device="cpu") == []


def test_sets_that_do_not_fit():
    test = training_of(squares("test"))
    with pytest.raises(InputError, match="needs a train set"):
        fit_ensemble("real", [test], settings=SHORT, device="cpu")
    bare = training_of(squares("train"))
    with pytest.raises(InputError, match="needs synthetic images"):
        fit_ensemble("mixed", [bare], settings=SHORT, device="cpu")


def test_divergence_is_said():
    with pytest.raises(DivergedError, match=r"lower compare.learning_rate"):
        fit_ensemble(
            "real",
            several(2),
            settings=SHORT.model_copy(update={"learning_rate": 1e30}),
            device="cpu",
            stacked=2,
        )


def test_stacks_get_smaller_when_memory_runs_out(monkeypatch):
    """The meta device computes shapes only, so this shows what is trained in which stack."""
    sizes, steps = [], []

    def small(arm, group, settings, device, tell):
        sizes.append(len(group))
        for _ in group:
            tell()
        if len(group) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        for _ in range((SHORT.steps - 1) * len(group)):
            tell()
        return list(group)

    monkeypatch.setattr(module, "_fit_group", small)
    group = several(7)
    with pytest.warns(UserWarning, match="a stack ran out of memory with .* networks at once") as warned:
        trained = fit_ensemble(
            "real", group, settings=SHORT, device="meta", stacked=8, on_step=lambda: steps.append(1)
        )
    assert trained == group
    assert len(warned) == 2
    assert sizes == [7, 4, 2, 2, 2, 1]
    assert len(steps) == 7 * SHORT.steps  # those of failed attempts are not counted twice
