"""The domain check against the binomial distribution, with and without knowledge."""

import numpy as np
import pytest
from scipy.stats import binomtest

from understudy.evaluation.domain import measure_domain


@pytest.mark.parametrize(("right", "images", "num_classes"), [(10, 100, 10), (60, 100, 2), (50, 50, 5)])
def test_the_interval_is_exact(right, images, num_classes):
    labels = np.arange(images) % num_classes
    found = measure_domain(labels, np.arange(images) < right, num_classes=num_classes)
    limits = binomtest(right, images).proportion_ci(method="exact")
    assert found["agreement"] == pytest.approx(
        {"mean": right / images, "low": limits.low, "high": limits.high}
    )
    assert found["chance"] == pytest.approx(1 / num_classes)
    assert found["knows"] is bool(limits.low > 1 / num_classes)


def test_false_alarms_and_misses_are_rare():
    """Simulated: guesses are called knowledge in at most 1 of 20 cases, 40% of ten classes always."""
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 10
    guesses = [measure_domain(labels, rng.random(100) < 0.1, num_classes=10)["knows"] for _ in range(400)]
    known = [measure_domain(labels, rng.random(100) < 0.4, num_classes=10)["knows"] for _ in range(400)]
    assert sum(guesses) <= 20
    assert all(known)


def test_a_classifier_that_always_names_the_largest_class_knows_nothing():
    labels = np.array([0] * 70 + [1] * 30)
    assert measure_domain(labels, labels == 0, num_classes=2)["knows"] is False


def test_what_cannot_be_told():
    assert measure_domain(np.arange(49) % 7, np.ones(49, dtype=bool), num_classes=7)["knows"] is None
    assert measure_domain(np.zeros(200, dtype=int), np.ones(200, dtype=bool), num_classes=1)["knows"] is None
    with pytest.raises(ValueError, match="must be"):
        measure_domain(np.array([], dtype=int), np.array([], dtype=bool), num_classes=3)
