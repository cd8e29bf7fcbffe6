"""The distribution term: added to the denoising loss to match the distributions of drawn and real images.

Real-Fake (Yuan et al., ICLR 2024, arXiv:2310.10402), section 3. ``docs/methods/real_fake.md`` compares
the forms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from understudy.core.registry import Registry
from understudy.functional.denoising import min_snr_weight, x0_error
from understudy.functional.mean_matching import batch_mean_term, batch_sum_term, class_mean_term
from understudy.functional.mmd import mmd2_per_class
from understudy.generators.generator import Adaptable
from understudy.generators.visual_guidance import to_unit


@final
@dataclass(frozen=True, eq=False)
class TermInputs:
    """The inputs of a term in addition to the residuals, for the batch of all processes.

    Attributes:
        pixels: real images, uint8 (B, 3, H, W).
        x0: their latents, (B, C, h, w).
        labels: classes, int64 (B,).
        snr: signal-to-noise ratio at each image's timestep, (B,).
        gamma: limit of the min-SNR weight.
        bandwidths: bandwidths of the kernel, (K,).
        slice_size: number of images whose graph fits into memory at once.
        loss_scale: factor that keeps gradients through half-precision networks from vanishing.
    """

    pixels: Tensor
    x0: Tensor
    labels: Tensor
    snr: Tensor
    gamma: float
    bandwidths: Tensor
    slice_size: int
    loss_scale: float


@final
@dataclass(frozen=True, kw_only=True)
class Term:
    """A form of the distribution term.

    Attributes:
        compute: maps residuals (B, C, h, w), inputs and generator to the value of the term and its gradient
            with respect to the residuals.
        weight: default factor of the term in the loss.
        within_class: whether it compares images of the same class, so that a batch needs several of each.
    """

    compute: Callable[[Tensor, TermInputs, Adaptable], tuple[Tensor, Tensor]]
    weight: float
    within_class: bool = False


TERMS: Registry[Term | None] = Registry("distribution term")

_SUM_WEIGHT = 0.003  # weight in the released code, for 8 images per device
_SUM_BATCH = 8


def _differentiated(formula: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    leaf = at.detach().requires_grad_()
    with torch.enable_grad():
        value = formula(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def _batch_mean(residual: Tensor, inputs: TermInputs, generator: Adaptable) -> tuple[Tensor, Tensor]:
    return _differentiated(batch_mean_term, residual)


def _batch_sum(residual: Tensor, inputs: TermInputs, generator: Adaptable) -> tuple[Tensor, Tensor]:
    weight = min_snr_weight(inputs.snr, inputs.gamma, generator.prediction_type)
    return _differentiated(lambda leaf: batch_sum_term(leaf, weight), residual)


def _class_mean(residual: Tensor, inputs: TermInputs, generator: Adaptable) -> tuple[Tensor, Tensor]:
    return _differentiated(lambda leaf: class_mean_term(leaf, inputs.labels), residual)


def _kernel(residual: Tensor, inputs: TermInputs, generator: Adaptable) -> tuple[Tensor, Tensor]:
    """MMD between real images and their one-step denoised versions, in the space of the image encoder.

    Each noisy image is weighted by its share of signal, snr / (1 + snr), because a perfect denoiser predicts
    the mean image from pure noise, which is far from every real image. Gradients are propagated from features
    to residuals in slices, for which each slice is computed a second time.
    """

    def features(leaf: Tensor, part: Tensor) -> Tensor:
        snr = inputs.snr[part].view(-1, 1, 1, 1)
        predicted = inputs.x0[part] + x0_error(leaf, snr, generator.prediction_type).to(inputs.x0)
        return generator.encode_features(generator.decode_latents(predicted))

    parts = torch.arange(len(residual), device=residual.device).split(inputs.slice_size)
    with torch.no_grad():
        real = torch.cat([generator.encode_features(to_unit(inputs.pixels[part])) for part in parts])
        denoised = torch.cat([features(residual[part], part) for part in parts])
    share = (inputs.snr / (1 + inputs.snr)).clamp(min=1e-6)  # a whole batch may be pure noise
    value, by_feature = _differentiated(
        lambda leaf: mmd2_per_class(real, leaf, inputs.labels, inputs.bandwidths, share), denoised
    )

    def slice_gradient(part: Tensor) -> Tensor:
        scaled = inputs.loss_scale * by_feature[part]
        return _differentiated(lambda leaf: (scaled * features(leaf, part)).sum(), residual[part])[1]

    return value, torch.cat([slice_gradient(part) for part in parts]) / inputs.loss_scale


TERMS.register("none", summary="the denoising loss alone")(None)
TERMS.register(
    "batch-mean",
    summary="squared mean residual of the batch: the paper's form, independent of the batch size",
)(Term(compute=_batch_mean, weight=_SUM_WEIGHT * _SUM_BATCH**2))
TERMS.register(
    "batch-sum",
    summary="squared sum of SNR-weighted residuals: the form of the released code, grows with the batch size",
)(Term(compute=_batch_sum, weight=_SUM_WEIGHT))
TERMS.register("class-mean", summary="squared mean residual of each class, in batches of few classes")(
    Term(compute=_class_mean, weight=_SUM_WEIGHT * _SUM_BATCH**2, within_class=True)
)
TERMS.register(
    "kernel",
    summary="unbiased MMD of image features between real and one-step-denoised images of each class",
)(Term(compute=_kernel, weight=0.1, within_class=True))
