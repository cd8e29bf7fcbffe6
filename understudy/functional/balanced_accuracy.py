"""An interval for balanced accuracy that holds with small classes and near 100%.

Symbols::

    correct   1 if a training is right on an image, else 0                    (S, N)
    K         classes that have images; n_k: images of class k
    p_k       recall of class k, mean over trainings; p: mean of p_k
    V, f      variance of p and its degrees of freedom, see variance_of_mean
    w         what one image of the smallest class adds to p: 1 / (K min n_k)
    n         images that would have this variance if classes counted by their images: K^2 / sum(1 / n_k)
"""

from __future__ import annotations

import math

import numpy as np

from understudy.functional.clusters import clusters_of_classes, num_draws, per_cluster
from understudy.functional.intervals import accuracy_interval, binomial_limits, student, variance_of_mean


def balanced_accuracy_interval(
    correct: np.ndarray, labels: np.ndarray, clusters: np.ndarray | None = None
) -> tuple[float, float, float]:
    """Balanced accuracy with a 95% interval over test images and trainings.

    Few images of a class may all be right, and then V says nothing about that class. Two intervals allow for
    this, each in another way, and the result is where they overlap::

        p -+ sqrt(sum d_k^2) / K                          d_k: the longer half of the interval of p_k

    combines the intervals of the classes (MOVER, Zou and Donner 2008, "Construction of confidence limits
    about effect measures", Statistics in Medicine 27). Their longer halves serve on both sides, because the
    sum of many short halves would be too short. It is too wide with many small classes. The other one has the
    limits of Clopper and Pearson for n* images, as :func:`understudy.functional.intervals.accuracy_interval`,
    but with one more error in the smallest class (Fay and Feuer 1997, "Confidence intervals for directly
    standardized rates", Statistics in Medicine 16)::

        n* = (q + w) (1 - q - w) / (V + w^2) (t[N - 1] / t[f])^2

    with q = 1 - p for the low end and q = p for the high end. It is too wide if few classes are small.

    With clusters, V is that of the mean over clusters, N - 1 is one less than their number, and n_k, in w, is
    the number of clusters with images of class k. MOVER takes classes to be independent, so it is left out if
    a cluster has images of several.

    Args:
        correct: bool, or float in [0, 1], of shape (S, N), S at least 1 and N at least 2.
        labels: class of each image, int of shape (N,).
        clusters: cluster of each image, of shape (N,), see :mod:`understudy.functional.clusters`; if not
            given, every image is a draw of its own.

    Returns:
        Mean, low end, high end, in [0, 1].

    Raises:
        ValueError: for another shape.

    Example:
        >>> labels = np.repeat([0, 1], [200, 8])
        >>> [round(end, 3) for end in balanced_accuracy_interval(np.ones((3, 208)), labels)]
        [1.0, 0.815, 1.0]
    """
    _, class_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    terms = correct * (len(labels) / (len(sizes) * sizes))[class_of]
    drawn = per_cluster(terms, clusters, class_of)
    variance, freedom = variance_of_mean(drawn, class_of if clusters is None else None)
    drawn_of_class = sizes if clusters is None else clusters_of_classes(clusters, class_of, len(sizes))
    mean, heaviest = float(terms.mean()), 1 / (len(sizes) * int(drawn_of_class.min()))
    ratio = min(1.0, (student(drawn.shape[1] - 1) / student(freedom)) ** 2)
    half = 1.0
    if drawn_of_class.sum() == drawn.shape[1]:
        halves = [_longer_half(correct, clusters, class_of == label) for label in range(len(sizes))]
        half = math.sqrt(sum(half**2 for half in halves)) / len(sizes)
    low = max(mean - half, 1 - _upper(1 - mean, heaviest, variance, ratio))
    high = min(mean + half, _upper(mean, heaviest, variance, ratio))
    return mean, max(0.0, min(mean, low)), min(1.0, max(mean, high))


def balanced_standard_error(correct: np.ndarray, labels: np.ndarray) -> float:
    """Standard error of balanced accuracy, with two more right and two more wrong answers.

    The variance V is that of images within their classes. It is too small if few images of a class are all
    right, so four answers are added to n images (Kish 1965), as Agresti and Coull (1998) add them to those of
    a single share, see :func:`understudy.functional.intervals.standard_error`::

        m = (n p + 2) / (n + 4),    sqrt(n^2 V + n (p - m)^2 + 2 m^2 + 2 (1 - m)^2) / (n + 4)

    Args:
        correct: bool, or float in [0, 1], of shape (S, N), S and N at least 1.
        labels: class of each image, int of shape (N,).

    Example:
        >>> labels = np.repeat([0, 1], [200, 8])
        >>> right = np.concatenate([np.arange(200) < 198, np.arange(8) < 6])
        >>> round(balanced_standard_error(right[None], labels), 3)
        0.081
    """
    _, class_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    terms = correct * (len(labels) / (len(sizes) * sizes))[class_of]
    mean, images = float(terms.mean()), len(sizes) ** 2 / float((1 / sizes).sum())
    variance = variance_of_mean(terms, class_of)[0] if len(labels) > 1 else 0.0
    centre = (images * mean + 2) / (images + 4)
    further = images * (mean - centre) ** 2 + 2 * centre**2 + 2 * (1 - centre) ** 2
    return math.sqrt(images**2 * variance + further) / (images + 4)


def _longer_half(correct: np.ndarray, clusters: np.ndarray | None, of_class: np.ndarray) -> float:
    """The longer part of the interval of one class, on either side of its recall."""
    if num_draws(of_class, clusters) > 1:
        own = None if clusters is None else clusters[of_class]
        mean, low, high = accuracy_interval(correct[:, of_class], own)
    else:
        mean = float(correct[:, of_class].mean())
        low, high = binomial_limits(mean, 1)
    return max(mean - low, high - mean)


def _upper(share: float, heaviest: float, variance: float, ratio: float) -> float:
    """The high end of a share of the weighted answers."""
    more = share + heaviest
    if more >= 1:
        return 1.0
    images = max(1.0, more * (1 - more) / (variance + heaviest**2) * ratio)
    return binomial_limits(share, images)[1]
