"""Transferability: how well features made for one task serve another, told without training a network.

Symbols, as in the papers named below::

    f       features of the images of the new task                            (N, D)
    y       their labels, C classes among them; others do not count           (N,)
    theta   probabilities of the source task's labels for the same images     (N, Z)
    z       a source label
    w       weights of a linear model of one-hot labels
    alpha   in LogME: precision of the prior of w
    beta    in LogME: precision of the noise
    t       alpha / beta
    sigma   singular values of f

All measures are higher for features that serve better. They compare features on one set of images and labels,
not one set with another.
"""

from __future__ import annotations

import numpy as np

_ROW_SUM_TOLERANCE = 1e-5  # a softmax in float32 over thousands of labels
# Within these bounds, in units of the largest sigma^2, evidence that keeps growing as t goes to 0 or infinity
# has come close to its limit, and float64 still resolves every sum.
_T_GRID = np.geomspace(1e-12, 1e12, 25)
_T_TOLERANCE = 1e-6
_MAX_STEPS = 10_000


def leep(theta: np.ndarray, y: np.ndarray) -> float:
    """Log expected empirical prediction: how well source labels predict new ones.

    Nguyen et al. 2020 (arXiv:2002.12462), T(theta, D): with P(y, z) the mean over images of ``1[y_i = y]
    theta_iz``, it is the mean over images of ``log sum_z P(y_i | z) theta_iz``.

    It sees the source task's head only. A head that was never trained gives about minus the entropy of ``y``,
    whatever the features below it: give the probabilities of the head that the features were trained with.

    Args:
        theta: float of shape (N, Z), rows sum to 1; a source label without any mass does not count.
        y: int of shape (N,), at least 2 classes.

    Returns:
        At most 0, and at least minus the entropy of ``y`` in nats: ``-ln C`` for balanced classes.

    Raises:
        ValueError: for other shapes, values that are not finite, rows that are no probabilities, or fewer
            than 2 classes.

    Example:
        >>> round(leep(np.array([[0.9, 0.1], [0.1, 0.9]]), np.array([0, 1])), 6)  # ln(0.9^2 + 0.1^2)
        -0.198451
    """
    theta, labels, num_classes = _checked("theta", theta, y)
    sums = theta.sum(axis=1)
    if (theta < 0).any() or (abs(sums - 1) > _ROW_SUM_TOLERANCE).any():
        raise ValueError(
            f"rows of theta must be probabilities that sum to 1, got a least value of {theta.min():g} and "
            f"sums from {sums.min():g} to {sums.max():g}: softmax gives such rows"
        )
    theta = theta[:, theta.any(axis=0)]
    joint_CZ = np.eye(num_classes)[labels].T @ theta
    conditional_CZ = joint_CZ / joint_CZ.sum(axis=0)
    expected_N = (conditional_CZ[labels] * theta).sum(axis=1)
    # Rows that sum to slightly more than 1 would leave the range.
    return min(0.0, float(np.log(expected_N).mean()))


