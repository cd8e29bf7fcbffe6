"""The best linear denoiser of patches, from which a network learns only the rest.

Symbols, as in Karras et al. 2022 (arXiv:2206.00364)::

    y, n       patch of a clean image, with mean 0; noise of standard deviation sigma     (P,)
    lambda, U  eigenvalues and eigenvectors of the covariance of y                         (P,), (P, P)
    D          denoiser, c_skip x + c_out F for the network F and x = y + n
    v          -F, see :mod:`understudy.functional.edm`

The paper chooses c_skip and c_out for independent pixels of variance sigma_data^2 (appendix B.6); then c_skip
x is the best linear denoiser. Pixels of real images depend on each other: patches of a grey or smooth image
vary in few directions, and everything else is noise. The same derivation for a covariance makes c_skip the
Wiener filter ``U diag(lambda / (lambda + sigma^2)) U'``. In terms of v, this adds a linear function of the
input to the output of the network, which has to predict what remains.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from understudy.functional.edm import SIGMA_DATA

_VALUES = 2**22  # pixel values that are computed at once, in double precision


def patch_spectrum(y: Tensor, patch: int, *, floor: float) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of the covariance of patches around 0.

    Args:
        y: centred images, float (N, C, H, W), H and W multiples of ``patch``.
        patch: width and height of a patch.
        floor: added to every eigenvalue, such as the variance of rounding to grey levels; positive.

    Returns:
        lambda, float32 (P,), positive, ascending, and U, float32 (P, P), an eigenvector per column, for
        P = C patch^2.
    """
    width = y.shape[1] * patch**2
    gram = y.new_zeros(width, width, dtype=torch.float64)
    for images in y.split(max(1, _VALUES // y[0].numel())):
        patches = pixel_unshuffle(images, patch).double().movedim(1, -1).flatten(0, -2)
        gram.addmm_(patches.T, patches)
    eigenvalues, vectors = torch.linalg.eigh(gram / (y.numel() // width))
    return (eigenvalues.clamp(min=0) + floor).float(), vectors.float()


def linear_v(x: Tensor, sigma: Tensor, eigenvalues: Tensor, vectors: Tensor) -> Tensor:
    """The v that the best linear denoiser predicts.

    From ``D = U diag(lambda / (lambda + sigma^2)) U' x / c_in`` and ``v = (c_skip x / c_in - D) / c_out``
    follows ``v = U diag(g) U' x`` for
    ``g = sigma (sigma_data^2 - lambda) / (sigma_data (lambda + sigma^2))``.

    Args:
        x: noisy patches times c_in, float (B, P, h, w).
        sigma: float (B,), positive.
        eigenvalues: lambda, float (P,), positive.
        vectors: U, float (P, P).

    Returns:
        float as x; 0 if every eigenvalue is sigma_data^2.
    """
    s = sigma.view(-1, 1)
    g = s * (SIGMA_DATA**2 - eigenvalues) / (SIGMA_DATA * (eigenvalues + s**2))
    rotated = torch.einsum("pk,bphw->bkhw", vectors, x) * g[:, :, None, None]
    return torch.einsum("pk,bkhw->bphw", vectors, rotated)


def remaining_deviation(sigma: Tensor, eigenvalues: Tensor) -> Tensor:
    """Standard deviation of the v that is left after :func:`linear_v`.

    ``|y - D|^2 / c_out^2`` on average: the mean of
    ``lambda (sigma^2 + sigma_data^2) / (sigma_data^2 (lambda + sigma^2))`` over the directions.

    Args:
        sigma: float (B,), positive.
        eigenvalues: lambda, float (P,), positive.

    Returns:
        float (B,), positive; 1 if every eigenvalue is sigma_data^2.
    """
    s = sigma.view(-1, 1)
    share = eigenvalues * (s**2 + SIGMA_DATA**2) / (SIGMA_DATA**2 * (eigenvalues + s**2))
    return share.mean(dim=1).sqrt()
