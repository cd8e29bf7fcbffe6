"""Attacks on models that give themselves away by a known amount, and rates against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import softmax
from sklearn.metrics import roc_auc_score, roc_curve

from understudy.functional.membership import (
    area_under,
    attack_rates,
    lira_scores,
    rmia_scores,
    roc,
    scaled_confidence,
    tpr_at,
)


def gaussian_world(shift, *, models=200, images=400, seed=0):
    """Phi of each image is normal around a mean of its own, higher by ``shift`` where the model learned from
    it.
    """
    rng = np.random.default_rng(seed)
    first = rng.random((models // 2, images)) < 0.5
    members = np.stack([first, ~first], axis=1).reshape(models, images)
    phi = rng.normal(size=(models, images)) + shift * members + 3 * rng.normal(size=images)
    return phi, members


def attacked(phi, members, attack):
    """The scores of every model, attacked with all others but its partner."""
    scores = np.empty(phi.shape)
    for target in range(len(phi)):
        shadows = np.arange(len(phi)) // 2 != target // 2
        scores[target] = attack(phi[target], phi[shadows], members[shadows])
    return scores


def test_confidence_is_the_log_odds_also_where_one_minus_p_is_zero():
    logits = np.array([[50.0, 0.0, 1.0], [0.3, -0.2, 2.0]])
    expected = [50 - np.log(1 + np.e), -0.2 - np.log(np.exp(0.3) + np.exp(2.0))]
    np.testing.assert_allclose(
        scaled_confidence(softmax(logits, axis=1), np.array([0, 1])), expected, rtol=1e-12
    )


def test_confidence_is_finite_where_a_probability_is_zero():
    assert np.isfinite(scaled_confidence(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))).all()


def test_confidence_checks_shapes():
    with pytest.raises(ValueError, match="probabilities must be"):
        scaled_confidence(np.ones((2, 3)), np.zeros(3, dtype=int))


@pytest.mark.parametrize("kind", ["online", "offline"])
@pytest.mark.parametrize("fixed", [True, False])
def test_lira_reaches_the_power_of_the_optimal_test(kind, fixed):
    """With equal variances the likelihood ratio grows with phi, and its power at a false-positive rate has a
    closed form.
    """
    phi, members = gaussian_world(2.0)
    scores = attacked(phi, members, lambda *given: lira_scores(*given, kind=kind, fixed_variance=fixed))
    fpr, tpr = roc(scores, members)
    assert area_under(fpr, tpr) == pytest.approx(stats.norm.cdf(2 / np.sqrt(2)), abs=0.01)
    for rate in (0.01, 0.1):
        best = stats.norm.sf(stats.norm.isf(rate) - 2)
        assert best - 0.04 < tpr_at(fpr, tpr, rate) < best + 0.01


def test_lira_is_the_ratio_of_two_densities():
    rng = np.random.default_rng(0)
    shadows, members = rng.normal(size=(9, 5)), np.arange(9)[:, None] % 2 == np.arange(5) % 2
    phi = rng.normal(size=5)
    inside, outside = (
        [
            stats.norm.logpdf(phi[i], shadows[used[:, i], i].mean(), shadows[used[:, i], i].std(ddof=1))
            for i in range(5)
        ]
        for used in (members, ~members)
    )
    np.testing.assert_allclose(lira_scores(phi, shadows, members), np.subtract(inside, outside))


@pytest.mark.parametrize("models", [6, 64])
@pytest.mark.parametrize("attack", ["lira", "rmia"])
def test_an_attack_on_models_without_leakage_is_chance(models, attack):
    """Also with few models, where means that leave out the target but not its partner would be biased."""
    phi, members = gaussian_world(0.0, models=models, images=24_000 // models)
    if attack == "lira":
        scores = attacked(phi, members, lambda *given: lira_scores(*given, fixed_variance=True))
    else:
        p, population = stats.norm.cdf(phi / 4), np.random.default_rng(1).random((models, 500))
        scores = np.empty(p.shape)
        for target in range(models):
            others = np.arange(models) // 2 != target // 2
            scores[target] = rmia_scores(
                p[target], p[others], members[others], population[target], population[others]
            )
    fpr, tpr = roc(scores, members)
    assert area_under(fpr, tpr) == pytest.approx(0.5, abs=0.012)  # 2.5 standard errors
    assert tpr_at(fpr, tpr, 0.1) == pytest.approx(0.1, abs=0.012)


def test_members_at_random_are_chance():
    phi, members = gaussian_world(3.0, models=20, images=1000)
    permuted = np.random.default_rng(5).permuted(members[::2], axis=1)
    members = np.stack([permuted, ~permuted], axis=1).reshape(members.shape)
    fpr, tpr = roc(attacked(phi, members, lambda *given: lira_scores(*given, fixed_variance=True)), members)
    assert area_under(fpr, tpr) == pytest.approx(0.5, abs=0.012)


def test_lira_needs_shadows_of_both_kinds():
    members = np.array([[True], [True], [False]])
    with pytest.raises(ValueError, match="too few shadow models"):
        lira_scores(np.zeros(1), np.arange(3.0)[:, None], members)
    with pytest.raises(ValueError, match="phi, shadow_phi and shadow_members must be"):
        lira_scores(np.zeros(2), np.zeros((3, 1)), members)


def test_rmia_counts_the_population_with_lower_ratios():
    rng = np.random.default_rng(0)
    p, shadow, known, known_shadow = rng.random(7), rng.random((6, 7)), rng.random(11), rng.random((6, 11))
    members = np.arange(6)[:, None] % 2 == np.arange(7) % 2
    marginals = [
        (shadow[members[:, image], image].mean() + shadow[~members[:, image], image].mean()) / 2
        for image in range(7)
    ]
    others = np.concatenate([known / known_shadow.mean(axis=0), p / marginals])
    expected = [((p[image] / marginals[image]) / others >= 1.5).mean() for image in range(7)]
    np.testing.assert_allclose(rmia_scores(p, shadow, members, known, known_shadow, gamma=1.5), expected)


def test_rmia_checks_shapes_and_shadow_models():
    members = np.array([[True, True], [False, True]])
    with pytest.raises(ValueError, match="a shadow model with it and one without"):
        rmia_scores(np.ones(2), np.ones((2, 2)), members, np.ones(1), np.ones((2, 1)))
    with pytest.raises(ValueError, match="and population_shadow_p must be"):
        rmia_scores(np.ones(3), np.ones((2, 2)), members, np.ones(1), np.ones((2, 1)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(1, 3)), min_size=2, max_size=30))
def test_rates_agree_with_scikit_learn(rows):
    scores, members, weights = (np.array(column) for column in zip(*rows, strict=True))
    if members.all() or not members.any():
        members = np.arange(len(members)) % 2 == 0
    fpr, tpr = roc(scores.astype(float), members, weights)
    expected = roc_curve(members, scores, sample_weight=weights, drop_intermediate=False)
    np.testing.assert_allclose([fpr, tpr], expected[:2])
    assert area_under(fpr, tpr) == pytest.approx(roc_auc_score(members, scores, sample_weight=weights))


def test_tpr_at_a_rate_is_that_of_a_threshold():
    fpr, tpr = roc(np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False]))
    assert [tpr_at(fpr, tpr, rate) for rate in (0.1, 0.49, 0.5, 0.9)] == [0.5, 0.5, 1.0, 1.0]


def test_a_curve_needs_members_and_non_members():
    with pytest.raises(ValueError, match="need members and non-members"):
        roc(np.ones(3), np.ones(3, dtype=bool))


@pytest.mark.parametrize("alike", [1, 2])
def test_intervals_have_their_nominal_coverage(alike):
    """Models, or pairs of them, differ in how much they give away, so intervals over images, or over single
    models, would be too narrow.
    """
    shifts, covered = np.array([0.0, 3.0]), 0
    truth = np.mean([stats.norm.cdf((a - 0) / np.sqrt(2)) for a in shifts])
    for seed in range(60):
        rng = np.random.default_rng(seed)
        first = rng.random((15, 60)) < 0.5
        members = np.stack([first, ~first], axis=1).reshape(30, 60)
        scores = (
            rng.normal(size=members.shape)
            + np.repeat(rng.choice(shifts, size=(30 // alike, 1)), alike, axis=0) * members
        )
        _, low, high = attack_rates(scores, members, (0.1,), rng, num_resamples=100)[0]
        covered += low <= truth <= high
    assert covered / 60 >= 0.85


def test_intervals_contain_the_measured_value():
    phi, members = gaussian_world(1.0, models=6, images=30)
    for value, low, high in attack_rates(
        phi, members, (0.01, 0.1), np.random.default_rng(0), num_resamples=50
    ):
        assert 0 <= low <= value <= high <= 1


def test_intervals_need_pairs():
    for members in (np.array([[True], [False]]), np.array([[True], [True], [True], [False]])):
        with pytest.raises(ValueError, match="pairs that were trained on opposite halves"):
            attack_rates(np.zeros(members.shape), members, (0.1,), np.random.default_rng(0), num_resamples=2)
