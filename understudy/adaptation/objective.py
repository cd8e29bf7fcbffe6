"""The loss of a batch: denoising loss plus distribution term, computed in slices and over processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import final

import torch
from torch import Tensor, nn

from understudy.adaptation.drawing import Drawing
from understudy.adaptation.inputs import Batch, DrawnBatch
from understudy.adaptation.settings import DRAWN_FORMS, AdaptSettings
from understudy.adaptation.terms import TERMS, FeatureSpace, Term, TermInputs
from understudy.core.micro_batch import MicroBatch
from understudy.core.processes import Processes
from understudy.functional.denoising import min_snr_weight, weighted_denoising_loss, x0_error
from understudy.generators.generator import Adaptable, Conditioning, encode_distinct
from understudy.generators.precision import computing


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Objective:
    """L = L_diffusion + weight * L_distribution; Real-Fake (arXiv:2310.10402), section 3.1.

    Attributes:
        generator: the generator in training.
        parameters: what is trained.
        settings: form and weight of the term, min-SNR limit, number of images computed at once.
        projection: learned map from image features to text states; None without it.
        spaces: the encoders whose features the term compares.
        processes: processes that share each batch.
        scaler: scales the loss so that gradients in float16 do not vanish.
        precision: number format of the denoiser's products.
    """

    generator: Adaptable
    parameters: Sequence[nn.Parameter]
    settings: AdaptSettings
    projection: nn.Linear | None
    spaces: tuple[FeatureSpace, ...]
    processes: Processes
    scaler: torch.amp.GradScaler
    precision: str = "float32"

    @cached_property
    def micro_batch(self) -> MicroBatch:
        """Number of images whose graph is in memory at once."""
        share = self.settings.batch_size // self.processes.count
        return MicroBatch(min(self.settings.micro_batch or share, share), work="the adaptation")

    @cached_property
    def _term(self) -> Term | None:
        return TERMS[self.settings.distribution]

    @cached_property
    def _no_text(self) -> Conditioning:
        return self.generator.encode_prompts([""])

    def backward(self, batch: Batch, drawn: DrawnBatch | None = None) -> float:
        """Compute the gradients of this process's share; their sum over processes is that of the batch.

        The term needs all residuals at once, but only a few graphs fit into memory. So the term is first
        differentiated with respect to the residuals, which are small; each part of the share then passes its
        part of this gradient on to the weights. Processes wait for each other only between these two steps,
        so that each of them can repeat a step with fewer images at once. A term that compares drawn images is
        first differentiated with respect to these in the same way.

        Args:
            batch: the whole batch, the same in every process.
            drawn: what to draw, for a term that compares drawn images; without it, there is no such term.

        Returns:
            The loss of the whole batch.
        """
        share = self.processes.slice_of(len(batch.labels))
        total, gradient = torch.zeros((), device=batch.x0.device), None
        kept: list[Tensor] = []  # the residual of the whole share, with its graph, if all of it fits

        def parts_of(size: int) -> tuple[Tensor, ...]:
            parts: tuple[Tensor, ...] = share.split(size)
            if len(parts) > 1:
                kept.clear()
            return parts

        if self._term is not None and self.settings.distribution not in DRAWN_FORMS:
            residual = self.micro_batch.fit(lambda size: self._residuals(batch, parts_of(size), kept))
            gathered = self.processes.gather(residual)
            value, gradient = self.micro_batch.fit(
                lambda size: self._term_gradient(gathered, batch, len(parts_of(size)[0]))
            )
            total += value / self.processes.count
        pull: Callable[[int], None] | None = None
        if drawn is not None:
            value, pull = self._pull(drawn)
            total += value / self.processes.count

        def gradients(size: int) -> Tensor:
            loss = self._add_up(batch, parts_of(size), gradient, kept)
            if pull is not None:
                pull(size)
            return loss

        total += self.micro_batch.fit(gradients)
        return float(self.processes.sum(total))

    def _pull(self, batch: DrawnBatch) -> tuple[Tensor, Callable[[int], None]]:
        """Draw images; returns the weighted term, and a function that adds its gradients to the weights.

        The function takes the number of images to compute at once.
        """
        drawing = Drawing(self.generator, self.residual, self.settings.drawn_steps)
        share = self.processes.slice_of(len(batch.noise))
        drawn = self.micro_batch.fit(lambda size: drawing.draw(batch, share.split(size)))
        latents = self.processes.gather(drawn.latents)
        value, gradient = self.micro_batch.fit(lambda size: self._term_gradient(latents, batch.real, size))

        def pull(size: int) -> None:
            for part in torch.arange(len(share)).split(size):
                here = part.to(latents.device)
                found = drawing.last_steps(batch, share[part], drawn.x0[here], drawn.eps[here])
                scaled = self.scaler.scale((gradient[share[part].to(latents.device)] * found).sum())
                torch.autograd.backward(scaled)

        return value, pull

    def _residuals(self, batch: Batch, parts: Sequence[Tensor], kept: list[Tensor]) -> Tensor:
        """The residuals of all parts, without gradients; that of a single part is kept with its graph."""
        if len(parts) == 1:
            kept.append(self.residual(batch, parts[0]))
            return kept[0].detach()
        with torch.no_grad():
            return torch.cat([self.residual(batch, part) for part in parts])

    def _add_up(
        self, batch: Batch, parts: Sequence[Tensor], gradient: Tensor | None, kept: list[Tensor]
    ) -> Tensor:
        """Compute the gradients of the weights, part by part; returns the denoising loss of the parts."""
        for parameter in self.parameters:
            parameter.grad = None
        total = torch.zeros((), device=batch.x0.device)
        for part in parts:
            residual = kept.pop() if kept else self.residual(batch, part)
            loss = self.denoising_loss(residual, batch, part) * (len(part) / len(batch.labels))
            total += loss.detach()
            if gradient is not None:
                loss = loss + (gradient[part.to(gradient.device)] * residual).sum()
            torch.autograd.backward(self.scaler.scale(loss))
        return total

    def residual(self, batch: Batch, part: Tensor) -> Tensor:
        """Prediction minus target for the images ``part`` of a batch, float32 (len(part), C, h, w)."""
        here = part.to(batch.x0.device)
        if batch.conditioning is None:
            prompts = [batch.prompts[index] for index in part.tolist()]
            conditioning = encode_distinct(partial(self.generator.encode_prompts, gradients=True), prompts)
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

    def _denoised(self, batch: Batch, latents: Tensor, part: Tensor) -> Tensor:
        """Latents, noised and denoised at the timesteps and with the noise of the images ``part``."""
        selected = replace(batch.select(part.cpu()), x0=latents)
        residual = self.residual(selected, torch.arange(len(part)))
        return latents + x0_error(residual, self.generator.snr[selected.t], self.generator.prediction_type)

    def _term_gradient(self, residual: Tensor, batch: Batch, slice_size: int) -> tuple[Tensor, Tensor]:
        """The weighted term, and its gradient with respect to every residual of the batch."""
        assert self._term is not None
        weight = self.settings.distribution_weight or self._term.weight
        inputs = TermInputs(
            pixels=batch.pixels.to(residual.device),
            x0=batch.x0,
            labels=batch.labels.to(residual.device),
            snr=self.generator.snr[batch.t],
            gamma=self.settings.min_snr_gamma or math.inf,
            spaces=self.spaces,
            denoise=lambda latents, part: self._denoised(batch, latents, part),
            slice_size=slice_size,
            loss_scale=self.scaler.get_scale(),
        )
        value, gradient = self._term.compute(residual, inputs, self.generator)
        return weight * value, weight * gradient
