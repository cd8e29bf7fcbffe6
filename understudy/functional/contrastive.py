"""The contrastive loss that pairs images with captions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(image_features: Tensor, text_features: Tensor, scale: Tensor) -> Tensor:
    """Symmetric cross entropy of matching each image with its caption, and each caption with its image.

    Radford et al. 2021 (arXiv:2103.00020), figure 3; van den Oord et al. 2018 (arXiv:1807.03748), eq. 4.

    Args:
        image_features: float of shape (N, D), any length; normalised here.
        text_features: float of shape (N, D), row i belongs to image i.
        scale: float scalar, inverse temperature, positive.

    Returns:
        float scalar; log(N) if all features are equal.

    Example:
        >>> contrastive_loss(torch.eye(2), torch.eye(2), torch.tensor(100.0)).item()
        0.0
    """
    similarity = scale * F.normalize(image_features, dim=1) @ F.normalize(text_features, dim=1).T
    target = torch.arange(len(similarity), device=similarity.device)
    return (F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)) / 2
