import numpy as np
import pytest
from tiny import two_classes

from understudy.core.errors import InputError
from understudy.curation.selections import SELECTIONS, candidates_wanted, choose
from understudy.curation.settings import CurateSettings

BY_CLASS = [name for name in SELECTIONS if SELECTIONS[name].choose is not None]


def unasked(*arguments):
    raise AssertionError("nothing to measure here")


def shade(data):
    """One number per image: the mean grey level of its left half."""
    return data.pixels(4)[..., :2].mean(axis=(1, 2, 3))[:, None]


@pytest.mark.parametrize("name", BY_CLASS)
def test_every_selection_keeps_the_contract(name):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(4, 3))
    for quota in range(1, 8):
        chosen = SELECTIONS[name].choose(x, y, quota)
        assert len(set(chosen.tolist())) == quota
        assert set(chosen.tolist()) <= set(range(7))
        np.testing.assert_array_equal(SELECTIONS[name].choose(x, y, quota), chosen)
    assert SELECTIONS.summary(name)


@pytest.mark.parametrize("name", BY_CLASS)
def test_quotas_are_filled_with_good_images_only(name, train):
    drawn = two_classes(12, split="synthetic", seed=5)
    good = np.arange(12) % 5 != 0
    for quota in ([0, 0], [1, 3], [2, 9], [9, 9]):
        taken = choose(good, drawn, train, np.array(quota), selection=name, features=shade)
        assert (taken <= good).all()
        np.testing.assert_array_equal(
            np.bincount(drawn.labels[taken], minlength=2),
            np.minimum(quota, np.bincount(drawn.labels[good], minlength=2)),
        )


def test_features_are_not_computed_without_a_choice(train):
    drawn, good = two_classes(6, split="synthetic", seed=5), np.ones(6, dtype=bool)
    assert choose(good, drawn, train, np.array([3, 9]), selection="coverage", features=unasked).all()
    assert (
        choose(good, drawn, train, np.array([2, 2]), selection="first", features=unasked).tolist()
        == [True] * 4 + [False] * 2
    )
    assert (
        choose(good, drawn, train, np.array([0, 3]), selection="matched", features=unasked).tolist()
        == [False, True] * 3
    )


@pytest.mark.parametrize("name", [name for name in SELECTIONS if SELECTIONS[name].compares])
def test_classes_are_compared_with_their_own_real_images(name, train):
    """Every set that is measured has one class."""
    measured = []

    def features(data):
        measured.append((data.split, set(data.labels.tolist())))
        return shade(data)

    drawn = two_classes(8, split="synthetic", seed=5)
    choose(np.ones(8, dtype=bool), drawn, train, np.array([2, 3]), selection=name, features=features)
    assert sorted(measured) == [("synthetic", {0}), ("synthetic", {1}), ("train", {0}), ("train", {1})]


@pytest.mark.parametrize("name", [name for name in SELECTIONS if SELECTIONS[name].compares])
def test_a_class_without_real_images_is_refused(name, train):
    drawn = two_classes(8, split="synthetic", seed=5)
    cats = train.select(np.flatnonzero(train.labels == 0))
    with pytest.raises(
        InputError, match=f"curate.select '{name}' .* class 'dog' has none: use curate.select=first"
    ):
        choose(np.ones(8, dtype=bool), drawn, cats, np.array([2, 2]), selection=name, features=shade)


def test_candidates_are_multiples_of_the_quota():
    quota = np.array([0, 10, 7])
    assert candidates_wanted(quota, CurateSettings()).tolist() == [0, 10, 7]
    assert candidates_wanted(quota, CurateSettings(select="coverage")).tolist() == [0, 30, 21]
    assert candidates_wanted(quota, CurateSettings(select="deliberate")).tolist() == [0, 30, 21]
    assert candidates_wanted(quota, CurateSettings(direction="least")).tolist() == [0, 30, 21]
    assert candidates_wanted(quota, CurateSettings(score="none", direction="least")).tolist() == [0, 10, 7]
    assert candidates_wanted(quota, CurateSettings(select="matched", candidates=1.1)).tolist() == [0, 11, 8]
