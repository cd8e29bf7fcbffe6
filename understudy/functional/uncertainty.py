"""How unsure a classifier is of images.

Symbols::

    p    class probabilities of an image    (C,), sums to 1
    H    entropy of p, in nats              from 0 to ln C
"""

from __future__ import annotations

import numpy as np


def predictive_entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy of predicted class probabilities: ``H(p) = -sum_c p_c ln p_c``.

    Askari-Hemmat et al. 2025 (arXiv:2502.15588) measure by it how hard a synthetic image is for a classifier.

    Args:
        probabilities: p of N images, float of shape (N, C), not negative.

    Returns:
        H, float64 of shape (N,), in nats: 0 if the classifier is sure, ln C if it guesses.

    Raises:
        ValueError: for another shape or negative numbers.

    Example:
        >>> predictive_entropy(np.array([[1.0, 0.0], [0.5, 0.5]])).round(4).tolist()
        [0.0, 0.6931]
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or (p < 0).any():
        raise ValueError(f"probabilities must be (N, C) and not negative, got {p.shape}")
    logarithm = np.log(p, where=p > 0, out=np.zeros_like(p))  # p ln p tends to 0 with p
    return np.asarray(-(p * logarithm).sum(axis=1) + 0.0)  # no minus zero
