"""The domain check against the binomial distribution, with and without knowledge."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from understudy.evaluation.domain import measure_domain


@pytest.mark.parametrize(("right", "images", "num_classes"), [(10, 100, 10), (60, 100, 2), (50, 50, 5)])
def test_the_interval_is_exact_for_equal_classes(right, images, num_classes):
    labels = np.arange(images) % num_classes
    found = measure_domain(labels, np.arange(images) < right)
    limits = binomtest(right, images).proportion_ci(method="exact")
    assert found["agreement"] == pytest.approx(
        {"mean": right / images, "low": limits.low, "high": limits.high}
    )
    assert found["chance"] == pytest.approx(1 / num_classes)


@given(st.lists(st.integers(1, 30), min_size=2, max_size=6), st.integers(2, 5))
def test_more_images_of_a_class_do_not_move_the_share(counts, times):
    """Rejected images are replaced, and most of these are of classes that are recognised badly."""
    labels = np.repeat(np.arange(len(counts)), counts)
    recognised = labels % 2 == 0
    worst = np.repeat(labels, np.where(recognised, 1, times))
    found = measure_domain(worst, worst % 2 == 0)
    assert found["agreement"]["mean"] == pytest.approx(
        measure_domain(labels, recognised)["agreement"]["mean"]
    )


@pytest.mark.parametrize(
    ("num_classes", "images", "most"), [(10, 100, 0.05), (2, 100, 0.05), (10, 1000, 0.05)]
)
def test_knowledge_is_claimed_of_guesses_in_at_most_1_of_20_cases(num_classes, images, most):
    rng = np.random.default_rng(0)
    labels = np.arange(images) % num_classes
    found = [measure_domain(labels, rng.random(images) < 1 / num_classes)["knows"] for _ in range(400)]
    assert found.count(True) <= most * 400


@pytest.mark.parametrize(("num_classes", "images", "share"), [(2, 100, 0.6), (10, 60, 0.2), (10, 1000, 0.2)])
def test_a_generator_that_knows_a_little_is_hardly_ever_called_useless(num_classes, images, share):
    rng = np.random.default_rng(0)
    labels = np.arange(images) % num_classes
    found = [measure_domain(labels, rng.random(images) < share)["knows"] for _ in range(400)]
    assert found.count(False) <= 0.1 * 400


@pytest.mark.parametrize(("num_classes", "images"), [(10, 200), (2, 1000), (100, 200)])
def test_guesses_from_enough_images_are_called_useless(num_classes, images):
    rng = np.random.default_rng(0)
    labels = np.arange(images) % num_classes
    found = [measure_domain(labels, rng.random(images) < 1 / num_classes)["knows"] for _ in range(200)]
    assert found.count(False) >= 0.9 * 200


def test_always_naming_the_largest_class_is_chance():
    labels = np.array([0] * 700 + [1] * 300)
    found = measure_domain(labels, labels == 0)
    assert (found["agreement"]["mean"], found["chance"], found["knows"]) == (0.5, 0.5, False)


def test_chance_is_that_of_all_classes_that_could_be_named():
    """A preview draws forty of a thousand classes; one in ten recognised is far from chance."""
    labels = np.repeat(np.arange(40), 5)
    recognised = np.arange(200) % 10 == 0
    few, all_of_them = (measure_domain(labels, recognised, num_classes=number) for number in (None, 1000))
    assert (few["chance"], all_of_them["chance"]) == (1 / 40, 1 / 1000)
    assert measure_domain(labels, np.arange(200) % 40 == 0)["knows"] is not True
    assert measure_domain(labels, np.arange(200) % 40 == 0, num_classes=1000)["knows"] is True


def test_what_cannot_be_told():
    assert measure_domain(np.arange(49) % 7, np.arange(49) % 7 == 0)["knows"] is None
    assert measure_domain(np.zeros(200, dtype=int), np.ones(200, dtype=bool))["knows"] is None
    with pytest.raises(ValueError, match="must be"):
        measure_domain(np.array([], dtype=int), np.array([], dtype=bool))
