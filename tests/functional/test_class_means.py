"""Means over classes against scikit-learn and torchmetrics, and what must hold for any counts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from torchmetrics.functional.classification import multiclass_f1_score, multiclass_recall

from understudy.functional.class_means import (
    balanced_accuracy_terms,
    macro_f1_terms,
    precision_per_class,
    recall_per_class,
)


@st.composite
def confusions(draw):
    """Counts of two to five classes, of which one can be a hundred times as large as another."""
    num_classes = draw(st.integers(2, 5))
    rows = st.lists(st.integers(0, 12), min_size=num_classes, max_size=num_classes)
    counts = np.array([np.array(draw(rows)) * draw(st.sampled_from([1, 1, 10])) for _ in range(num_classes)])
    counts[np.arange(num_classes), draw(st.permutations(range(num_classes)))] += 1
    return counts


def images_of(counts):
    """Labels (N,) and predictions (N,) with these counts."""
    true, named = (place.ravel() for place in np.indices(counts.shape))
    return np.repeat(true, counts.ravel()), np.repeat(named, counts.ravel())


@given(confusions())
@settings(max_examples=60, deadline=None)
def test_agrees_with_scikit_learn_and_torchmetrics(counts):
    labels, predicted = images_of(counts)
    recall = metrics.recall_score(
        labels, predicted, average=None, labels=range(len(counts)), zero_division=np.nan
    )
    precision = metrics.precision_score(
        labels, predicted, average=None, labels=range(len(counts)), zero_division=np.nan
    )
    np.testing.assert_allclose(recall_per_class(counts), recall)
    np.testing.assert_allclose(precision_per_class(counts), precision)
    balanced = balanced_accuracy_terms(predicted[None], labels).mean()
    f1 = macro_f1_terms(predicted[None], labels).mean()
    assert balanced == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    of_torch = {"preds": torch.tensor(predicted), "target": torch.tensor(labels), "num_classes": len(counts)}
    assert balanced == pytest.approx(multiclass_recall(**of_torch, average="macro").item(), abs=1e-6)
    assert f1 == pytest.approx(multiclass_f1_score(**of_torch, average="macro").item(), abs=1e-6)


@given(confusions(), st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_a_constant_answer_has_one_of_k_and_class_sizes_do_not_matter(counts, answer):
    labels, predicted = images_of(counts)
    constant = np.full((1, len(labels)), answer % len(counts))
    assert balanced_accuracy_terms(constant, labels).mean() == pytest.approx(1 / len(counts))
    # Ten times the images of a class, with the same share of mistakes, change accuracy but not its mean.
    larger = counts.copy()
    larger[0] *= 10
    more_labels, more_predicted = images_of(larger)
    assert balanced_accuracy_terms(more_predicted[None], more_labels).mean() == pytest.approx(
        balanced_accuracy_terms(predicted[None], labels).mean()
    )


@given(confusions())
@settings(max_examples=30, deadline=None)
def test_equal_class_sizes_give_plain_accuracy(counts):
    labels, predicted = images_of(counts)
    size = np.bincount(labels).min()
    kept = np.concatenate([np.flatnonzero(labels == label)[:size] for label in range(len(counts))])
    terms = balanced_accuracy_terms(predicted[None, kept], labels[kept])
    assert terms.mean() == pytest.approx((predicted == labels)[kept].mean())


def test_classes_without_test_images_do_not_count():
    labels, predicted = np.array([0, 0, 2, 2]), np.array([[0, 1, 2, 2]])
    assert balanced_accuracy_terms(predicted, labels).mean() == pytest.approx(0.75)
    expected = metrics.f1_score(labels, predicted[0], labels=[0, 2], average="macro")
    assert macro_f1_terms(predicted, labels).mean() == pytest.approx(expected)


def test_terms_of_macro_f1_are_its_derivative():
    """Other weights of the images, as a bootstrap gives them, change the mean of the terms like macro F1."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [200, 40, 10])
    predicted = np.where(rng.random((2, 250)) < 0.7, labels, rng.integers(0, 3, 250))
    terms = macro_f1_terms(predicted, labels)
    weights = 1 + 1e-4 * rng.normal(size=250)
    for label in range(3):
        weights[labels == label] /= weights[labels == label].mean()
    for row, own in zip(predicted, terms, strict=True):
        before = metrics.f1_score(labels, row, average="macro")
        after = metrics.f1_score(labels, row, average="macro", sample_weight=weights)
        assert (weights * own).mean() - own.mean() == pytest.approx(after - before, rel=1e-2)
