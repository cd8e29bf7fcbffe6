"""Fit a generator to the real train images with the plain min-SNR denoising loss."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from understudy.adaptation.methods import METHODS
from understudy.data import LabelledSet
from understudy.errors import InputError
from understudy.functional.augment import random_affine
from understudy.functional.denoising import min_snr_weight, signal_to_noise_ratio, weighted_denoising_loss
from understudy.nouns import Generator
from understudy.runs import write_atomically, write_json
from understudy.settings import AdaptSettings

_WARMUP_STEPS = 20


@dataclass(frozen=True, kw_only=True)
class AdaptStep:
    """One optimisation step.

    Attributes:
        step: counted from 1.
        loss: of this step's batch.
        val_loss: on held-out real images, where it was measured.
    """

    step: int
    loss: float
    val_loss: float | None


def adapt(
    generator: Generator,
    train: LabelledSet,
    val: LabelledSet,
    *,
    settings: AdaptSettings,
    prompt_names: Sequence[str],
    seed: int,
    folder: Path,
) -> Iterator[AdaptStep]:
    """Train the denoiser; the averaged weights with the lowest validation loss end in ``folder``.

    The batch and the noise of step i depend on the seed and on i alone. A run that was stopped goes on from its last
    checkpoint in ``folder`` and ends with the same weights. ``folder/report.json`` is written last.

    Args:
        generator: what to adapt; it is changed.
        train: real train images.
        val: real validation images, for choosing the checkpoint.
        settings: method, steps and so on.
        prompt_names: class names for prompts, by label.
        seed: of batches, noise and initial weights.
        folder: where checkpoint, adapter and report go.

    Yields:
        A record per step.

    Raises:
        InputError: for a set of the wrong split, or if the loss is not finite.
    """
    train.require("train", purpose="adapting a generator")
    val.require("val", purpose="choosing the checkpoint of an adapted generator")
    parameters = METHODS[settings.method](generator.denoiser, settings, seed)
    if not parameters:
        raise InputError(f"adapt.method {settings.method!r} trains nothing: leave the adapt stage out")
    state = _State(parameters, settings, folder / "checkpoint.pt")
    inputs = _Inputs(generator, train, settings, prompt_names)
    validate = _validation(generator, val, settings, prompt_names, seed)
    if state.step == 0:
        state.note_validation(_with_average(state, validate))

    while state.step < settings.steps:
        rng = torch.Generator().manual_seed(_step_seed(seed, state.step))
        loss = _loss(generator, *inputs.batch(rng), gamma=settings.min_snr_gamma, rng=rng)
        state.update(loss)
        val_loss = None
        if state.step % settings.validate_every == 0 or state.step == settings.steps:
            val_loss = _with_average(state, validate)
            state.note_validation(val_loss)
        if state.step % settings.checkpoint_every == 0:
            state.save()
        yield AdaptStep(step=state.step, loss=loss.item(), val_loss=val_loss)

    for parameter, best in zip(parameters, state.best, strict=True):
        parameter.data.copy_(best)
    generator.save_adapter(folder, method=settings.method)
    write_json(folder / "report.json", state.report(folder, settings))


class _State:
    """Parameters, their average, the best average so far, and the optimiser; saved whole."""

    def __init__(self, parameters: list[nn.Parameter], settings: AdaptSettings, checkpoint: Path) -> None:
        self.parameters = parameters
        self.checkpoint = checkpoint
        self._settings = settings
        self._optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=1e-2)
        self.average = [parameter.detach().clone() for parameter in parameters]
        self.best = [value.clone() for value in self.average]
        self.curve: list[tuple[int, float]] = []
        self.step = 0
        if checkpoint.exists():
            self._restore(torch.load(checkpoint, weights_only=True, map_location=parameters[0].device))

    def update(self, loss: Tensor) -> None:
        """One optimiser step, then the average, which forgets faster in the first steps."""
        if not torch.isfinite(loss):
            raise InputError(f"the adaptation loss is {loss.item()} at step {self.step + 1}: lower adapt.learning_rate")
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * min(1.0, (self.step + 1) / _WARMUP_STEPS)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self._optimizer.step()
        self.step += 1
        decay = min(self._settings.ema_decay, self.step / (self.step + 10))
        for average, parameter in zip(self.average, self.parameters, strict=True):
            average.lerp_(parameter.detach(), 1 - decay)

    def note_validation(self, loss: float) -> None:
        if not self.curve or loss < min(value for _, value in self.curve):
            self.best = [value.clone() for value in self.average]
        self.curve.append((self.step, loss))

    def save(self) -> None:
        state = {
            "parameters": [parameter.detach() for parameter in self.parameters],
            "average": self.average,
            "best": self.best,
            "optimizer": self._optimizer.state_dict(),
            "curve": self.curve,
            "step": self.step,
        }
        write_atomically(self.checkpoint, lambda path: torch.save(state, path))

    def _restore(self, state: dict[str, Any]) -> None:
        for parameter, value in zip(self.parameters, state["parameters"], strict=True):
            parameter.data.copy_(value)
        self.average, self.best = state["average"], state["best"]
        self._optimizer.load_state_dict(state["optimizer"])
        self.curve, self.step = [(step, loss) for step, loss in state["curve"]], state["step"]

    def report(self, folder: Path, settings: AdaptSettings) -> dict[str, Any]:
        best_step, best_loss = min(self.curve, key=lambda entry: entry[1])
        return {
            "method": settings.method,
            "steps": self.step,
            "best_step": best_step,
            "val_loss_before": self.curve[0][1],
            "val_loss_after": best_loss,
            "curve": self.curve,
            "trained_parameters": sum(parameter.numel() for parameter in self.parameters),
            "fingerprint": adapter_fingerprint(folder),
        }


class _Inputs:
    """Batches of (latents, states): random images without repeats, a share of the captions empty."""

    def __init__(self, generator: Generator, train: LabelledSet, settings: AdaptSettings, prompt_names: Sequence[str]) -> None:
        self._generator = generator
        self._settings = settings
        self._pixels = torch.from_numpy(train.pixels(generator.image_size))
        self._labels = torch.from_numpy(train.labels)
        self._states = _class_states(generator, settings.prompt, prompt_names)
        self._no_text = generator.encode_prompts([""])[0]

    def batch(self, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        index = _choose(len(self._pixels), self._settings.batch_size, rng)
        pixels = self._pixels[index]
        if self._settings.augment:
            moved = random_affine(pixels.float(), rng, shift=0.06, degrees=8.0, scale=0.08, shear=8.0)
            pixels = moved.round().clamp(0, 255).to(torch.uint8)
        states = self._states[self._labels[index]].clone()
        states[torch.rand(len(index), generator=rng) < self._settings.caption_dropout] = self._no_text
        return self._generator.encode_images(pixels), states


def adapter_fingerprint(folder: Path) -> str:
    """SHA-256 over the safetensors files of an adapter folder, shortened."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _loss(generator: Generator, x0: Tensor, states: Tensor, *, gamma: float, rng: torch.Generator) -> Tensor:
    eps = torch.randn(x0.shape, generator=rng).to(x0)
    t = torch.randint(len(generator.alpha_bar), (len(x0),), generator=rng).to(x0.device)
    return _weighted_loss(generator, x0, eps, t, states, gamma=gamma)


