"""Synthetic images in the order of their strength: batches, arms, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sets import RECIPE, fit, squares

from understudy.core.errors import InputError
from understudy.training.arms import ARMS
from understudy.training.batches import Images, batches_of, phase_images
from understudy.training.data import TrainingData
from understudy.training.ensemble import can_group
from understudy.training.settings import Phase

STRENGTHS = (0.3, 1.0, 0.5)


def images_of(strengths, num_real):
    labels = torch.zeros(num_real + len(strengths), dtype=torch.int64)
    return Images(
        torch.empty(len(labels), 0), labels, num_real, strengths=torch.tensor(strengths, dtype=torch.float64)
    )


@given(
    strengths=st.lists(st.sampled_from(STRENGTHS), min_size=2, max_size=30).filter(
        lambda of: len(set(of)) > 1
    ),
    data=st.sampled_from(["synthetic", "mixed", "balanced"]),
    num_steps=st.integers(3, 20),
    seed=st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_each_strength_has_its_own_epochs_and_an_equal_share_of_the_steps(strengths, data, num_steps, seed):
    num_real = 0 if data == "synthetic" else 5
    share = 0.25 if data == "balanced" else None
    phase = Phase(
        data="synthetic" if data == "synthetic" else "mixed", real_share=share, order="descending-strength"
    )
    rng = torch.Generator().manual_seed(seed)
    images = images_of(strengths, num_real)
    drawn = list(batches_of(images, phase, 8, num_steps=num_steps, rng=rng))
    assert len(drawn) == num_steps
    assert all(len(batch) == 8 for batch in drawn)
    seen = [
        [strengths[number - num_real] for number in batch.tolist() if number >= num_real] for batch in drawn
    ]
    levels = sorted(set(strengths), reverse=True)
    stages = [{levels.index(strength) for strength in batch} for batch in seen]
    assert all(len(stage) <= 1 for stage in stages)
    order = [stage.pop() for stage in stages if stage]
    assert order == sorted(order)
    if data != "mixed":  # there, a batch may by chance be real images alone
        steps = np.bincount(order, minlength=len(levels))
        assert steps.max() - steps.min() <= 1
    if share is not None:
        assert all(len(batch) == 6 for batch in seen)
    if data == "synthetic":
        for level, strength in enumerate(levels):
            chosen = torch.cat([batch for batch, at in zip(drawn, order, strict=True) if at == level])
            counts = torch.bincount(chosen, minlength=len(strengths))[
                [index for index, other in enumerate(strengths) if other == strength]
            ]
            assert counts.max() - counts.min() <= 1


def test_the_images_of_a_quota_keep_their_strengths():
    synthetic = squares("synthetic", num=18, strengths=STRENGTHS)
    data = TrainingData(train=squares("train"), synthetic=synthetic, quota=np.array([2, 1, 3]))
    phase = Phase(data="mixed", order="descending-strength")
    found = phase_images(phase, data, size=32, device="cpu")
    assert found.num_real == 12
    by_label = sorted(zip(found.labels[12:].tolist(), found.strengths.tolist(), strict=True))
    assert by_label == [(0, 0.3), (0, 1.0), (1, 0.3), (2, 0.3), (2, 0.5), (2, 1.0)]
    assert phase_images(Phase(data="mixed"), data, size=32, device="cpu").strengths is None


def losses(arm, **options):
    seen = []
    fit(
        arm,
        train=squares("train"),
        synthetic=squares("synthetic", seed=1, strengths=STRENGTHS),
        watch=lambda step: seen.append(step.loss),
        **options,
    )
    return seen


def test_curriculum_is_bridged_in_another_order():
    assert len(losses("curriculum")) == len(losses("bridged")) == RECIPE.steps
    assert losses("curriculum")[:4] != losses("bridged")[:4]
    assert ARMS["curriculum"].phases[1] == ARMS["bridged"].phases[1]
    assert ARMS["curriculum"].describe() == (
        "1 part synthetic images with the highest strength first, then 1 part real images"
    )


def test_networks_of_ordered_phases_are_trained_together():
    assert can_group(ARMS["curriculum"], RECIPE, 3)


@pytest.mark.parametrize(
    ("synthetic", "steps", "message"),
    [
        (squares("synthetic"), 8, "at least two strengths, got only 1: set draw.strength to a list"),
        (squares("test").with_split("synthetic"), 8, "at least two strengths, got none"),
        (squares("synthetic", strengths=STRENGTHS), 4, "a step for each of the 3 strengths, got 2 in this"),
    ],
    ids=["one", "none", "few-steps"],
)
def test_images_that_cannot_be_ordered_are_refused(synthetic, steps, message):
    short = RECIPE.model_copy(update={"steps": steps})
    with pytest.raises(InputError, match=message):
        fit("curriculum", train=squares("train"), synthetic=synthetic, settings=short)


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ({"data": "real"}, "order has no effect on real data"),
        ({"data": "synthetic", "refresh_every": 1}, "refresh_every replaces them by images of any strength"),
    ],
    ids=["real", "refreshed"],
)
def test_phases_that_cannot_be_ordered_are_refused(phase, message):
    with pytest.raises(ValueError, match=message):
        Phase(order="descending-strength", **phase)
