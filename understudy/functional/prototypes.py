"""The nearest-class-mean classifier as a linear layer.

Symbols::

    f       features of images                                  (N, D)
    y       labels                                              (N,)
    c_k     mean of the features of class k                     (K, D)
    w, b    weights and biases of the linear layer              (K, D), (K,)
    s       scale of the logits                                 above 0
    p       probability that a class mean gets for its class    in (1/K, 1)

    -s |f - c_k|^2 / 2  =  s c_k f - s |c_k|^2 / 2  -  s |f|^2 / 2
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_P = 0.9


def class_means(f: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """Mean of the features of each class, float64 (num_classes, D); NaN for a class without images.

    Example:
        >>> class_means(torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([0, 0, 1]), 2)
        tensor([[1.],
                [5.]], dtype=torch.float64)
    """
    sums = torch.zeros(num_classes, f.shape[1], dtype=torch.float64, device=f.device)
    return sums.index_add_(0, y, f.double()) / y.bincount(minlength=num_classes)[:, None]


def nearest_mean_layer(c: Tensor, *, p: float = _P) -> tuple[Tensor, Tensor]:
    """Weights and biases of the linear layer that assigns features to the nearest class mean.

    Snell et al. 2017 (arXiv:1703.05175), section 2.4: the last term above is equal for all classes, so the
    layer with ``w_k = s c_k`` and ``b_k = -s |c_k|^2 / 2`` gives the probabilities of squared distances.
    Triantafillou et al. 2020 (arXiv:1903.03096) start fine-tuning from it (Proto-MAML). The means over the
    classes are taken off weights and biases, which changes no probability.

    Both papers have ``s = 2``, which suits features that were learned with it. Features of any other network
    have any length, so ``s`` is chosen here: the logit of a class mean exceeds those of the other classes by
    ``log((K - 1) p / (1 - p))`` on average. If all class means are equally far apart, each gets the
    probability ``p`` for its class.

    Args:
        c: class means; K at least 2, finite.
        p: as above. The default of 0.9 is close to the target of a label smoothing of 0.1.

    Returns:
        w and b, as ``c``. Zeros if all class means are equal.

    Raises:
        ValueError: for fewer than 2 classes, or values that are not finite.

    Example:
        >>> w, b = nearest_mean_layer(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> (torch.tensor([1.0, 0.0]) @ w.T + b).softmax(dim=0)
        tensor([0.9000, 0.1000])
    """
    num_classes = len(c)
    if num_classes < 2 or not c.isfinite().all():
        raise ValueError(f"class means must be finite and of at least 2 classes, got {num_classes} classes")
    centred = c - c.mean(dim=0)
    # Mean over pairs of different classes of |c_j - c_k|^2 / 2.
    apart = centred.square().sum() / (num_classes - 1)
    if apart == 0:
        return torch.zeros_like(c), torch.zeros_like(c[:, 0])
    s = math.log((num_classes - 1) * p / (1 - p)) / apart
    squared = c.square().sum(dim=1)
    return s * centred, s * (squared.mean() - squared) / 2
