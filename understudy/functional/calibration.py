"""Calibration: whether a classifier is right as often as its probabilities claim.

Symbols, as in Guo et al. 2017 (arXiv:1706.04599)::

    p       predicted probabilities, rows sum to 1          (N, C)
    y       true labels                                     (N,)
    p_hat   confidence, the largest probability of a row    (N,)
    M       bins of confidence
    acc     share of correct predictions in each bin        (M,)
    conf    mean confidence in each bin                     (M,)

Each measure is a mean with one term per image, so that images can be resampled; see
:mod:`understudy.functional.intervals`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NUM_BINS = 15
_ROW_SUM_TOLERANCE = 1e-5  # rounding of a float32 softmax over thousands of labels


def reliability(
    p: np.ndarray, y: np.ndarray, *, num_bins: int = NUM_BINS, adaptive: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Accuracy and mean confidence in bins of confidence, as drawn in a reliability diagram.

    Guo et al. 2017, section 2. Bin m of M holds confidences in ((m - 1) / M, m / M]. Adaptive bins hold about
    the same number of images (Nguyen and O'Connor 2015, arXiv:1508.05154); equal confidences share a bin.

    Args:
        p: float of shape (N, C), N and C at least 1, rows sum to 1.
        y: int of shape (N,), in [0, C).
        num_bins: M, at least 1.
        adaptive: whether bins hold equal numbers of images instead of having equal widths.

    Returns:
        Images per bin, int64 (M,); mean confidence and accuracy per bin, float64 (M,) in [0, 1], NaN in empty
        bins.

    Raises:
        ValueError: for other shapes, labels out of range, rows that are not probabilities, or ``num_bins``
            below 1.

    Example:
        >>> counts, conf, acc = reliability(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]), num_bins=2)
        >>> counts.tolist(), conf.round(2).tolist(), acc.tolist()
        ([0, 2], [nan, 0.85], [nan, 0.5])
    """
    p_hat, correct, bins = _binned(p, y, num_bins, adaptive=adaptive)
    counts = np.bincount(bins, minlength=num_bins)
    per_bin = np.where(counts, counts, np.nan)
    conf, acc = (
        np.bincount(bins, weights=values, minlength=num_bins) / per_bin for values in (p_hat, correct)
    )
    return counts, conf, acc


def ece_terms(
    p: np.ndarray, y: np.ndarray, *, num_bins: int = NUM_BINS, adaptive: bool = False
) -> np.ndarray:
    """Terms of the expected calibration error, one per image; their mean is the error.

    Guo et al. 2017, eq. 3, averages ``|acc - conf|`` of the bin over all images. The term of an image is
    ``1[correct] - p_hat``, times the sign of ``acc - conf`` of its bin, which gives the same mean. Resampling
    these terms with their signs held fixed gives an interval around the measured error. Resampling the error
    itself does not, because every resample makes it larger.

    Args:
        p: as in :func:`reliability`.
        y: as in :func:`reliability`.
        num_bins: as in :func:`reliability`.
        adaptive: as in :func:`reliability`.

    Returns:
        float64 of shape (N,), in [-1, 1]; the mean is in [0, 1].

    Raises:
        ValueError: as :func:`reliability`.

    Example:
        >>> ece_terms(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]), num_bins=2).round(2).tolist()
        [-0.1, 0.8]
    """
    p_hat, correct, bins = _binned(p, y, num_bins, adaptive=adaptive)
    gaps = correct - p_hat
    return np.asarray(np.sign(np.bincount(bins, weights=gaps, minlength=num_bins))[bins] * gaps)