def _weighted_loss(generator: Generator, x0: Tensor, eps: Tensor, t: Tensor, states: Tensor, *, gamma: float) -> Tensor:
    weight = min_snr_weight(signal_to_noise_ratio(generator.alpha_bar, t), gamma, generator.prediction_type)
    return weighted_denoising_loss(generator.denoising_residual(x0, eps, t, states), weight)


def _validation(generator: Generator, val: LabelledSet, settings: AdaptSettings, prompt_names: Sequence[str], seed: int) -> Any:
    """A function that measures the loss on the same images, timesteps and noise every time."""
    rng = torch.Generator().manual_seed(_step_seed(seed, -1))
    index = _choose(len(val), settings.validation_pairs, rng)
    chosen, index = index.unique(return_inverse=True)
    pixels = torch.from_numpy(val.select(chosen.numpy()).pixels(generator.image_size))
    latents = torch.cat([generator.encode_images(part) for part in pixels.split(settings.batch_size)])
    states = _class_states(generator, settings.prompt, prompt_names)
    labels = torch.from_numpy(val.labels)[chosen]
    eps = torch.randn((len(index), *latents.shape[1:]), generator=rng)
    # Timesteps lie evenly over the schedule, so that chance does not decide how hard the measurement is.
    t = ((torch.randperm(len(index), generator=rng) + 0.5) / len(index) * len(generator.alpha_bar)).long()

    @torch.no_grad()
    def validate() -> float:
        total = 0.0
        for part in torch.arange(len(index)).split(4 * settings.batch_size):
            image = index[part]
            x0 = latents[image]
            loss = _weighted_loss(
                generator, x0, eps[part].to(x0), t[part].to(x0.device), states[labels[image]], gamma=settings.min_snr_gamma
            )
            total += loss.item() * len(part)
        return total / len(index)

    return validate


def _with_average(state: _State, validate: Any) -> float:
    """Measure with the averaged weights, then put the trained ones back."""
    trained = [parameter.detach().clone() for parameter in state.parameters]
    _assign(state.parameters, state.average)
    loss = float(validate())
    _assign(state.parameters, trained)
    return loss


def _assign(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data.copy_(value)


def _class_states(generator: Generator, template: str, prompt_names: Sequence[str]) -> Tensor:
    return generator.encode_prompts([template.replace("{class}", name) for name in prompt_names])


def _choose(num_images: int, batch_size: int, rng: torch.Generator) -> Tensor:
    """Random indices, each image once before any comes again."""
    rounds = -(-batch_size // num_images)
    return torch.cat([torch.randperm(num_images, generator=rng) for _ in range(rounds)])[:batch_size]


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step + 1, 0xADA]).generate_state(1, np.uint64)[0] >> 1)
