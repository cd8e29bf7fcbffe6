"""The rules that name ambiguous words: what they find, and how rarely they are wrong."""

import numpy as np
import pytest
from scipy.stats import binom

from understudy.evaluation.ambiguous_words import Unmatched, confused_pairs, unmatched_classes


def simulated(shares, per_class, rng):
    """Labels and probabilities; images that are not recognised go to the words of any other class."""
    num_classes = len(shares)
    labels = np.repeat(np.arange(num_classes), per_class)
    wrong = (labels + rng.integers(1, num_classes, len(labels))) % num_classes
    named = np.where(rng.random(len(labels)) < np.repeat(shares, per_class), labels, wrong)
    scores = rng.random((len(labels), num_classes))
    scores[np.arange(len(labels)), named] = 2
    return labels, scores / scores.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("num_classes", "per_class"), [(2, 100), (10, 20), (25, 20), (5, 60)])
@pytest.mark.parametrize("others", [0.6, 0.9])
def test_a_matched_class_is_named_in_at_most_1_of_25_sets(num_classes, per_class, others):
    """The least favourable case: every class but the first is as good as the others, the first half as."""
    rng = np.random.default_rng(0)
    shares = np.full(num_classes, others)
    shares[0] = others / 2
    named = [bool(unmatched_classes(*simulated(shares, per_class, rng))) for _ in range(150)]
    assert sum(named) <= binom.ppf(0.999, len(named), 0.04)


@pytest.mark.parametrize(("num_classes", "per_class"), [(2, 100), (10, 20), (5, 60)])
def test_words_that_are_told_apart_are_paired_in_at_most_1_of_100_sets(num_classes, per_class):
    """The least favourable case: four of five images are right among any two words."""
    rng = np.random.default_rng(1)
    paired = []
    for _ in range(150):
        labels = np.repeat(np.arange(num_classes), per_class)
        scores = np.where(rng.random((len(labels), num_classes)) < 0.8, 0.0, 2.0)
        scores[np.arange(len(labels)), labels] = 1.0
        paired.append(bool(confused_pairs(labels, scores)))
    assert sum(paired) <= binom.ppf(0.999, len(paired), 0.01)


def test_a_class_that_is_taken_for_another_is_found():
    rng = np.random.default_rng(2)
    labels, scores = simulated(np.full(10, 0.9), 20, rng)
    scores[labels == 3] = np.eye(10)[7]
    assert unmatched_classes(labels, scores) == [Unmatched(3, 0, 20, 7)]


def test_words_that_are_the_same_are_paired():
    rng = np.random.default_rng(3)
    labels, scores = simulated(np.full(10, 1.0), 20, rng)
    scores[:, 4] = scores[:, 5] = scores[:, [4, 5]].max(axis=1)
    assert confused_pairs(labels, scores) == [(4, 5)]
    assert confused_pairs(*simulated(np.full(10, 1.0), 20, rng)) == []


@pytest.mark.parametrize("per_class", [1, 2, 4])
def test_few_images_name_nothing(per_class):
    labels, scores = simulated(np.full(10, 1.0), per_class, np.random.default_rng(4))
    scores[labels == 3] = np.eye(10)[7]
    assert unmatched_classes(labels, scores) == confused_pairs(labels, scores) == []


def test_a_single_class_and_classes_without_images():
    assert unmatched_classes(np.zeros(9, int), np.eye(3)[[1] * 9]) == []
    assert confused_pairs(np.zeros(9, int), np.eye(3)[[1] * 9]) == []
    assert unmatched_classes(np.array([0, 2] * 30), np.eye(3)[[0, 2] * 30]) == []
