"""Transferability: how well features learned for one task serve another, without training a network.

Symbols, as in the papers named below::

    f       features of the images of the new task                            (N, D)
    y       labels of the images; C is the number of classes that occur       (N,)
    theta   probabilities of the source task's labels for the same images     (N, Z)
    z       a source label
    w       weights of a linear model of one-hot labels
    alpha   precision of the prior of w, in LogME
    beta    precision of the noise, in LogME
    t       alpha / beta
    sigma   singular values of f

All measures are higher for better features. They compare features on the same images and labels; values on
different sets are not comparable.
"""

from __future__ import annotations

import numpy as np

_ROW_SUM_TOLERANCE = 1e-5  # rounding of a float32 softmax over thousands of labels
# At these bounds, in units of the largest sigma^2, evidence that keeps growing as t goes to 0 or infinity is
# close to its limit, and float64 still resolves every sum.
_T_GRID = np.geomspace(1e-12, 1e12, 25)
_T_TOLERANCE = 1e-6
_MAX_STEPS = 10_000


def leep(theta: np.ndarray, y: np.ndarray) -> float:
    """Log expected empirical prediction (LEEP): how well source labels predict the new labels.

    Nguyen et al. 2020 (arXiv:2002.12462), T(theta, D): if P(y, z) is the mean over images of
    ``1[y_i = y] theta_iz``, LEEP is the mean over images of ``log sum_z P(y_i | z) theta_iz``.

    It depends only on the head of the source task. An untrained head gives about minus the entropy of ``y``,
    however good the features are, so ``theta`` must come from the head that the features were trained with.

    Args:
        theta: float of shape (N, Z), rows sum to 1; source labels with no mass are ignored.
        y: int of shape (N,), at least 2 classes.

    Returns:
        At most 0, and at least minus the entropy of ``y`` in nats, which is ``-ln C`` for balanced classes.

    Raises:
        ValueError: for other shapes, values that are not finite, rows that are not probabilities, or fewer
            than 2 classes.

    Example:
        >>> round(leep(np.array([[0.9, 0.1], [0.1, 0.9]]), np.array([0, 1])), 6)  # ln(0.9^2 + 0.1^2)
        -0.198451
    """
    theta, labels, num_classes = _rows_and_labels("theta", theta, y)
    sums = theta.sum(axis=1)
    if (theta < 0).any() or (abs(sums - 1) > _ROW_SUM_TOLERANCE).any():
        raise ValueError(
            f"rows of theta must be probabilities that sum to 1, got a smallest value of {theta.min():g} and "
            f"sums from {sums.min():g} to {sums.max():g}: apply a softmax"
        )
    theta = theta[:, theta.any(axis=0)]
    joint_CZ = np.eye(num_classes)[labels].T @ theta
    conditional_CZ = joint_CZ / joint_CZ.sum(axis=0)
    expected_N = (conditional_CZ[labels] * theta).sum(axis=1)
    # Rows that sum to slightly more than 1 would give a value above 0.
    return min(0.0, float(np.log(expected_N).mean()))


