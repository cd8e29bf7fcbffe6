"""Phases that replace synthetic images, and quotas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sets import RECIPE, fit, squares

from understudy.core.errors import InputError
from understudy.training.arms import Arm
from understudy.training.batches import Images, batches_of
from understudy.training.refresh import images_needed, refresh, refreshes_before
from understudy.training.settings import Phase

FRESH = Phase(data="synthetic", refresh_every=1)
POOL = squares("synthetic", num=60, seed=1)
TWO = np.array([2, 2, 2])


def arm_of(*phases):
    return Arm(name="x", phases=phases, summary="")


def losses_of(*phases, synthetic=POOL, quota=TWO, **changes):
    seen = []
    fit(
        arm_of(*phases),
        train=squares("train"),
        synthetic=synthetic,
        quota=quota,
        settings=RECIPE.model_copy(update=changes),
        watch=lambda step: seen.append(step.loss),
    )
    return seen


def batches_seen(phase, labels, num_real, quota, batch_size, num_steps):
    images = Images(torch.empty(len(labels), 0), torch.from_numpy(labels), num_real, quota)
    rng = torch.Generator().manual_seed(0)
    order = batches_of(images, phase, batch_size, num_steps=num_steps, rng=rng)
    return list(refresh(order, images, phase, batch_size, rng=rng))


@given(
    data=st.sampled_from(["synthetic", "mixed", "balanced"]),
    every=st.floats(0.3, 3),
    share=st.floats(0.3, 1),
    steps=st.integers(2, 20),
    quota=st.lists(st.integers(2, 5), min_size=3, max_size=3).map(np.array),
)
@settings(max_examples=40, deadline=None)
def test_with_the_images_needed_every_refresh_is_fresh(data, every, share, steps, quota):
    images = {"data": "mixed", "real_share": 0.25} if data == "balanced" else {"data": data}
    phase = Phase(**images, refresh_every=every, refresh_share=share)
    num_real = 0 if data == "synthetic" else 5
    recipe = RECIPE.model_copy(update={"steps": steps})
    needed = images_needed(arm_of(phase), recipe, num_real=5, quota=quota)
    pool = np.random.default_rng(0).permutation(np.repeat(np.arange(3), needed))
    labels = np.concatenate([np.zeros(num_real, np.int64), pool])
    seen = batches_seen(phase, labels, num_real, quota, recipe.batch_size, steps)
    counts = [
        refreshes_before(step, phase, recipe.batch_size, num_real=num_real, num_synthetic=int(quota.sum()))
        for step in range(steps)
    ]
    assert counts[0] == 0
    assert (needed == quota + counts[-1] * np.rint(share * quota)).all()  # no image too many
    assert max(int(batch.max()) for batch in seen) < len(labels)
    synthetic_seen = [batch[batch >= num_real] for batch in seen]
    for count in set(counts):  # between two refreshes no more than the quota are in use
        used = torch.cat(
            [batch for batch, refreshes in zip(synthetic_seen, counts, strict=True) if refreshes == count]
        ).unique()
        assert (np.bincount(labels[used], minlength=3) <= quota).all()


def test_on_the_fly_no_image_is_seen_twice():
    quota = np.array([4, 4])
    needed = images_needed(
        arm_of(FRESH), RECIPE.model_copy(update={"batch_size": 4}), num_real=0, quota=quota
    )
    np.testing.assert_array_equal(needed, [16, 16])  # 8 steps of 4 of 8 images: four epochs
    order = torch.cat(batches_seen(FRESH, np.tile([0, 1], 16), 0, quota, 4, 8))
    assert len(order.unique()) == len(order) == 32


def test_when_a_refresh_is_due():
    def dues(phase, batch_size, num_real, num_synthetic):
        return [
            refreshes_before(step, phase, batch_size, num_real=num_real, num_synthetic=num_synthetic)
            for step in range(7)
        ]

    assert dues(FRESH, 8, 0, 20) == [0, 0, 0, 1, 1, 2, 2]  # after 20, 40, ... images
    assert dues(Phase(data="mixed", refresh_every=1), 8, 20, 20) == [0, 0, 0, 0, 0, 1, 1]
    assert dues(Phase(data="mixed", real_share=0.5, refresh_every=1), 8, 20, 20) == [
        0,
        0,
        0,
        0,
        0,
        1,
        1,
    ]  # four synthetic ones a step
    assert dues(Phase(data="synthetic", refresh_every=0.1), 8, 0, 30) == [0, 2, 5, 8, 10, 13, 16]
    assert dues(Phase(data="synthetic"), 8, 0, 20) == [0] * 7


def test_images_needed():
    recipe = RECIPE.model_copy(update={"steps": 20, "equal_steps": False})
    plain = arm_of(Phase(data="synthetic"), Phase(data="real"))
    np.testing.assert_array_equal(images_needed(plain, recipe, num_real=12, quota=TWO), TWO)
    half = Phase(data="mixed", refresh_every=2, refresh_share=0.5, share=2)
    # 40 steps of 8 over 12 + 6 images: the last begins after 17.3 epochs, so after 8 refreshes of one image
    # per class.
    np.testing.assert_array_equal(images_needed(arm_of(half), recipe, num_real=12, quota=TWO), TWO + 8)
    np.testing.assert_array_equal(
        images_needed(arm_of(half, Phase(data="real")), recipe, num_real=12, quota=TWO), TWO + 8
    )
    np.testing.assert_array_equal(
        images_needed(arm_of(half, FRESH), recipe, num_real=12, quota=TWO), TWO + 2 * 25
    )  # phases begin anew


def test_a_quota_is_the_first_of_each_class():
    first = POOL.select(list(range(6)))
    for phase in (Phase(data="synthetic"), Phase(data="mixed", real_share=0.5)):
        assert losses_of(phase, steps=3) == losses_of(phase, steps=3, synthetic=first, quota=None)
    for phase, quota in ((Phase(data="real"), TWO), (Phase(data="synthetic"), np.array([99] * 3))):
        assert losses_of(phase, steps=3, quota=quota) == losses_of(phase, steps=3, quota=None)


def test_before_the_first_refresh_everything_is_as_without():
    fresh, never, plain = (
        losses_of(phase)
        for phase in (FRESH, Phase(data="synthetic", refresh_every=99), Phase(data="synthetic"))
    )
    assert never == plain
    assert fresh == losses_of(FRESH)
    assert fresh[0] == plain[0]
    assert fresh[1:] != plain[1:]  # six images in use, eight in a batch


def test_lengths_in_epochs_count_the_images_in_use():
    phases = Phase(data="synthetic", epochs=1), Phase(data="mixed", epochs=1)
    assert len(losses_of(*phases, equal_steps=False)) == 1 + 3  # 6 and 18 images in batches of eight
    assert len(losses_of(*phases, quota=None, equal_steps=False)) == 8 + 9


@pytest.mark.parametrize(
    ("phase", "quota", "message"),
    [
        (FRESH, None, "refresh_every needs a quota"),
        (
            Phase(data="synthetic", refresh_every=1, refresh_share=0.2),
            TWO,
            "must replace at least one image, got 0.2 of at most 2",
        ),
        (
            Phase(data="synthetic"),
            0 * TWO,
            "the arm 'x' needs synthetic images to train on, but the quota is 0",
        ),
    ],
)
def test_refused(phase, quota, message):
    with pytest.raises(InputError, match=message):
        losses_of(phase, quota=quota)


def test_a_refresh_that_replaces_no_image_is_refused_before_drawing():
    with pytest.raises(InputError, match="refresh_share must replace at least one image"):
        images_needed(
            arm_of(Phase(data="synthetic", refresh_every=1, refresh_share=0.1)), RECIPE, num_real=3, quota=TWO
        )
