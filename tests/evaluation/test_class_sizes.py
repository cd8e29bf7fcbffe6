"""What numbers of images per class mean: measure, baseline, sentences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from understudy.evaluation.class_sizes import (
    classes_without_synthetic,
    constant_answer,
    is_unbalanced,
    measure_of_verdict,
    too_few_test_images,
)

NEW, OLD = {"real": {"accuracy": {}, "balanced_accuracy": {}}}, {"real": {"accuracy": {}}}


@given(st.lists(st.integers(0, 30), min_size=2, max_size=6).filter(lambda counts: sum(map(bool, counts)) > 1))
def test_constant_answer_agrees_with_sklearn(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    answer = constant_answer([str(label) for label in range(len(counts))], counts)
    predicted = np.full(len(labels), int(answer["class"]))
    assert answer["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert answer["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    expected = f1_score(labels, predicted, labels=np.unique(labels), average="macro")
    assert answer["macro_f1"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("setting", "counts", "arms", "measure"),
    [
        ("auto", [30, 10], NEW, "accuracy"),
        ("auto", [31, 10], NEW, "balanced_accuracy"),
        ("auto", [31, 30, 0], NEW, "accuracy"),
        ("accuracy", [100, 1], NEW, "accuracy"),
        ("balanced_accuracy", [10, 10], NEW, "balanced_accuracy"),
        ("auto", [], OLD, "accuracy"),
        ("balanced_accuracy", [100, 1], OLD, "accuracy"),
    ],
)
def test_measure_of_verdict(setting, counts, arms, measure):
    assert measure_of_verdict(setting, arms, counts) == measure


def test_sentences():
    assert (is_unbalanced([15, 10]), is_unbalanced([16, 10]), is_unbalanced([])) == (False, True, False)
    names = [f"class {number}" for number in range(12)]
    assert too_few_test_images(names, [5] * 12) == classes_without_synthetic(names, [1] * 12) == ""
    small = too_few_test_images(names, [4, 0] + [5] * 10)
    assert small.startswith("The test set is too small for class 0 (4), class 1 (0): with fewer than 5")
    assert classes_without_synthetic(names, [0, 0] + [9] * 10) == (
        "No synthetic image of: class 0, class 1 (2 of 12 classes)."
    )
    assert classes_without_synthetic(names, [0] * 12).endswith("class 9 and 2 more (12 of 12 classes).")
