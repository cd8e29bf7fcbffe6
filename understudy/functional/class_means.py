"""Recall and precision of each class, and means over classes: balanced accuracy and macro F1.

Symbols::

    y      true class of each image                                                   (N,)
    p      class that each training predicts for each image                           (S, N)
    K      classes that have images; n_k: images of class k
    t_k    images of class k that are predicted correctly; m_k: images predicted as class k

    recall_k = t_k / n_k        precision_k = t_k / m_k        F1_k = 2 t_k / (n_k + m_k)
    balanced accuracy = mean of recall_k over the K classes (Brodersen et al. 2010, ICPR)
    macro F1          = mean of F1_k over the K classes (Opitz and Burst 2019, arXiv:1911.03347)

A classifier that always gives the same answer has a balanced accuracy of 1 / K, whatever the n_k are.
"""

from __future__ import annotations

import numpy as np


def recall_per_class(confusion: np.ndarray) -> np.ndarray:
    """Share of the images of each class that are predicted correctly.

    Args:
        confusion: counts of shape (C, C), true classes in rows.

    Returns:
        float64 of shape (C,) in [0, 1]; NaN for a class without images.

    Example:
        >>> recall_per_class(np.array([[3, 1], [0, 0]]))
        array([0.75,  nan])
    """
    return _ratio(np.diagonal(confusion), confusion.sum(axis=1))


def precision_per_class(confusion: np.ndarray) -> np.ndarray:
    """Share of the predictions of each class that are correct.

    Args:
        confusion: counts of shape (C, C), true classes in rows.

    Returns:
        float64 of shape (C,) in [0, 1]; NaN for a class that is never predicted.

    Example:
        >>> precision_per_class(np.array([[3, 1], [0, 1]]))
        array([1. , 0.5])
    """
    return _ratio(np.diagonal(confusion), confusion.sum(axis=0))


def balanced_accuracy_terms(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """One term per training and image; their mean over images is the balanced accuracy.

    Args:
        predicted: p, int of shape (S, N).
        labels: y, int of shape (N,).

    Returns:
        float64 of shape (S, N): N / (K n_k) for a correct prediction, else 0.

    Example:
        >>> float(balanced_accuracy_terms(np.zeros((1, 4), dtype=int), np.array([0, 0, 0, 1])).mean())
        0.5
    """
    counts = np.bincount(labels)
    weights = len(labels) / (np.count_nonzero(counts) * counts[labels])
    return np.asarray((predicted == labels) * weights)


def macro_f1_terms(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """One term per training and image; their mean over images is macro F1.

    Macro F1 is no mean over images, because m_k depends on all of them. The terms are its linearisation
    (the infinitesimal jackknife, Efron 1982): giving images other weights, such as those of a bootstrap, and
    the same sum for every class changes the mean of the terms as it changes macro F1, to first order.

    Args:
        predicted: p, int of shape (S, N).
        labels: y, int of shape (N,).

    Returns:
        float64 of shape (S, N).

    Example:
        >>> float(macro_f1_terms(np.zeros((1, 4), dtype=int), np.array([0, 0, 0, 1])).mean())
        0.42857142857142855
    """
    num_classes = 1 + int(max(predicted.max(), labels.max()))
    images_K = np.bincount(labels, minlength=num_classes)
    occurs_K = images_K > 0
    terms = np.empty(predicted.shape)
    for row, predicted_N in zip(terms, predicted, strict=True):
        correct_N = predicted_N == labels
        total_K = images_K + np.bincount(predicted_N, minlength=num_classes)
        f1_K = 2 * np.bincount(labels[correct_N], minlength=num_classes) / np.maximum(total_K, 1)
        # Derivative of the sum of F1_k: each image adds to t_k of its class, and to m_k of its prediction.
        gain_N = 2 * correct_N / total_K[labels] - (occurs_K * f1_K)[predicted_N] / total_K[predicted_N]
        row[:] = f1_K[occurs_K].mean() + len(labels) / occurs_K.sum() * (gain_N - gain_N.mean())
    return terms


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    share: np.ndarray = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return share
