"""The distribution term: added to the denoising loss to match the distributions of drawn and real images.

Real-Fake (Yuan et al., ICLR 2024, arXiv:2310.10402), section 3. ``docs/methods/real_fake.md`` compares
the forms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from understudy.adaptation.settings import GENERATOR, AdaptSettings
from understudy.core.registry import Registry
from understudy.data.labelled_set import LabelledSet
from understudy.functional.denoising import min_snr_weight, x0_error
from understudy.functional.mean_matching import batch_mean_term, batch_sum_term, class_mean_term
from understudy.functional.mmd import median_bandwidth, mmd2_per_class, moment_mmd2_per_class
from understudy.generators.generator import Adaptable
from understudy.generators.visual_guidance import Encode, features_of, to_unit

_MAX_BANDWIDTH_IMAGES = 1000
BANDWIDTHS = (0.5, 1.0, 2.0)
"""Bandwidths of the kernel, in multiples of the median distance between real images."""


@final
@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """An encoder, and what terms know of its features of all real train images.

    Attributes:
        encode: maps pixels, float (B, 3, H, W) in [-1, 1], to features, float (B, F), with gradients.
        width: number of features, F.
        bandwidths: bandwidths of the kernel, (K,).
        means: mean of each class, (num_classes, F); empty if the term needs no moments.
        scale: mean squared distance of a feature to the mean of its class, ().
    """

    encode: Encode
    width: int
    bandwidths: Tensor
    means: Tensor
    scale: Tensor


def feature_spaces(
    generator: Adaptable, train: LabelledSet, settings: AdaptSettings, encoders: Mapping[str, Encode]
) -> tuple[FeatureSpace, ...]:
    """One space for each of ``adapt.distribution_encoders``; none for a term that compares no features.

    Bandwidths come from the median distance between real images.

    Args:
        generator: to be adapted.
        train: real train images.
        settings: form of the term, and the names of its encoders.
        encoders: by name, all but the generator's own.
    """
    if not settings.compares_features:
        return ()
    encoders = {GENERATOR: generator.encode_features, **encoders}
    return tuple(
        _feature_space(encoders[name], generator, train, settings) for name in settings.distribution_encoders
    )


def _feature_space(
    encode: Encode, generator: Adaptable, train: LabelledSet, settings: AdaptSettings
) -> FeatureSpace:
    bandwidths, means, scale = torch.empty(0), torch.empty(0), torch.empty(())
    if settings.distribution == "covariance":
        features, labels = features_of(generator, train, encode=encode), torch.from_numpy(train.labels)
        means = torch.stack([features[labels == label].mean(dim=0) for label in range(train.num_classes)])
        scale = (features - means[labels]).square().sum(dim=1).mean()
    else:
        spread = np.linspace(0, len(train) - 1, min(len(train), _MAX_BANDWIDTH_IMAGES)).astype(np.int64)
        features = features_of(generator, train.select(spread), encode=encode)
        bandwidths = median_bandwidth(features) * torch.tensor(BANDWIDTHS)
    known = (value.to(generator.device) for value in (bandwidths, means, scale))
    return FeatureSpace(encode, features.shape[1], *known)


@final
@dataclass(frozen=True, eq=False)
class TermInputs:
    """The inputs of a term in addition to residuals or drawn latents, for the batch of all processes.

    Attributes:
        pixels: real images, uint8 (B, 3, H, W).
        x0: their latents, (B, C, h, w).
        labels: classes, int64 (B,).
        snr: signal-to-noise ratio at each image's timestep, (B,).
        gamma: limit of the min-SNR weight.
        spaces: the encoders whose features the term compares.
        denoise: maps latents (b, C, h, w) and indices of their real images (b,) to latents that are noised
            and denoised at the timestep and with the noise of these images.
        slice_size: number of images whose graph fits into memory at once.
        loss_scale: factor that keeps gradients through half-precision networks from vanishing.
    """

    pixels: Tensor
    x0: Tensor
    labels: Tensor
    snr: Tensor
    gamma: float
    spaces: tuple[FeatureSpace, ...]
    denoise: Callable[[Tensor, Tensor], Tensor]
    slice_size: int
    loss_scale: float


@final
@dataclass(frozen=True, kw_only=True)
class Term:
    """A form of the distribution term.

    Attributes:
        compute: maps residuals (B, C, h, w), inputs and generator to the value of the term and its gradient
            with respect to the residuals. For ``DRAWN_FORMS`` it gets drawn latents instead of residuals.
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


def _in_slices(
    at: Tensor,
    features: Callable[[Tensor, Tensor], Tensor],
    compare: Callable[[Tensor], Tensor],
    inputs: TermInputs,
) -> tuple[Tensor, Tensor]:
    """``compare(features(at))`` and its gradient, with the graph of one slice in memory.

    Gradients are propagated from features to ``at`` in slices, for which each slice is computed a second
    time.
    """
    parts = _parts(at, inputs)
    with torch.no_grad():
        found = torch.cat([features(at[part], part) for part in parts])
    value, by_feature = _differentiated(compare, found)

    def slice_gradient(part: Tensor) -> Tensor:
        scaled = inputs.loss_scale * by_feature[part]
        return _differentiated(lambda leaf: (scaled * features(leaf, part)).sum(), at[part])[1]

    return value, torch.cat([slice_gradient(part) for part in parts]) / inputs.loss_scale


