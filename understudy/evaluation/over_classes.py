"""Intervals of means over classes, such as balanced accuracy and macro F1."""

from __future__ import annotations

import numpy as np

from understudy.functional.balanced_accuracy import balanced_accuracy_interval
from understudy.functional.clusters import per_cluster
from understudy.functional.intervals import mean_interval


def balanced_accuracy(
    correct: np.ndarray, labels: np.ndarray, clusters: np.ndarray | None = None
) -> dict[str, float]:
    """``mean``, ``low`` and ``high`` of balanced accuracy.

    Args:
        correct: bool, or float in [0, 1], of shape (S, N).
        labels: class of each image, int of shape (N,).
        clusters: as for :func:`understudy.functional.clusters.per_cluster`.
    """
    return _rounded(balanced_accuracy_interval(correct, labels, clusters))


def over_classes(
    terms: np.ndarray,
    labels: np.ndarray,
    clusters: np.ndarray | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
) -> dict[str, float]:
    """``mean``, ``low`` and ``high`` of another measure in [0, 1], such as macro F1.

    Args:
        terms: see :mod:`understudy.functional.class_means`, float of shape (S, N).
        labels: class of each image, int of shape (N,).
        clusters: as for :func:`understudy.functional.clusters.per_cluster`.
        limits: of the measure of an image.
    """
    if clusters is None:
        return _rounded(mean_interval(terms, limits=limits, groups=labels))
    return _rounded(mean_interval(per_cluster(terms, clusters, labels), limits=limits))


def difference_over_classes(
    a: np.ndarray, b: np.ndarray, labels: np.ndarray, clusters: np.ndarray | None = None
) -> dict[str, float]:
    """``mean``, ``low`` and ``high`` of the difference of two measures, paired by image and training.

    Args:
        a: terms, see :mod:`understudy.functional.class_means`, float of shape (S, N).
        b: the same shape; training i of ``b`` has the seed of training i of ``a``.
        labels: class of each image, int of shape (N,).
        clusters: as for :func:`understudy.functional.clusters.per_cluster`.
    """
    return over_classes(a - b, labels, clusters, limits=(-1.0, 1.0))


def _rounded(ends: tuple[float, float, float]) -> dict[str, float]:
    """The weights of classes do not add up exactly, and a difference of 1e-17 must not count as a gain."""
    values = (round(end, 12) + 0.0 for end in ends)  # not -0.0
    return dict(zip(("mean", "low", "high"), values, strict=True))
