"""Splits into halves, what an audit needs, and what it says of models that leak and of models that do not."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from understudy.core.errors import InputError
from understudy.evaluation.membership import audit_membership, enough_shadows, half_splits


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 6), st.integers(0, 5))
def test_halves(labels, pairs, seed):
    labels = np.repeat(labels, 2)  # no class has a single image
    members = half_splits(labels, 2 * pairs, seed=seed)
    assert (members.sum(axis=0) == pairs).all()
    assert (members[::2] != members[1::2]).all()
    for label in np.unique(labels):
        of_class = members[:, labels == label]
        assert (abs(2 * of_class.sum(axis=1) - of_class.shape[1]) <= 1).all()


def test_chance_splits_classes_of_odd_size():
    members = half_splits(np.array([0, 0, 0]), 200, seed=0)
    assert 60 < (members[::2].sum(axis=1) == 2).sum() * 2 < 140


def test_only_the_seed_decides_the_halves():
    labels = np.arange(20) % 2
    assert np.array_equal(half_splits(labels, 8, seed=1), half_splits(labels, 8, seed=1))
    assert not np.array_equal(half_splits(labels, 8, seed=1), half_splits(labels, 8, seed=2))


def test_bad_halves():
    with pytest.raises(InputError, match=r"membership.shadows must be even.*got 7"):
        half_splits(np.zeros(4, dtype=int), 7, seed=0)
    with pytest.raises(
        InputError, match="2 real images of each class, one for each half, got 1 of class number 2"
    ):
        half_splits(np.array([0, 0, 2]), 4, seed=0)


@pytest.mark.parametrize(
    ("models", "images", "rate", "message"),
    [
        (
            64,
            50,
            0.001,
            (
                r"0.001 needs 400 shadow models with 50 real images, got 64: use --shadows 400 "
                r"\(membership.shadows=400\), or with 64 models no rate below 0.0063, such as --rates 0.01"
            ),
        ),
        (
            4,
            10_000,
            0.01,
            r"an audit needs at least 6 shadow models, got 4: use --shadows 6 \(member.*=6\)$",
        ),
        (18, 1078, 0.001, r"needs 20 shadow models"),
        (
            4,
            269,
            0.001,
            r"needs 76 shadow models .*, or with 6 models no rate below 0.0124, such as --rates 0.0124",
        ),
    ],
)
def test_too_few_shadows(models, images, rate, message):
    with pytest.raises(InputError, match=message):
        enough_shadows(models, images, (0.1, rate))


def test_enough_shadows():
    enough_shadows(400, 50, (0.001, 0.01))
    enough_shadows(20, 1078, (0.001,))
    enough_shadows(6, 1000, (0.01,))


def models_that_learn(amount, *, models=24, images=300, classes=3, seed=0):
    """Probabilities whose logit of the true class is higher by ``amount`` where the model learned from the
    image.
    """
    rng = np.random.default_rng(seed)
    labels, known_labels = np.arange(images) % classes, np.arange(200) % classes
    members = half_splits(labels, models, seed=seed)

    def say(labels, learned):
        logits = rng.normal(size=(models, len(labels), classes)) + 1.5 * rng.normal(
            size=(len(labels), classes)
        )
        logits[:, np.arange(len(labels)), labels] += learned
        return softmax(logits, axis=-1)

    given = {"population": say(known_labels, 0.0), "population_labels": known_labels}
    return say(labels, amount * members), members, labels, given


def test_attacks_find_a_leak_and_only_a_leak():
    def audited(amount):
        probabilities, members, labels, population = models_that_learn(amount)
        return audit_membership(
            probabilities,
            members,
            labels,
            **population,
            false_positive_rates=(0.01, 0.1),
            num_resamples=100,
            seed=0,
        )

    leaking, tight = audited(2.0), audited(0.0)
    for attack in ("lira", "rmia"):
        assert leaking[attack]["auc"]["low"] > 0.7
        assert all(entry["tpr"]["low"] > 2 * entry["fpr"] for entry in leaking[attack]["tpr"])
        assert tight[attack]["auc"]["low"] < 0.5 < tight[attack]["auc"]["high"]
        assert all(entry["tpr"]["low"] <= entry["fpr"] * 1.1 for entry in tight[attack]["tpr"])
    json.dumps(leaking)


def test_the_curve_is_short_and_ends_at_one():
    probabilities, members, labels, population = models_that_learn(1.0)
    found = audit_membership(
        probabilities, members, labels, **population, false_positive_rates=(0.1,), num_resamples=20, seed=0
    )
    for attack in found.values():
        curve = attack["roc"]
        assert len(curve["fpr"]) == len(curve["tpr"]) <= 200
        assert (np.diff(curve["fpr"]) > 0).all()
        assert (np.diff(curve["tpr"]) >= 0).all()
        assert (curve["fpr"][-1], curve["tpr"][-1]) == (1.0, 1.0)


def test_models_must_be_pairs():
    probabilities, members, labels, population = models_that_learn(1.0)
    with pytest.raises(ValueError, match="opposite halves"):
        audit_membership(
            probabilities[1:-1],
            members[1:-1],
            labels,
            **population,
            false_positive_rates=(0.1,),
            num_resamples=20,
            seed=0,
        )