def log_me(f: np.ndarray, y: np.ndarray) -> float:
    """Logarithm of maximum evidence: the best Bayesian linear model's evidence for the labels.

    You et al. 2021 (arXiv:2102.11005): one-hot labels of a class are ``f w`` plus noise, w is normal with
    precision alpha, noise with precision beta. Their L(alpha, beta), the log evidence of a class, is
    maximised by their fixed-point iteration (algorithm 1) and divided by N; the measure is the mean over
    classes. The model has no intercept, as in the paper.

    The evidence may have several maxima and the iteration climbs to one of them. It starts at the best of a
    grid of t, where the paper starts at 1; this also makes the measure independent of the unit of ``f``.

    Args:
        f: float of shape (N, D), not all 0.
        y: int of shape (N,), at least 2 classes.

    Returns:
        Nats per image and class, of any sign. Labels that ``f`` of a rank below N gives without error have
        unbounded evidence; that t is at least 1e-12, in units of the largest sigma squared, keeps it finite,
        and large.

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
    f, labels, num_classes = _checked("f", f, y)
    if not f.any():
        raise ValueError(f"f must have a value that is not 0, got {f.shape} zeros")
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
    """Share of the features' variation that lies between classes, summed over directions.

    This is ``tr(cov(f)^-1 cov(E[f | y]))``.

    Bao et al. 2019 (arXiv:2212.10082), H(f); statistics knows it as Pillai's trace. With ``shrinkage``,
    H_alpha of Ibrahim et al. 2022 (arXiv:2110.06893): ``tr(cov_a(f)^-1 (1 - a) cov(E[f | y]))`` with
    ``cov_a(f) = (1 - a) cov(f) + a tr(cov(f)) / D I`` and the a of Ledoit and Wolf 2004, "A well-conditioned
    estimator for large-dimensional covariance matrices" (their alpha).

    A singular covariance is inverted in its range (pseudo-inverse). Without shrinkage the measure then says
    little: from D = N - 1 on, features in general position give C - 1, noise too. What shrinkage cannot mend:
    with one image per class nothing varies within classes, and the value is one of cov(f) whatever the
    labels; and where cov(f) is near a multiple of the identity, a is near 1 and the value near 0, also for
    classes well apart.

    Args:
        f: float of shape (N, D).
        y: int of shape (N,), at least 2 classes.
        shrinkage: False for the plain covariance, whose score no invertible linear map of ``f`` changes; True
            where N is not far above D, at the price that the scale of one feature against another matters.

    Returns:
        In [0, min(D, C - 1)]; with shrinkage at most what it is without. 0 for features that do not vary.

    Raises:
        ValueError: for other shapes, values that are not finite, or fewer than 2 classes.

    Example:
        >>> f, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
        >>> round(h_score(f, y, shrinkage=False), 6)  # variance 1 of the two means, 1.25 of all
        0.8
    """
    f, labels, num_classes = _checked("f", f, y)
    num_images, num_features = f.shape
    u_NK, sigma_K, _ = np.linalg.svd(f - f.mean(axis=0), full_matrices=False)
    # Below this a direction is rounding, also where the mean is far greater than what varies.
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

    It is computed from singular vectors and eigenvalues of the covariance.
    """
    num_images = len(u_NK)
    mean = variance_K.sum() / num_features
    from_identity = np.square(variance_K - mean).sum() + (num_features - len(variance_K)) * mean**2  # d^2
    squared_lengths_N = num_images * np.square(u_NK) @ variance_K
    error = (np.square(squared_lengths_N).mean() - np.square(variance_K).sum()) / num_images  # b^2
    if from_identity == 0:  # one feature, or none that varies: there is nothing to shrink to
        return 0.0
    return float(min(max(error, 0.0) / from_identity, 1.0))


def _max_evidence(variance_K: np.ndarray, z2_K: np.ndarray, unexplained: float, num_images: int) -> float:
    """Greatest log evidence of one class.

    Args:
        variance_K: sigma squared, the largest 1.
        z2_K: squared coordinates of the class's one-hot labels along the left singular vectors.
        unexplained: squared length of the rest of the labels.
        num_images: N.

    Returns:
        Log evidence, within 1e-6 N of a maximum.
    """
    place = int(np.argmax([_evidence(t, variance_K, z2_K, unexplained, num_images) for t in _T_GRID]))
    low, high = _T_GRID[max(place - 1, 0)], _T_GRID[min(place + 1, len(_T_GRID) - 1)]
    t = float(_T_GRID[place])
    # Each step points uphill, and log t moves by more than 8 times the slope of the evidence per image over
    # log t, so a small step means a flat place, even where convergence is slow.
    for _ in range(_MAX_STEPS):
        noise_share_K = t / (t + variance_K)
        gamma = (1 - noise_share_K).sum()
        rest = num_images - len(variance_K) + noise_share_K.sum()  # N - gamma without its cancellation
        squared_w = (z2_K * variance_K / np.square(t + variance_K)).sum()
        squared_error = unexplained + (z2_K * np.square(noise_share_K)).sum()
        # alpha = gamma / squared_w, beta = rest / squared_error; w is 0 where the features are orthogonal to
        # the labels.
        numerator, denominator = gamma * squared_error, rest * squared_w
        previous, t = t, min(max(numerator / denominator, low), high) if denominator > 0 else high
        if abs(np.log(t / previous)) < _T_TOLERANCE:
            break
    return _evidence(t, variance_K, z2_K, unexplained, num_images)


def _evidence(
    t: float, variance_K: np.ndarray, z2_K: np.ndarray, unexplained: float, num_images: int
) -> float:
    """Log evidence at alpha / beta = t, with the beta that is best for this t.

    The labels are normal with covariance ``(I + f f' / t) / beta``, so that beta is N over the squared
    Mahalanobis length at beta = 1.
    """
    squared_length = unexplained + (z2_K * t / (t + variance_K)).sum()
    log_beta = np.log(num_images / squared_length)
    return float(num_images / 2 * (log_beta - np.log(2 * np.pi) - 1) - np.log1p(variance_K / t).sum() / 2)


def _checked(name: str, rows: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows in float64, labels counted from 0 without gaps, and the number of classes."""
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
