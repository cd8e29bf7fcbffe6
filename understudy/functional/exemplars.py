"""Guidance by exemplars: how far images are from given real images, and steps that bring them closer.

The Chamfer distance between generated images f_1..f_N and real ones r_1..r_k in a feature space has two
terms. Dall'Asen et al. 2025 (arXiv:2508.10631) lower both while they draw::

    fidelity   mean over i of  min over j of |f_i - r_j|^2    each generated image has a real one close to it
    coverage   mean over j of  min over i of |f_i - r_j|^2    each real image has a generated one close to it

The nearest generated image in the second term depends on all images that are drawn together. Here each
generated image has one exemplar instead, chosen before drawing, and every exemplar has equally many generated
images. The mean distance to them is at least as large as either term: a minimum is at most any of its values,
and at most their mean.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from understudy.functional.denoising import flow_sigma


def exemplar_distance(features: Tensor, exemplars: Tensor) -> Tensor:
    """Squared distance of each image to its exemplar, between features of length 1: 2 - 2 cos.

    Args:
        features: of N images, float of shape (N, F).
        exemplars: features of the exemplar of each image, as features.

    Returns:
        float of shape (N,), from 0 to 4.

    Example:
        >>> exemplar_distance(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
        tensor([2.])
    """
    return (normalize(features) - normalize(exemplars)).square().sum(dim=1)


def descended(x0: Tensor, gradient: Tensor, weight: Tensor, snr: Tensor) -> Tensor:
    """Predicted clean latents after a step down a gradient: ``x0 - weight sigma gradient / rms(gradient)``.

    The step has the root mean square ``weight sigma``. So the weight is in the unit of the latents, whose
    standard deviation is about 1, whatever the scale of the features, and with the share of noise sigma the
    steps become smaller as the image gets clear.

    Args:
        x0: float of shape (N, C, H, W).
        gradient: of what is lowered, with respect to x0, as x0; where it is 0, x0 stays.
        weight: float of shape (N,), not negative.
        snr: signal-to-noise ratio at this timestep, float of shape (N,), not negative.

    Returns:
        float, as x0.

    Example:
        >>> one = torch.ones(1, 1, 1, 2)
        >>> descended(one, 5 * one, torch.tensor([0.2]), torch.tensor([1.0]))
        tensor([[[[0.9000, 0.9000]]]])
    """
    size = gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    length = (weight * flow_sigma(snr)).view(-1, 1, 1, 1)
    return x0 - length * gradient / size.clamp(min=torch.finfo(size.dtype).tiny)