def log_me(f: np.ndarray, y: np.ndarray) -> float:
    """Logarithm of maximum evidence (LogME): the evidence of the best Bayesian linear model for the labels.

    You et al. 2021 (arXiv:2102.11005): the one-hot labels of a class are ``f w`` plus noise, where w is
    normal with precision alpha and the noise with precision beta. Their fixed-point iteration (algorithm 1)
    maximises L(alpha, beta), the log evidence of a class. The measure is its mean over classes, divided by N.
    As in the paper, the model has no intercept.

    The evidence may have several maxima, and the iteration climbs to one of them. It starts at the best t of
    a grid instead of at 1 as in the paper, which also makes the measure independent of the unit of ``f``.

    Args:
        f: float of shape (N, D), not all 0.
        y: int of shape (N,), at least 2 classes.

    Returns:
        Nats per image and class, of any sign. If ``f`` has a rank below N and gives the labels without error,
        the evidence is unbounded; a lower bound on t, of 1e-12 in units of the largest sigma squared, keeps
        it finite, but large.

    Raises:
        ValueError: for other shapes, values that are not finite, features that are all 0, or fewer than 2
            classes.

    Example:
        >>> y = np.array([0, 0, 1, 1])
        >>> useful = np.array([[1.0], [0.9], [-0.9], [-1.0]])
        >>> useless = np.array([[1.0], [-1.0], [1.0], [-1.0]])
        >>> log_me(useful, y) > log_me(useless, y)
        True
    """
    f, labels, num_classes = _rows_and_labels("f", f, y)
    if not f.any():
        raise ValueError(f"f must not be all 0, got {f.shape} zeros")
    target_NC = np.eye(num_classes)[labels]
    u_NK, sigma_K, _ = np.linalg.svd(f, full_matrices=False)
    projected_KC = u_NK.T @ target_NC
    unexplained_C = np.square(target_NC - u_NK @ projected_KC).sum(axis=0)
    variance_K = np.square(sigma_K / sigma_K[0])
    best = [
        _max_evidence(variance_K, z2_K, rest, len(f))
        for z2_K, rest in zip(np.square(projected_KC).T, unexplained_C, strict=True)
    ]
    return float(np.mean(best)) / len(f)


def h_score(f: np.ndarray, y: np.ndarray, *, shrinkage: bool) -> float:
    """H-score: the share of the features' variance that lies between classes, summed over directions.

    This is ``tr(cov(f)^-1 cov(E[f | y]))``, H(f) of Bao et al. 2019 (arXiv:2212.10082), also known as
    Pillai's trace. With ``shrinkage`` it is H_alpha of Ibrahim et al. 2022 (arXiv:2110.06893):
    ``tr(cov_a(f)^-1 (1 - a) cov(E[f | y]))`` with ``cov_a(f) = (1 - a) cov(f) + a tr(cov(f)) / D I``, where a
    is the alpha of Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance
    matrices".

    A singular covariance is inverted in its range (pseudo-inverse). Without shrinkage, the measure is then
    hardly informative: from D = N - 1 on, any features in general position give C - 1, even noise. Shrinkage
    does not help in two cases. With one image per class, nothing varies within classes, and the value depends
    on cov(f) alone and not on the labels. If cov(f) is near a multiple of the identity, a is near 1 and the
    value near 0, even for well-separated classes.

    Args:
        f: float of shape (N, D).
        y: int of shape (N,), at least 2 classes.
        shrinkage: False for the plain covariance, which makes the score invariant to invertible linear maps
            of ``f``; True if N is not far above D, which makes the relative scale of the features matter.

    Returns:
        In [0, min(D, C - 1)], never larger with shrinkage than without; 0 for features that do not vary.

    Raises:
        ValueError: for other shapes, values that are not finite, or fewer than 2 classes.

    Example:
        >>> f, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
        >>> round(h_score(f, y, shrinkage=False), 6)  # variance 1 of the two means, 1.25 of all
        0.8
    """
    f, labels, num_classes = _rows_and_labels("f", f, y)
    num_images, num_features = f.shape
    u_NK, sigma_K, _ = np.linalg.svd(f - f.mean(axis=0), full_matrices=False)
    # Directions below this are rounding error, also if the mean is far larger than the variation.
    varies_K = sigma_K > np.finfo(float).eps * max(f.shape) * np.linalg.norm(f)
    u_NK, variance_K = u_NK[:, varies_K], np.square(sigma_K[varies_K]) / num_images
    # With f - mean = U sigma V', the share of the variance along column k of V that lies between classes
    # needs U alone.
    sums_CK = np.eye(num_classes)[labels].T @ u_NK
    between_K = (np.square(sums_CK) / np.bincount(labels)[:, None]).sum(axis=0)
    if not shrinkage:
        return float(between_K.sum())
    a = _ledoit_wolf(u_NK, variance_K, num_features)
    kept_K = (1 - a) * variance_K
    return float((between_K * kept_K / (kept_K + a * variance_K.sum() / num_features)).sum())


