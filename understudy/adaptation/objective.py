"""The loss of a batch: denoising loss plus distribution term, computed in slices and over processes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from torch import Tensor, nn

from understudy.adaptation.inputs import Batch
from understudy.adaptation.settings import AdaptSettings
from understudy.adaptation.terms import TERMS, Term, TermInputs
from understudy.core.processes import Processes
from understudy.functional.denoising import min_snr_weight, weighted_denoising_loss
from understudy.generators.generator import Adaptable, Conditioning, encode_distinct
from understudy.generators.precision import computing


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Objective:
    """L = L_diffusion + weight * L_distribution; Real-Fake (arXiv:2310.10402), section 3.1.

    Attributes:
        generator: the generator in training.
        settings: form and weight of the term, min-SNR limit, size of a slice.
        projection: learned map from image features to text states; None without it.
        bandwidths: bandwidths of the kernel term, (K,).
        processes: processes that share each batch.
        scaler: scales the loss so that gradients in float16 do not vanish.
        precision: number format of the denoiser's products.
    """

    generator: Adaptable
    settings: AdaptSettings
    projection: nn.Linear | None
    bandwidths: Tensor
    processes: Processes
    scaler: torch.amp.GradScaler
    precision: str = "float32"

    @cached_property
    def _term(self) -> Term | None:
        return TERMS[self.settings.distribution]

    @cached_property
    def _no_text(self) -> Conditioning:
        return self.generator.encode_prompts([""])

    def backward(self, batch: Batch) -> float:
        """Add the gradients of this process's slice; their sum over processes is the gradient of the batch.

        The term needs all residuals at once, but only a few graphs fit into memory. So the term is first
        differentiated with respect to the residuals, which are small; each slice then passes its part of this
        gradient on to the weights.

        Args:
            batch: the whole batch, the same in every process.

        Returns:
            The loss of the whole batch.
        """
        size = len(batch.labels)
        slices = self.processes.slice_of(size).split(self.settings.micro_batch or size)
        whole = self.residual(batch, slices[0]) if len(slices) == 1 else None
        total, gradient = torch.zeros((), device=batch.x0.device), None
        if self._term is not None:
            with torch.no_grad():
                parts = [self.residual(batch, part) for part in slices] if whole is None else [whole.detach()]
            value, gradient = self._term_gradient(self.processes.gather(torch.cat(parts)), batch)
            total += value / self.processes.count
        for part in slices:
            residual = whole if whole is not None else self.residual(batch, part)
            loss = self.denoising_loss(residual, batch, part) * (len(part) / size)
            total += loss.detach()
            if gradient is not None:
                loss = loss + (gradient[part.to(gradient.device)] * residual).sum()
            torch.autograd.backward(self.scaler.scale(loss))
        return float(self.processes.sum(total))

    def residual(self, batch: Batch, part: Tensor) -> Tensor:
        """Prediction minus target for the images ``part`` of a batch, float32 (len(part), C, h, w)."""
        here = part.to(batch.x0.device)
        if batch.conditioning is None:
            prompts = [batch.prompts[index] for index in part.tolist()]
            conditioning = encode_distinct(self.generator, prompts, gradients=True)
        else:
            conditioning = batch.conditioning.select(here)
        if batch.features is not None:
            features = batch.features[part].to(batch.x0.device)
            tokens = features if self.projection is None else self.projection(features)
            conditioning = conditioning.with_last(tokens)
        conditioning = conditioning.where(~batch.dropped[part], self._no_text)
        x0, eps, t = batch.x0[here], batch.eps[here], batch.t[here]
        weights = next(self.generator.denoiser.parameters()).dtype
        with computing(self.precision, weights, x0.device):
            return self.generator.denoising_residual(x0, eps, t, conditioning)

    def denoising_loss(self, residual: Tensor, batch: Batch, part: Tensor) -> Tensor:
        """Mean over ``part`` of the weighted squared residual."""
        snr, gamma = self.generator.snr[batch.t[part.to(batch.t.device)]], self.settings.min_snr_gamma
        if gamma is None:
            return weighted_denoising_loss(residual, torch.ones_like(snr))
        weight = min_snr_weight(snr, gamma, self.generator.prediction_type)
        return weighted_denoising_loss(residual, weight)

    def _term_gradient(self, residual: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The weighted term, and its gradient with respect to every residual of the batch."""
        assert self._term is not None
        weight = self.settings.distribution_weight or self._term.weight
        inputs = TermInputs(
            pixels=batch.pixels.to(residual.device),
            x0=batch.x0,
            labels=batch.labels.to(residual.device),
            snr=self.generator.snr[batch.t],
            gamma=self.settings.min_snr_gamma or math.inf,
            bandwidths=self.bandwidths,
            slice_size=self.settings.micro_batch or len(residual),
            loss_scale=self.scaler.get_scale(),
        )
        value, gradient = self._term.compute(residual, inputs, self.generator)
        return weight * value, weight * gradient