def _parts(at: Tensor, inputs: TermInputs) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = torch.arange(len(at), device=at.device).split(inputs.slice_size)
    return parts


def _encoded(pixels: Tensor, inputs: TermInputs) -> Tensor:
    """The features of all encoders side by side, so that images are decoded once, (B, sum of F)."""
    return torch.cat([space.encode(pixels) for space in inputs.spaces], dim=1)


@torch.no_grad()
def _real_features(inputs: TermInputs) -> Tensor:
    pixels = inputs.pixels
    return torch.cat([_encoded(to_unit(pixels[part]), inputs) for part in _parts(pixels, inputs)])


def _mean_over_encoders(
    inputs: TermInputs, real: Tensor, compare: Callable[[FeatureSpace, Tensor, Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """The mean over encoders of ``compare(space, real features, other features)``."""
    widths = [space.width for space in inputs.spaces]

    def mean(found: Tensor) -> Tensor:
        parts = zip(inputs.spaces, real.split(widths, dim=1), found.split(widths, dim=1), strict=True)
        return torch.stack([compare(*part) for part in parts]).mean()

    return mean


def _denoised_features(
    inputs: TermInputs, generator: Adaptable
) -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor]:
    """Features of one-step denoised images as a function of their residuals, and the weights of the images.

    Each noisy image is weighted by its share of signal, snr / (1 + snr), because a perfect denoiser predicts
    the mean image from pure noise, which is far from every real image.
    """

    def features(leaf: Tensor, part: Tensor) -> Tensor:
        snr = inputs.snr[part].view(-1, 1, 1, 1)
        predicted = inputs.x0[part] + x0_error(leaf, snr, generator.prediction_type).to(inputs.x0)
        return _encoded(generator.decode_latents(predicted), inputs)

    return features, (inputs.snr / (1 + inputs.snr)).clamp(min=1e-6)  # a batch may be pure noise


def _kernel(residual: Tensor, inputs: TermInputs, generator: Adaptable) -> tuple[Tensor, Tensor]:
    """MMD between real images and their one-step denoised versions, in the spaces of the encoders."""
    features, share = _denoised_features(inputs, generator)

    def compare(space: FeatureSpace, real: Tensor, denoised: Tensor) -> Tensor:
        return mmd2_per_class(real, denoised, inputs.labels, space.bandwidths, share)

    mean = _mean_over_encoders(inputs, _real_features(inputs), compare)
    return _in_slices(residual, features, mean, inputs)


def _covariance(residual: Tensor, inputs: TermInputs, generator: Adaptable) -> tuple[Tensor, Tensor]:
    """As :func:`_kernel`, with first and second moments about the mean of the class instead of a kernel."""
    features, share = _denoised_features(inputs, generator)

    def compare(space: FeatureSpace, real: Tensor, denoised: Tensor) -> Tensor:
        centre = space.means[inputs.labels]
        return moment_mmd2_per_class(real - centre, denoised - centre, inputs.labels, space.scale, share)

    mean = _mean_over_encoders(inputs, _real_features(inputs), compare)
    return _in_slices(residual, features, mean, inputs)


def _drawn(latents: Tensor, inputs: TermInputs, generator: Adaptable) -> tuple[Tensor, Tensor]:
    """MMD between real and drawn images, in the spaces of the encoders."""

    def features(leaf: Tensor, part: Tensor) -> Tensor:
        return _encoded(generator.decode_latents(leaf), inputs)

    def compare(space: FeatureSpace, real: Tensor, drawn: Tensor) -> Tensor:
        return mmd2_per_class(real, drawn, inputs.labels, space.bandwidths)

    mean = _mean_over_encoders(inputs, _real_features(inputs), compare)
    return _in_slices(latents, features, mean, inputs)


def _moments(latents: Tensor, inputs: TermInputs, generator: Adaptable) -> tuple[Tensor, Tensor]:
    """MMD between D(x_t) of real and of drawn images, with the same noise at one timestep.

    Salimans et al. 2024 (arXiv:2406.04103) match the mean of D(x_t); here it is the whole distribution. The
    weights of D get no gradient, since it could make both sides equal without better images. Bandwidths
    come from the batch, because denoised images differ less with more noise.
    """

    def features(leaf: Tensor, part: Tensor) -> Tensor:
        return inputs.denoise(leaf, part).flatten(1)

    with torch.no_grad():
        real = torch.cat([features(inputs.x0[part], part) for part in _parts(inputs.x0, inputs)])
    bandwidths = median_bandwidth(real) * torch.tensor(BANDWIDTHS, device=real.device)

    def compare(drawn: Tensor) -> Tensor:
        return mmd2_per_class(real, drawn, inputs.labels, bandwidths)

    return _in_slices(latents, features, compare, inputs)


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
TERMS.register(
    "covariance",
    summary="mean and covariance of image features of real and one-step-denoised images of each class",
)(Term(compute=_covariance, weight=1.0, within_class=True))
TERMS.register(
    "moments",
    summary="in the last steps: MMD of noised and denoised latents between real and drawn images of a class",
)(Term(compute=_moments, weight=3.0))
TERMS.register(
    "drawn", summary="in the last steps: MMD of image features between real and drawn images of each class"
)(Term(compute=_drawn, weight=3.0))
