"""Losses that teach a classifier with another network, and the loss over two streams of images.

Symbols::

    z        logits of the classifier in training              float (B, K)
    v        logits of the teacher for the same images         float (B, K)
    y        labels, or label probabilities                    int64 (B,), or float (B, K)
    T        temperature                                       above 0
    share    weight of the teacher's term in the loss          in [0, 1]
    a, b     features to compare                               float (B, D)
    w        weight of the second stream                       above 0
    shares   what the images are of each stream's images       in [0, 1]
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def soft_label_loss(
    z: Tensor, y: Tensor, v: Tensor, *, share: float, temperature: float, label_smoothing: float = 0.0
) -> Tensor:
    """Cross entropy against labels and against a teacher; Hinton et al. 2015 (arXiv:1503.02531), section 2.

    ``(1 - share) * CE(y, z) + share * T^2 * CE(softmax(v / T), softmax(z / T))``. The factor ``T^2`` keeps
    gradients of both terms equally large at every temperature. With ``share`` 0.5 and ``T`` 2, weights and
    temperature are those of the soft cross entropy of He et al. 2023 (arXiv:2210.07574).

    Args:
        z: as above.
        y: as above.
        v: as above.
        share: as above.
        temperature: T.
        label_smoothing: label smoothing of the first term.

    Returns:
        float of shape (B,), not negative.

    Example:
        >>> import torch
        >>> z, sure = torch.tensor([[0.3, 1.2]]), torch.tensor([[1e4, 0.0]])
        >>> loss = soft_label_loss(z, torch.tensor([0]), sure, share=0.5, temperature=1.0)
        >>> torch.allclose(loss, F.cross_entropy(z, torch.tensor([0])))
        True
    """
    hard = F.cross_entropy(z, y, label_smoothing=label_smoothing, reduction="none")
    soft = F.cross_entropy(z / temperature, (v / temperature).softmax(dim=1), reduction="none")
    return (1 - share) * hard + share * temperature**2 * soft


def feature_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean of ``1 - cos(a, b)`` over the images: only the direction of the features counts.

    Args:
        a: features of the classifier, mapped linearly to the width of ``b``, because two networks share
            neither widths nor axes. This is the regressor of FitNets, Romero et al. 2015 (arXiv:1412.6550),
            section 2.2, eq. 3, which uses a squared distance.
        b: features of the guiding network.

    Returns:
        Scalar in [0, 2].
    """
    return (1 - F.cosine_similarity(a, b, dim=1)).mean()


def two_stream_loss(
    losses: Tensor, num_first: int, *, w: float, shares: tuple[float, float] = (1.0, 1.0)
) -> Tensor:
    """Mean over the first stream plus ``w`` times the mean over the second.

    This is the mix loss of He et al. 2023 (arXiv:2210.07574). The number of images in each stream does not
    matter, and a stream without images contributes nothing. If a batch is divided, the losses of its parts,
    each with its shares of the two streams, add up to that of the batch.

    Args:
        losses: one loss per image, the first stream first, (B,), B at least 1.
        num_first: number of images in the first stream.
        w: as above.
        shares: as above.

    Returns:
        Scalar.
    """
    parts = ((shares[0], losses[:num_first]), (w * shares[1], losses[num_first:]))
    return sum((weight * part.mean() for weight, part in parts if len(part)), start=losses.new_zeros(()))
