"""Guidance by exemplars while drawing: every image is moved towards the features of one real image.

After Chamfer guidance (Dall'Asen et al. 2025, arXiv:2508.10631); docs/methods/drawing.md says what differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from itertools import count
from typing import Any, final

import torch
from torch import Tensor

from understudy.data.labelled_set import LabelledSet
from understudy.functional.denoising import predicted_x0, x0_error
from understudy.functional.exemplars import descended, exemplar_distance
from understudy.generators.generator import Adaptable, PlanRow
from understudy.generators.sources import real_pixels
from understudy.generators.visual_guidance import to_unit

_AT_ONCE = 8  # images whose graph through autoencoder and encoder is in memory
_SCALE = 1024.0  # keeps gradients through half-precision networks from vanishing; only their direction counts


@final
class ExemplarGuidance:
    """Changes predictions so that the images of a batch come closer to their exemplars.

    The predicted clean latents are decoded, and the image encoder computes their features. The gradient of
    the distance to the exemplar moves the latents. It does not flow through the denoiser, as in He et al.
    2024 (arXiv:2311.16424), which saves the memory and the time of its backward pass.

    Args:
        generator: with an image encoder.
        rows: N rows of a batch.
        sources: real train images with the exemplars of the rows.

    Raises:
        InputError: if an exemplar is missing or not a train image, or there is no image encoder.
    """

    def __init__(self, generator: Adaptable, rows: Sequence[PlanRow], sources: LabelledSet | None) -> None:
        self._generator, self._rows = generator, rows
        ids = list(dict.fromkeys(row.exemplar_id for row in rows if row.exemplar_weight))
        pixels = real_pixels(ids, sources, generator.image_size, needs="draw.exemplar_weight above 0")
        with torch.inference_mode(mode=False), torch.no_grad():  # for tensors that gradients may use
            parts = to_unit(pixels.to(generator.device)).split(_AT_ONCE)
            features = torch.cat([generator.encode_features(part) for part in parts])
        place = {name: index for index, name in enumerate(ids)}
        self._exemplars = features[[place.get(row.exemplar_id, 0) for row in rows]]
        self._weights = torch.tensor([row.exemplar_weight for row in rows], device=generator.device)

    def changed(self, prediction: Tensor, x_t: Tensor, snr: float, step: int) -> Tensor:
        """The prediction that gives the guided clean latents.

        Args:
            prediction: of the denoiser, with classifier-free guidance if there is any, (N, C, h, w).
            x_t: noisy latents, as prediction.
            snr: their signal-to-noise ratio.
            step: number of the step, from 0; an image is guided in every ``exemplar_every``-th.

        Returns:
            As prediction; row i alone decides image i.
        """
        guided = [
            index
            for index, row in enumerate(self._rows)
            if row.exemplar_weight and step % row.exemplar_every == 0
        ]
        result = prediction.clone()
        for start in range(0, len(guided), _AT_ONCE):
            part = torch.tensor(guided[start : start + _AT_ONCE], device=prediction.device)
            result[part] = self._guided(prediction[part], x_t[part], snr, part).to(prediction.dtype)
        return result

    def _guided(self, prediction: Tensor, x_t: Tensor, snr: float, part: Tensor) -> Tensor:
        kind, snrs = self._generator.prediction_type, torch.full((len(part),), snr, device=part.device)
        x0 = predicted_x0(x_t.float(), prediction.float(), snrs, kind)
        moved = descended(x0, self._gradient(x0, part), self._weights[part], snrs)
        per_residual = x0_error(torch.ones_like(x0[:, :1, :1, :1]), snrs, kind)
        return prediction.float() + (moved - x0) / per_residual

    def _gradient(self, x0: Tensor, part: Tensor) -> Tensor:
        """Gradient of each image's distance to its exemplar, times a constant, as x0."""
        with torch.inference_mode(mode=False), torch.enable_grad():
            leaf = x0.clone().requires_grad_()
            features = self._generator.encode_features(self._generator.decode_latents(leaf))
            distance = exemplar_distance(features, self._exemplars[part.clone()]).sum()
            return torch.autograd.grad(_SCALE * distance, leaf)[0]


def guide(
    solver: Any,
    guidance: ExemplarGuidance,
    *,
    grid_snr: Callable[[Any], Tensor],
    pack: Callable[[Tensor], Tensor],
    unpack: Callable[[Tensor], Tensor],
) -> None:
    """Guide a batch: every prediction is changed before a solver of diffusers uses it.

    Args:
        solver: for this batch alone; its method ``step`` is replaced.
        guidance: of the rows of the batch.
        grid_snr: computes the signal-to-noise ratio at each timestep of a solver.
        pack: brings latents (N, C, h, w) into the form in which the pipeline gives them to the solver.
        unpack: the inverse of ``pack``.
    """
    plain, numbers = solver.step, count()

    @wraps(plain)  # pipelines read the signature
    def step(prediction: Tensor, time: Any, x_t: Tensor, *args: Any, **options: Any) -> Any:
        place = int((solver.timesteps == time).nonzero()[0])
        snr = float(grid_snr(solver)[place])
        changed = guidance.changed(unpack(prediction), unpack(x_t), snr, next(numbers))
        return plain(pack(changed), time, x_t, *args, **options)

    solver.step = step
