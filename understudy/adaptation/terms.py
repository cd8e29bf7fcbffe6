"""The distribution term: what is added to the denoising loss so that drawn and real images agree as sets.

Real-Fake (Yuan et al., ICLR 2024, arXiv:2310.10402), section 3; see ``docs/methods/real_fake.md`` for what each form is worth.
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
from understudy.generators.generator import Generator
from understudy.generators.visual_guidance import to_unit


@final
@dataclass(frozen=True, eq=False)
class TermInputs:
    """A batch, over all processes, as terms see it.

    Attributes:
        pixels: real images, uint8 (B, 3, H, W).
        x0: their latents, (B, C, h, w).
        labels: int64 (B,).
        snr: at each image's timestep, (B,).
        gamma: of the min-SNR weight.
        bandwidths: of the kernel, (K,).
        slice_size: images whose graph may be held at once.
        loss_scale: gradients through half-precision networks are scaled up by this, so that they do not vanish.
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
        compute: residuals (B, C, h, w), inputs and generator to the term's value and its gradient, as the residuals.
        weight: what it is multiplied with if the user does not say.
        within_class: compares images of one class, so batches hold several images of few classes.
    """

    compute: Callable[[Tensor, TermInputs, Generator], tuple[Tensor, Tensor]]
    weight: float
    within_class: bool = False


TERMS: Registry[Term | None] = Registry("distribution term")

_SUM_WEIGHT = 0.003  # of the released code, at 8 images per device
_SUM_BATCH = 8


def _differentiated(formula: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    leaf = at.detach().requires_grad_()
    with torch.enable_grad():
        value = formula(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def _batch_mean(residual: Tensor, inputs: TermInputs, generator: Generator) -> tuple[Tensor, Tensor]:
    return _differentiated(batch_mean_term, residual)


def _batch_sum(residual: Tensor, inputs: TermInputs, generator: Generator) -> tuple[Tensor, Tensor]:
    weight = min_snr_weight(inputs.snr, inputs.gamma, generator.prediction_type)
    return _differentiated(lambda leaf: batch_sum_term(leaf, weight), residual)


def _class_mean(residual: Tensor, inputs: TermInputs, generator: Generator) -> tuple[Tensor, Tensor]:
    return _differentiated(lambda leaf: class_mean_term(leaf, inputs.labels), residual)


def _kernel(residual: Tensor, inputs: TermInputs, generator: Generator) -> tuple[Tensor, Tensor]:
    """MMD between real images and what one step of denoising makes of them, in the space of the image encoder.

    A noisy image weighs by its share of signal, snr / (1 + snr): what a perfect denoiser makes of mere noise is the mean
    image, which lies far from every real one. The gradient goes from features to residuals in slices, each computed anew.
    """

    def features(leaf: Tensor, part: Tensor) -> Tensor:
        snr = inputs.snr[part].view(-1, 1, 1, 1)
        predicted = inputs.x0[part] + x0_error(leaf, snr, generator.prediction_type).to(inputs.x0)
        return generator.encode_features(generator.decode_latents(predicted))

    parts = torch.arange(len(residual), device=residual.device).split(inputs.slice_size)
    with torch.no_grad():
        real = torch.cat([generator.encode_features(to_unit(inputs.pixels[part])) for part in parts])
        denoised = torch.cat([features(residual[part], part) for part in parts])
    share = (inputs.snr / (1 + inputs.snr)).clamp(min=1e-6)  # all of a batch may be mere noise
    value, by_feature = _differentiated(lambda leaf: mmd2_per_class(real, leaf, inputs.labels, inputs.bandwidths, share), denoised)
    scaled = [
        _differentiated(lambda leaf, part=part: (inputs.loss_scale * by_feature[part] * features(leaf, part)).sum(), residual[part])[1]  # type: ignore[misc]
        for part in parts
    ]
    return value, torch.cat(scaled) / inputs.loss_scale


TERMS.register("none", summary="the denoising loss alone")(None)
TERMS.register("batch-mean", summary="squared mean residual of the batch: the paper's form, independent of the batch size")(
    Term(compute=_batch_mean, weight=_SUM_WEIGHT * _SUM_BATCH**2)
)
TERMS.register("batch-sum", summary="squared sum of the batch's SNR-weighted residuals: the released code's form, grows with the batch")(
    Term(compute=_batch_sum, weight=_SUM_WEIGHT)
)
TERMS.register("class-mean", summary="squared mean residual of each class, in batches of few classes")(
    Term(compute=_class_mean, weight=_SUM_WEIGHT * _SUM_BATCH**2, within_class=True)
)
TERMS.register("kernel", summary="unbiased MMD of image features between real and one-step-denoised images of each class")(
    Term(compute=_kernel, weight=0.1, within_class=True)
)
