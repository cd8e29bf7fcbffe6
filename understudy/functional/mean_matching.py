"""Loss terms on the mean of the denoising residual: the distribution matching of Real-Fake.

Symbols, as in Yuan et al. 2023, "Real-Fake" (arXiv:2310.10402)::

    r_b   residual eps_theta - eps of image b    (C, H, W)
    w_b   min-SNR weight of image b
    B     images in the batch

The diffusion loss is a mean of squares; these terms are squares of means. By Jensen's inequality, the mean
form is never above the unweighted loss of the same batch. The paper has the mean form, and its released code
the sum form. With all weights 1 the sum form is B^2 times the mean form: at B = 8, a factor of 0.003 on the
sum form equals a factor of 0.192 on the mean form.
"""

from __future__ import annotations

import torch
from torch import Tensor


def batch_mean_term(residual: Tensor) -> Tensor:
    """Mean over c, h, w of ``(1 / B sum_b r_b)^2``.

    Yuan et al. 2023: the MMD of clean and predicted latents in the epsilon parameterisation, per latent.

    Args:
        residual: float of shape (B, C, H, W), B at least 1.

    Returns:
        float scalar, not negative, at most the mean squared residual, and equal to it if all images have the
        same residual. For independent residuals of mean 0 its expectation is 1 / B of the mean squared
        residual.

    Raises:
        ValueError: for another shape.

    Example:
        >>> batch_mean_term(torch.tensor([3.0, -1.0]).view(2, 1, 1, 1))
        tensor(1.)
    """
    _check_batch(residual)
    return residual.mean(dim=0).square().mean()


def batch_sum_term(residual: Tensor, weight: Tensor) -> Tensor:
    """Mean over c, h, w of ``(sum_b w_b r_b)^2``: the form of the code released for Real-Fake.

    It grows with the batch, as B for independent residuals of mean 0 and as B^2 for the part that all
    residuals share. So the factor of this term in a loss is meaningful only together with B (0.003 at B = 8
    in the release).

    Args:
        residual: float of shape (B, C, H, W), B at least 1.
        weight: float of shape (B,), from :func:`understudy.functional.denoising.min_snr_weight`.

    Returns:
        float scalar, not negative.

    Raises:
        ValueError: for another shape.

    Example:
        >>> batch_sum_term(torch.tensor([3.0, -1.0]).view(2, 1, 1, 1), torch.ones(2))
        tensor(4.)
    """
    _check_batch(residual)
    if weight.shape != residual.shape[:1]:
        raise ValueError(f"weight must be of shape ({len(residual)},), got {tuple(weight.shape)}")
    return (weight.view(-1, 1, 1, 1) * residual).sum(dim=0).square().mean()


def class_mean_term(residual: Tensor, labels: Tensor) -> Tensor:
    """Mean over the classes in the batch of :func:`batch_mean_term` within the class.

    The batch mean term of a mixed batch matches only the mean over all classes; this term matches the mean
    of each class. A class with a single image contributes its mean squared residual, which is the plain loss.

    Args:
        residual: float of shape (B, C, H, W), B at least 1.
        labels: int64 of shape (B,).

    Returns:
        float scalar, not negative; equal to the batch mean term if there is one class.

    Raises:
        ValueError: for another shape.

    Example:
        >>> class_mean_term(torch.tensor([3.0, -1.0, 2.0]).view(3, 1, 1, 1), torch.tensor([0, 0, 1]))
        tensor(2.5000)
    """
    _check_batch(residual)
    if labels.shape != residual.shape[:1]:
        raise ValueError(f"labels must be of shape ({len(residual)},), got {tuple(labels.shape)}")
    return torch.stack([batch_mean_term(residual[labels == label]) for label in labels.unique()]).mean()


def _check_batch(residual: Tensor) -> None:
    if residual.ndim != 4 or not len(residual):
        raise ValueError(f"residual must be of shape (B, C, H, W) with B > 0, got {tuple(residual.shape)}")
