"""Intervals that count clusters of test images, such as the images of a patient, as independent draws.

Symbols::

    y      one value per training and test image                              (S, N)
    c      cluster of each image; C clusters                                  (N,)
    g      stratum of each image, such as its class; m_g: mean of y in it     (N,)
    z      one value per training and cluster                                 (S, C)

The mean of y over images is a ratio of two totals over clusters, whose sizes differ by chance. Its variance
is that of the mean of its linearised values over clusters (Woodruff 1971, "A simple method for approximating
the variance of a complicated estimate", JASA 66)::

    z_c = m + C / N  sum over images i of c of (y_i - m_g(i))
"""

from __future__ import annotations

import numpy as np


def per_cluster(
    values: np.ndarray, clusters: np.ndarray | None, groups: np.ndarray | None = None
) -> np.ndarray:
    """Values z of clusters, which stand for values y of images in an interval of their mean.

    Every training keeps its mean. Clusters may have images of several strata.

    Args:
        values: y, of shape (S, N).
        clusters: c, of shape (N,); None if every image is a draw of its own.
        groups: g, int of shape (N,); what strata differ by is then no chance, as in
            :func:`understudy.functional.intervals.variance_of_mean`.

    Returns:
        float64 of shape (S, C); ``values`` themselves without clusters.

    Example:
        >>> per_cluster(np.array([[1, 1, 0, 0, 0, 1]]), np.array([0, 0, 1, 1, 1, 2])).round(2)
        array([[ 1.  , -0.25,  0.75]])
    """
    if clusters is None:
        return values
    names, cluster_of = np.unique(clusters, return_inverse=True)
    rest = values - _means(values, np.zeros(values.shape[1], dtype=int) if groups is None else groups)
    totals = [np.bincount(cluster_of, weights=of_training, minlength=len(names)) for of_training in rest]
    return np.asarray(values.mean() + len(names) / values.shape[1] * np.stack(totals))


def clusters_of_classes(clusters: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The number of clusters with images of each class, int64 (num_classes,).

    Args:
        clusters: c, of shape (N,).
        labels: class of each image, int of shape (N,).
        num_classes: classes beyond those of the images have none.

    Example:
        >>> clusters_of_classes(np.array([7, 7, 8]), np.array([0, 0, 0]), 2)
        array([2, 0])
    """
    cluster_of = np.unique(clusters, return_inverse=True)[1]
    return np.bincount(np.unique(cluster_of * num_classes + labels) % num_classes, minlength=num_classes)


def num_draws(images: np.ndarray, clusters: np.ndarray | None) -> int:
    """How many draws some of the images are: their clusters, or the images themselves without clusters.

    Args:
        images: which ones, bool of shape (N,).
        clusters: c, of shape (N,).

    Example:
        >>> num_draws(np.array([True, True, False]), np.array([7, 7, 8]))
        1
    """
    return int(images.sum()) if clusters is None else len(np.unique(clusters[images]))


def _means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The mean of the stratum of each image, over trainings and images, (N,)."""
    _, group_of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray((np.bincount(group_of, weights=values.mean(axis=0)) / sizes)[group_of])
