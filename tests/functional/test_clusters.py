"""Intervals that count clusters: against the closed form, and simulated clusters with a known truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.functional.balanced_accuracy import balanced_accuracy_interval
from understudy.functional.clusters import per_cluster
from understudy.functional.intervals import accuracy_interval, paired_difference, variance_of_mean

Draw = tuple[np.ndarray, np.ndarray]


def drawn(rng: np.random.Generator, *, clusters: int, rate: float, alike: float, seeds: int = 1) -> Draw:
    """Right answers (seeds, N) in clusters of one to twelve images with this intraclass correlation.

    Each cluster has its own rate, from a beta distribution with the mean ``rate``.
    """
    cluster_of = np.repeat(np.arange(clusters), rng.integers(1, 13, clusters))
    a = rate * (1 - alike) / alike
    own = rng.beta(a, a * (1 - rate) / rate, clusters)
    first = rng.random(len(cluster_of)) < own[cluster_of]
    again = rng.random((seeds, len(cluster_of))) < own[cluster_of]
    return np.where(rng.random(again.shape) < 0.3, again, first), cluster_of


def test_the_variance_is_that_of_a_ratio_of_totals() -> None:
    """Cochran 1977, section 6.4: sum of (y_c - R n_c)^2 C / (C - 1) / N^2."""
    correct, cluster_of = drawn(np.random.default_rng(3), clusters=20, rate=0.7, alike=0.4)
    right = np.bincount(cluster_of, weights=correct[0])
    sizes = np.bincount(cluster_of)
    rest = right - right.sum() / sizes.sum() * sizes
    expected = (rest**2).sum() * 20 / 19 / sizes.sum() ** 2
    variance, freedom = variance_of_mean(per_cluster(correct, cluster_of))
    assert variance == pytest.approx(expected, rel=1e-12)
    assert freedom == pytest.approx(19)


@pytest.mark.parametrize("times", [1, 4])
def test_copies_of_an_image_are_one_image(times: int) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.random((3, 80)) < rate for rate in (0.9, 0.7))
    labels, clusters = np.arange(80) % 4, np.repeat(np.arange(80), times)
    several = [np.repeat(each, times, axis=-1) for each in (a, b, labels)]
    # A variance over N images is divided by N - 1.
    assert accuracy_interval(several[0], clusters) == pytest.approx(accuracy_interval(a), abs=2e-3)
    assert paired_difference(*several[:2], clusters) == pytest.approx(paired_difference(a, b), abs=1e-12)
    found = balanced_accuracy_interval(several[0], several[2], clusters)
    # Without clusters, classes are strata: each has one degree of freedom less.
    assert found == pytest.approx(balanced_accuracy_interval(a, labels), abs=3e-3)


@pytest.mark.parametrize("share", [0, 1])
def test_if_all_images_are_right_the_clusters_count(share: int) -> None:
    correct, clusters = np.full((3, 120), bool(share)), np.arange(120) // 6
    assert accuracy_interval(correct, clusters) == accuracy_interval(np.full((3, 20), bool(share)))
    labels = np.arange(120) // 60
    found, few = balanced_accuracy_interval(correct, labels, clusters), np.full((3, 20), bool(share))
    assert found == pytest.approx(balanced_accuracy_interval(few, np.arange(20) // 10))


def covers(estimate: str, *, rate: float, alike: float, clusters: int, seeds: int, counted: bool) -> float:
    """Share of 400 experiments whose interval holds the truth: standard error 1.1 points."""
    rng, hits = np.random.default_rng(5), 0
    for _ in range(400):
        correct, cluster_of = drawn(rng, clusters=clusters, rate=rate, alike=alike, seeds=seeds)
        used = cluster_of if counted else None
        if estimate == "accuracy":
            _, low, high = accuracy_interval(correct, used)
        elif estimate == "difference":
            other = correct & (rng.random(correct.shape) < 0.8)  # another arm, on the same images
            _, low, high = paired_difference(correct, other, used)
            low, high = low + 0.8 * rate, high + 0.8 * rate
        else:
            labels = cluster_of % 3 if estimate == "classes of clusters" else np.arange(len(cluster_of)) % 3
            _, low, high = balanced_accuracy_interval(correct, labels, used)
        hits += low <= rate <= high
    return hits / 400


@pytest.mark.parametrize("estimate", ["accuracy", "difference", "classes of clusters", "classes in clusters"])
@pytest.mark.parametrize(
    ("rate", "alike", "clusters", "seeds"),
    [(0.8, 0.5, 30, 3), (0.9, 0.2, 60, 1), (0.6, 0.8, 15, 3), (0.97, 0.3, 40, 3), (0.85, 0.5, 8, 3)],
)
def test_covers_the_truth(estimate: str, rate: float, alike: float, clusters: int, seeds: int) -> None:
    how = {"rate": rate, "alike": alike, "clusters": clusters, "seeds": seeds}
    least = 0.95 if estimate == "difference" else 0.9 if clusters >= 15 else 0.87
    assert covers(estimate, **how, counted=True) >= least


def test_images_of_clusters_that_are_not_counted_miss_the_truth() -> None:
    assert covers("accuracy", rate=0.8, alike=0.5, clusters=30, seeds=1, counted=False) < 0.8
    assert covers("accuracy", rate=0.8, alike=0.5, clusters=30, seeds=1, counted=True) > 0.9


@given(
    correct=st.lists(st.lists(st.booleans(), min_size=9, max_size=9), min_size=1, max_size=3),
    clusters=st.lists(st.integers(0, 4), min_size=9, max_size=9).filter(lambda found: len(set(found)) > 1),
    labels=st.lists(st.integers(0, 2), min_size=9, max_size=9),
)
@settings(max_examples=80, deadline=None)
def test_properties(correct: list[list[bool]], clusters: list[int], labels: list[int]) -> None:
    """Trainings keep their means, names and order of clusters do not matter, and ends enclose the mean."""
    values, cluster_of, classes = np.array(correct), np.array(clusters), np.array(labels)
    for groups in (None, classes):
        found = per_cluster(values, cluster_of, groups)
        assert found.shape == (len(values), len(set(clusters)))
        np.testing.assert_allclose(found.mean(axis=1), values.mean(axis=1), atol=1e-12)
    for one, other in (
        (accuracy_interval(values, cluster_of), accuracy_interval(values, 7 - cluster_of)),
        (
            balanced_accuracy_interval(values, classes, cluster_of),
            balanced_accuracy_interval(values, classes, 7 - cluster_of),
        ),
    ):
        np.testing.assert_allclose(one, other, atol=1e-9)
        assert 0 <= one[1] <= one[0] + 1e-12 and one[0] - 1e-12 <= one[2] <= 1