def _ledoit_wolf(u_NK: np.ndarray, variance_K: np.ndarray, num_features: int) -> float:
    """The shrinkage a of Ledoit and Wolf 2004 (lemmas 3.2 to 3.5), in [0, 1].

    It is computed from the singular vectors of the features and the eigenvalues of their covariance.
    """
    num_images = len(u_NK)
    mean = variance_K.sum() / num_features
    from_identity = np.square(variance_K - mean).sum() + (num_features - len(variance_K)) * mean**2  # d^2
    squared_lengths_N = num_images * np.square(u_NK) @ variance_K
    error = (np.square(squared_lengths_N).mean() - np.square(variance_K).sum()) / num_images  # b^2
    if from_identity == 0:  # one feature, or none that varies: the covariance already is its target
        return 0.0
    return float(min(max(error, 0.0) / from_identity, 1.0))


def _max_evidence(variance_K: np.ndarray, z2_K: np.ndarray, unexplained: float, num_images: int) -> float:
    """Largest log evidence of one class.

    Args:
        variance_K: sigma squared, scaled so that the largest is 1.
        z2_K: squared coordinates of the class's one-hot labels along the left singular vectors.
        unexplained: squared length of the labels outside the span of these vectors.
        num_images: N.

    Returns:
        Log evidence, within 1e-6 N of a maximum.
    """
    place = int(np.argmax([_evidence(t, variance_K, z2_K, unexplained, num_images) for t in _T_GRID]))
    low, high = _T_GRID[max(place - 1, 0)], _T_GRID[min(place + 1, len(_T_GRID) - 1)]
    t = float(_T_GRID[place])
    # Each step points uphill, and log t moves by more than 8 times the slope of the evidence per image over
    # log t. So a small step means that the evidence is flat there, even if convergence is slow.
    for _ in range(_MAX_STEPS):
        noise_share_K = t / (t + variance_K)
        gamma = (1 - noise_share_K).sum()
        rest = num_images - len(variance_K) + noise_share_K.sum()  # N - gamma, without cancellation
        squared_w = (z2_K * variance_K / np.square(t + variance_K)).sum()
        squared_error = unexplained + (z2_K * np.square(noise_share_K)).sum()
        # alpha = gamma / squared_w, beta = rest / squared_error; w is 0 if the features are orthogonal to the
        # labels.
        numerator, denominator = gamma * squared_error, rest * squared_w
        previous, t = t, min(max(numerator / denominator, low), high) if denominator > 0 else high
        if abs(np.log(t / previous)) < _T_TOLERANCE:
            break
    return _evidence(t, variance_K, z2_K, unexplained, num_images)


def _evidence(
    t: float, variance_K: np.ndarray, z2_K: np.ndarray, unexplained: float, num_images: int
) -> float:
    """Log evidence at alpha / beta = t, with the best beta for this t.

    The labels are normal with covariance ``(I + f f' / t) / beta``, so the best beta is N divided by the
    squared Mahalanobis length at beta = 1.
    """
    squared_length = unexplained + (z2_K * t / (t + variance_K)).sum()
    log_beta = np.log(num_images / squared_length)
    return float(num_images / 2 * (log_beta - np.log(2 * np.pi) - 1) - np.log1p(variance_K / t).sum() / 2)


def _rows_and_labels(name: str, rows: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Check the arguments; returns rows in float64, labels renumbered from 0, and the number of classes."""
    if rows.ndim != 2 or not rows.shape[1]:
        raise ValueError(f"{name} must be (N, columns) with at least 1 column, got {rows.shape}")
    if y.shape != rows.shape[:1] or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"y must be int of shape ({len(rows)},), got {y.dtype} of shape {y.shape}")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} must be finite, got {int((~np.isfinite(rows)).sum())} values that are not")
    classes, labels = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y must have at least 2 classes, got {classes.tolist()}")
    return rows.astype(np.float64), labels, len(classes)
