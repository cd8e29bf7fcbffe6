"""Random changes to a batch of images, drawn for each image and applied to the whole batch at once.

Symbols::

    x      images                    float (B, C, H, W)
    rng    source of random numbers  torch.Generator
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.functional.transfer import sent


def affine(x: Tensor, *, degrees: Tensor, shift: Tensor, scale: Tensor, shear: Tensor) -> Tensor:
    """Shear, scale, rotate and shift each image about its centre, in that order.

    The same map as ``torchvision.transforms.v2.functional.affine``, with different values for each image: the
    matrix is ``scale * R(degrees) @ [[1, -tan(shear)], [0, 1]]`` in pixels, x to the right and y down.
    Interpolation is bilinear, and edges are repeated.

    Args:
        x: float of shape (B, C, H, W).
        degrees: clockwise rotation, (B,).
        shift: shift to the right and down, as a fraction of width and height, (B, 2).
        scale: positive factor of size, (B,).
        shear: shear along x in degrees, in (-90, 90), (B,).

    Returns:
        float of shape (B, C, H, W).
    """
    height, width = x.shape[-2:]
    angle, slope = torch.deg2rad(degrees), torch.tan(torch.deg2rad(shear))
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    # grid_sample needs the inverse map, from output to input, in coordinates where each axis spans [-1, 1].
    inverse_B22 = torch.stack(
        [cos - slope * sin, (sin + slope * cos) * height / width, -sin * width / height, cos], dim=-1
    ).view(-1, 2, 2)
    offset_B21 = -(inverse_B22 @ (2 * shift)[:, :, None])
    theta_B23 = torch.cat([inverse_B22, offset_B21], dim=-1).to(x)
    grid = F.affine_grid(theta_B23, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def random_affine(
    x: Tensor,
    rng: torch.Generator,
    *,
    shift: float = 0.08,
    degrees: float = 12.0,
    scale: float = 0.12,
    shear: float = 8.0,
) -> Tensor:
    """Shift, rotate, scale and shear each image a little.

    Suits images that must not be mirrored, such as characters.

    Args:
        x: float of shape (B, C, H, W).
        rng: source of random numbers.
        shift: largest shift along each axis, as a fraction of the size; at least 0.
        degrees: largest rotation in either direction, in degrees; at least 0.
        scale: at least 0; the factor of size is log-uniform in [1 / (1 + scale), 1 + scale].
        shear: largest shear in either direction, in degrees, in [0, 90).

    Returns:
        float of shape (B, C, H, W); equal to the input, up to rounding, if all ranges are 0.

    Example:
        >>> random_affine(torch.rand(2, 3, 8, 8), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 8, 8])
    """
    shares = affine_shares(x, rng)
    return affine_by_shares(x, shares, shift=shift, degrees=degrees, scale=scale, shear=shear)


def affine_shares(x: Tensor, rng: torch.Generator) -> Tensor:
    """Uniform random shares of :func:`affine_by_shares` for images (B, C, H, W), float (B, 5) in [-1, 1)."""
    return sent(torch.rand(len(x), 5, generator=rng, device=rng.device) * 2 - 1, x.device).to(x.dtype)


def affine_by_shares(
    x: Tensor, shares: Tensor, *, shift: float, degrees: float, scale: float, shear: float
) -> Tensor:
    """Shift, rotate, scale and shear each image by given shares of the largest changes.

    Args:
        x: float of shape (B, C, H, W).
        shares: of the rotation, of the shifts to the right and down, of the logarithm of the scale, and of
            the shear, in [-1, 1], (B, 5). An image whose shares are all 0 stays as it is, up to rounding.
        shift: largest shift, as in :func:`random_affine`.
        degrees: largest rotation.
        scale: range of the scale.
        shear: largest shear.

    Returns:
        float of shape (B, C, H, W).
    """
    return affine(
        x,
        degrees=degrees * shares[:, 0],
        shift=shift * shares[:, 1:3],
        scale=torch.exp(math.log1p(scale) * shares[:, 3]),
        shear=shear * shares[:, 4],
    )


def resized_crop(x: Tensor, *, boxes: Tensor, mirrored: Tensor) -> Tensor:
    """Cut a box out of each image, enlarge it to the size of the image, and mirror some of the results.

    The same map as ``resized_crop`` (bilinear) and ``horizontal_flip`` in
    ``torchvision.transforms.v2.functional``, with different values for each image. Antialiasing would make no
    difference, because a box is never reduced.

    Args:
        x: float of shape (B, C, H, W).
        boxes: top, left, height and width in pixels, inside the image, int (B, 4).
        mirrored: which results are mirrored, bool (B,).

    Returns:
        float of shape (B, C, H, W).

    Example:
        >>> x, whole = torch.rand(1, 3, 8, 8), torch.tensor([[0, 0, 8, 8]])
        >>> torch.allclose(resized_crop(x, boxes=whole, mirrored=torch.tensor([True])), x.flip(-1))
        True
    """
    (height, width), (top, left, box_height, box_width) = x.shape[-2:], boxes.T
    rows_BH = _places(top, box_height, height)
    columns_BW = _places(left, box_width, width)
    columns_BW = torch.where(mirrored[:, None], columns_BW.flip(1), columns_BW)
    # In grid_sample, each axis of the image spans [-1, 1], from the edge of one pixel to that of another.
    y_BHW = ((2 * rows_BH + 1) / height - 1)[:, :, None].expand(-1, -1, width)
    x_BHW = ((2 * columns_BW + 1) / width - 1)[:, None, :].expand(-1, height, -1)
    grid = torch.stack([x_BHW, y_BHW], dim=-1).to(x)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _places(start_B: Tensor, length_B: Tensor, size: int) -> Tensor:
    """Where the ``size`` pixels of an enlarged box lie along an axis of the image, in pixels, (B, size)."""
    step = torch.arange(size, device=start_B.device) + 0.5
    within = step * (length_B[:, None] / size) - 0.5
    return start_B[:, None] + within.clamp(min=0).minimum(length_B[:, None] - 1)


def random_square(x: Tensor, rng: torch.Generator) -> Tensor:
    """The square at a random place of an image that has the length of its shorter side.

    Args:
        x: of shape (C, H, W).
        rng: source of random numbers; one is drawn for each axis, also for an image that is square.

    Returns:
        Shape (C, S, S) with S = min(H, W); a view of ``x``.

    Example:
        >>> random_square(torch.rand(3, 8, 12), torch.Generator().manual_seed(0)).shape
        torch.Size([3, 8, 8])
    """
    height, width = x.shape[-2:]
    side = min(height, width)
    top, left = (int(torch.randint(length - side + 1, (), generator=rng)) for length in (height, width))
    return x[:, top : top + side, left : left + side]


def flip_crop(x: Tensor, rng: torch.Generator, *, padding: float = 0.125) -> Tensor:
    """Mirror half of the images and crop each at a random position of the padded image.

    Suits natural images. He et al. 2016 (arXiv:1512.03385), section 4.2, pad images of 32 pixels by 4 on each
    side; here the padding is reflected instead of black.

    Args:
        x: float of shape (B, C, H, W).
        rng: source of random numbers.
        padding: margin on each side as a fraction of the size, in [0, 1).

    Returns:
        float of shape (B, C, H, W).

    Example:
        >>> flip_crop(torch.rand(2, 3, 8, 8), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 8, 8])
    """
    return flip_crop_by_shares(x, flip_crop_shares(x, rng, padding=padding), padding=padding)


def flip_crop_shares(x: Tensor, rng: torch.Generator, *, padding: float) -> Tensor:
    """Random shares of :func:`flip_crop_by_shares` for images (B, C, H, W), float (B, 3)."""
    draws = sent(torch.rand(len(x), 3, generator=rng, device=rng.device), x.device)
    shares = [
        ((draws[:, axis] * (2 * pad + 1)).long() - pad) / max(pad, 1)
        for axis, pad in enumerate(_pads(x, padding))
    ]
    return torch.stack([*shares, (draws[:, 2] >= 0.5).to(draws)], dim=1)


def flip_crop_by_shares(x: Tensor, shares: Tensor, *, padding: float) -> Tensor:
    """Crop each image at a given position of the padded image, and mirror some of the crops.

    Args:
        x: float of shape (B, C, H, W).
        shares: how far the crop lies below and to the right of the centre, as shares of the padding in
            [-1, 1], and 1 for an image that is mirrored, otherwise 0, (B, 3). An image whose shares are all 0
            stays as it is.
        padding: margin on each side as a fraction of the size, in [0, 1).

    Returns:
        float of shape (B, C, H, W).
    """
    (size, _, height, width), device = x.shape, x.device
    pad_y, pad_x = _pads(x, padding)
    rows_BH = (shares[:, :1] * pad_y).round().long() + pad_y + torch.arange(height, device=device)
    columns_BW = (shares[:, 1:2] * pad_x).round().long() + pad_x + torch.arange(width, device=device)
    columns_BW = torch.where(shares[:, 2:] > 0, columns_BW.flip(1), columns_BW)
    padded = F.pad(x, (pad_x, pad_x, pad_y, pad_y), mode="reflect")
    which_B = torch.arange(size, device=device)
    # Advanced indices around a slice put their dimensions first: (B, H, W, C).
    return padded[which_B[:, None, None], :, rows_BH[:, :, None], columns_BW[:, None, :]].permute(0, 3, 1, 2)


def _pads(x: Tensor, padding: float) -> tuple[int, int]:
    """Margins above and beside images (B, C, H, W), in pixels."""
    height, width = x.shape[-2:]
    return int(padding * height), int(padding * width)
