"""Losses that hold the outputs of a classifier together within regions of the image space.

Symbols::

    s, g       logits of n real and of m synthetic images             (n, K), (m, K)
    i, j       region of each real and of each synthetic image        int64 (n,), (m,)
    d(a, b)    |a - b|^2 / K

Nguyen et al. 2025 (arXiv:2505.24190) bound the error on real images by the error on synthetic ones and two
terms per region. Here both are as in the authors' code (cuonglannguyen/ProtoAug_lightweight on GitHub), which
takes the mean over the logits, and for m the synthetic images of a batch.
"""

from __future__ import annotations

from torch import Tensor


def discrepancy(s: Tensor, g: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """How far synthetic outputs are from the real ones of their region.

    The mean over synthetic images of the mean of ``d`` to the real images of the same region; images in
    regions without real images count as 0.

    Args:
        s: as above.
        g: as above, m at least 1.
        i: as above.
        j: as above.

    Returns:
        Scalar, not negative.

    Example:
        >>> import torch
        >>> s, g = torch.tensor([[0.0]]), torch.tensor([[2.0], [5.0]])
        >>> discrepancy(s, g, torch.tensor([0]), torch.tensor([0, 1]))  # half of 2^2
        tensor(2.)
    """
    return _mean_within(_distances(g, s), j[:, None] == i)


def robustness(g: Tensor, j: Tensor, i: Tensor) -> Tensor:
    """How much synthetic outputs vary within a region that has real images.

    The mean over synthetic images of the mean of ``d`` to the synthetic images of the same region, themselves
    included; images in regions without real images count as 0.

    Args:
        g: as above, m at least 1.
        j: as above.
        i: as above.

    Returns:
        Scalar, not negative.

    Example:
        >>> import torch
        >>> g = torch.tensor([[0.0], [2.0]])
        >>> robustness(g, torch.tensor([0, 0]), torch.tensor([0]))  # half of the pairs differ by 2
        tensor(2.)
    """
    has_real = (j[:, None] == i).any(dim=1)
    return _mean_within(_distances(g, g), (j[:, None] == j) & has_real[:, None])


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """All pairs of d, (len(a), len(b))."""
    return (a[:, None] - b).square().mean(dim=2)


def _mean_within(d: Tensor, is_pair: Tensor) -> Tensor:
    """Mean over rows of the mean over the pairs of a row; 0 for a row without pairs."""
    return ((d * is_pair).sum(dim=1) / is_pair.sum(dim=1).clamp(min=1)).mean()