def expected_calibration_error(
    p: np.ndarray, y: np.ndarray, *, num_bins: int = NUM_BINS, adaptive: bool = False
) -> float:
    """Mean difference between confidence and accuracy over the bins (ECE), Guo et al. 2017, eq. 3.

    The estimate from N images is biased upwards, most for a calibrated classifier: if the true error is 0,
    the M bins are equally full and v is the mean of ``p_hat (1 - p_hat)``, it is about
    ``sqrt(2 M v / (pi N))``. The arguments are those of :func:`reliability`.

    Returns:
        In [0, 1]; 0 for a calibrated classifier.

    Raises:
        ValueError: as :func:`reliability`.

    Example:
        >>> expected_calibration_error(np.array([[0.75, 0.25]] * 4), np.array([0, 0, 1, 0]))
        0.0
    """
    return float(ece_terms(p, y, num_bins=num_bins, adaptive=adaptive).mean())


def brier_terms(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Terms of the Brier score, one per image; their mean is the score.

    Brier 1950 ("Verification of forecasts expressed in terms of probability", Monthly Weather Review 78), eq.
    2: the sum over classes of ``(p_ic - 1[y_i = c])^2``. The score is proper: its expectation is lowest for
    the true probabilities.

    Args:
        p: float of shape (N, C), rows sum to 1.
        y: int of shape (N,), in [0, C).

    Returns:
        float64 of shape (N,), in [0, 2]; 0 is certain and correct, 2 is certain and wrong.

    Raises:
        ValueError: for other shapes, labels out of range, or rows that are not probabilities.

    Example:
        >>> brier_terms(np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([0, 0])).tolist()
        [0.5, 2.0]
    """
    _check(p, y)
    return np.asarray(((p.astype(np.float64) - np.eye(p.shape[1])[y]) ** 2).sum(axis=1))


def restricted(p: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Probabilities restricted to some of the classes, as if the logits of all others were minus infinity.

    Args:
        p: float of shape (..., C), the last axis sums to 1.
        classes: K different classes, each in [0, C).

    Returns:
        float64 of shape (..., K), in the order of ``classes``; 1 / K each if all of them had probability 0.

    Raises:
        ValueError: if ``classes`` is empty, has a repetition, or is out of range.

    Example:
        >>> restricted(np.array([[0.5, 0.2, 0.3]]), [2, 1]).round(2).tolist()
        [[0.6, 0.4]]
    """
    if (
        not len(classes)
        or len(set(classes)) != len(classes)
        or min(classes) < 0
        or max(classes) >= p.shape[-1]
    ):
        raise ValueError(f"classes must differ and be in [0, {p.shape[-1]}), got {list(classes)}")
    kept = p[..., list(classes)].astype(np.float64)
    mass = kept.sum(axis=-1, keepdims=True)
    return np.asarray(np.where(mass > 0, kept / np.where(mass > 0, mass, 1), 1 / len(classes)))


def _binned(
    p: np.ndarray, y: np.ndarray, num_bins: int, *, adaptive: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence and correctness (0 or 1) of each image, float64 (N,) both, and its bin, int64 (N,)."""
    _check(p, y)
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    p_hat = p.max(axis=1).astype(np.float64)
    inner = np.linspace(0, 1, num_bins + 1)[1:-1]
    edges = np.quantile(p_hat, inner) if adaptive else inner
    return p_hat, (p.argmax(axis=1) == y).astype(np.float64), np.searchsorted(edges, p_hat, side="left")


def _check(p: np.ndarray, y: np.ndarray) -> None:
    if p.ndim != 2 or not p.size or y.shape != p.shape[:1]:
        raise ValueError(
            "p must be of shape (N, C) with N and C above 0, and y of shape (N,), "
            f"got {p.shape} and {y.shape}"
        )
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise ValueError(f"labels must be in [0, {p.shape[1]}), got {y.min()} to {y.max()}")
    sums = p.sum(axis=1)
    if not ((p >= 0).all() and (abs(sums - 1) <= _ROW_SUM_TOLERANCE).all()):
        raise ValueError(
            f"rows of p must be probabilities that sum to 1, got a smallest value of {p.min():g} and sums "
            f"from {sums.min():g} to {sums.max():g}"
        )
