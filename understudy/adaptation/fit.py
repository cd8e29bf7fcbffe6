"""Fit a generator to the real train images: min-SNR denoising loss plus, if asked for, a distribution term."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from understudy.adaptation.adapter import adapter_fingerprint, save_images, save_projection
from understudy.adaptation.inputs import Batch, Inputs, step_seed
from understudy.adaptation.methods import METHODS
from understudy.adaptation.objective import Objective
from understudy.adaptation.settings import AdaptSettings
from understudy.adaptation.terms import TERMS
from understudy.core.errors import InputError
from understudy.core.files import write_atomically, write_json
from understudy.core.processes import Processes
from understudy.data.labelled_set import LabelledSet
from understudy.functional.mmd import median_bandwidth
from understudy.generators.generator import Generator
from understudy.generators.settings import VisualSettings
from understudy.generators.visual_guidance import VisualGuidance, check_widths, features_of

_WARMUP_STEPS = 20
_MAX_BANDWIDTH_IMAGES = 1000


@dataclass(frozen=True, kw_only=True)
class AdaptStep:
    """One optimisation step.

    Attributes:
        step: counted from 1.
        loss: of this step's batch.
        val_loss: denoising loss on held-out real images, where it was measured.
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
    visual: VisualSettings | None = None,
    feature_cache: Path | None = None,
) -> Iterator[AdaptStep]:
    """Train what the method says; the averaged weights with the lowest validation loss end in ``folder``.

    The batch and the noise of step i depend on the seed and on i alone, also with several processes. A run that was stopped
    goes on from its last checkpoint in ``folder`` and ends with the same weights. ``folder/report.json`` is written last.

    Args:
        generator: what to adapt; it is changed.
        train: real train images.
        val: real validation images, for choosing the checkpoint.
        settings: method, steps and so on.
        prompt_names: class names for prompts, by label.
        seed: of batches, noise and initial weights.
        folder: where checkpoint, adapter and report go.
        visual: which image features condition the denoiser; none if not given.
        feature_cache: file that keeps the features of the train images.

    Yields:
        A record per step.

    Raises:
        InputError: for a set of the wrong split, prompts or features that do not fit the generator, or if the loss is not
            finite.
    """
    train.require("train", purpose="adapting a generator")
    val.require("val", purpose="choosing the checkpoint of an adapted generator")
    processes, term = Processes(), TERMS[settings.distribution]
    within_class = term is not None and term.within_class
    _check_batch(settings, train, within_class=within_class, num_processes=processes.count)
    base = generator.fingerprint
    generator.learn_classes(prompt_names, seed=seed)
    guidance = _guidance(generator, train, visual, feature_cache, processes)
    parameters = METHODS[settings.method](generator, settings, seed=seed, num_classes=len(prompt_names))
    if not parameters:
        raise InputError(f"adapt.method {settings.method!r} trains nothing: leave the adapt stage out")
    inputs = Inputs(
        generator, train, val, settings=settings, prompt_names=prompt_names, visual=guidance,
        within_class=within_class,
    )  # fmt: skip
    projection = _projection(generator, visual, seed)
    if projection is not None:
        parameters = [*parameters, *projection.parameters()]
    half = next(iter(generator.denoiser.parameters())).dtype == torch.float16  # its gradients vanish unless they are scaled up
    state = _State(parameters, settings, folder / "checkpoint.pt", torch.amp.GradScaler(generator.device.type, enabled=half))
    objective = Objective(
        generator, settings=settings, no_text=inputs.no_text(), projection=projection, processes=processes, scaler=state.scaler,
        bandwidths=_bandwidths(generator, train) if settings.distribution == "kernel" else torch.empty(0),
    )  # fmt: skip
    held_out = inputs.val_batch(torch.Generator().manual_seed(step_seed(seed, -1)))
    if state.step == 0:
        state.note_validation(_validate(state, objective, held_out))

    while state.step < settings.num_steps:
        rng = torch.Generator().manual_seed(step_seed(seed, state.step))
        loss = objective.backward(inputs.train_batch(rng))
        processes.sum_gradients(parameters)
        state.update(loss)
        val_loss = None
        if state.step % settings.validate_every == 0 or state.step == settings.num_steps:
            val_loss = _validate(state, objective, held_out)
            state.note_validation(val_loss)
        if state.step % settings.checkpoint_every == 0 and processes.is_main:
            state.save()
        yield AdaptStep(step=state.step, loss=loss, val_loss=val_loss)

    _assign(parameters, state.best)
    if processes.is_main:
        generator.save_adapter(folder, method=settings.method)
        if projection is not None:
            save_projection(folder, projection)
        save_images(folder, [train, val])
        made = {
            "visual": "none" if visual is None else visual.kind,
            "base": base,
            "processes": processes.count,
            "fingerprint": adapter_fingerprint(folder),
            **({"tokens": list(dict.fromkeys(settings.tokens(len(prompt_names))))} if settings.has_token else {}),
        }
        write_json(folder / "report.json", state.report(settings) | made)
    processes.wait()


@final
class _State:
    """Parameters, their average, the best average so far, and the optimiser; saved whole."""

    def __init__(self, parameters: list[nn.Parameter], settings: AdaptSettings, checkpoint: Path, scaler: torch.amp.GradScaler) -> None:
        self.parameters = parameters
        self.checkpoint = checkpoint
        self.scaler = scaler
        self._settings = settings
        self._optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=1e-2)
        self.average = [parameter.detach().clone() for parameter in parameters]
        self.best = [value.clone() for value in self.average]
        self.curve: list[tuple[int, float]] = []
        self.step = 0
        if checkpoint.exists():
            self._restore(torch.load(checkpoint, weights_only=True, map_location=parameters[0].device))

    def update(self, loss: float) -> None:
        """One optimiser step with the gradients that are there, then the average, which forgets faster in the first steps."""
        if not math.isfinite(loss):
            raise InputError(f"the adaptation loss is {loss} at step {self.step + 1}: lower adapt.learning_rate")
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * min(1.0, (self.step + 1) / _WARMUP_STEPS)
        self.scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.scaler.step(self._optimizer)
        self.scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        decay = min(self._settings.ema_decay, self.step / (self.step + 10))
        for average, parameter in zip(self.average, self.parameters, strict=True):
            average.lerp_(parameter.detach(), 1 - decay)

    @property
    def validation_slice(self) -> int:
        """Images at once where no gradients are kept."""
        return self._settings.micro_batch or 4 * self._settings.batch_size

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
            "scaler": self.scaler.state_dict(),
            "curve": self.curve,
            "step": self.step,
        }
        write_atomically(self.checkpoint, lambda path: torch.save(state, path))

    def _restore(self, state: dict[str, Any]) -> None:
        _assign(self.parameters, state["parameters"])
        self.average, self.best = state["average"], state["best"]
        self._optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.curve, self.step = [(step, loss) for step, loss in state["curve"]], state["step"]

    def report(self, settings: AdaptSettings) -> dict[str, Any]:
        best_step, best_loss = min(self.curve, key=lambda entry: entry[1])
        return {
            "method": settings.method,
            "distribution": settings.distribution,
            "steps": self.step,
            "best_step": best_step,
            "val_loss_before": self.curve[0][1],
            "val_loss_after": best_loss,
            "curve": self.curve,
            "trained_parameters": sum(parameter.numel() for parameter in self.parameters) if settings.num_steps else 0,
        }


def _check_batch(settings: AdaptSettings, train: LabelledSet, *, within_class: bool, num_processes: int) -> None:
    if settings.batch_size % num_processes:
        raise InputError(f"adapt.batch_size must be a multiple of {num_processes}, the number of processes, got {settings.batch_size}")
    classes = 1 if settings.has_token else min(settings.classes_per_batch, int((train.counts > 0).sum()))
    if within_class and settings.batch_size < 2 * classes:
        raise InputError(
            f"adapt.batch_size must be at least {2 * classes}, two images of each of {classes} classes, got {settings.batch_size}: "
            f"adapt.distribution {settings.distribution!r} compares images of one class; or lower adapt.classes_per_batch"
        )


def _guidance(
    generator: Generator, train: LabelledSet, visual: VisualSettings | None, cache: Path | None, processes: Processes
) -> VisualGuidance | None:
    if visual is None or visual.kind == "none":
        return None
    check_widths(generator, projection=visual.projection)
    if not processes.is_main:
        processes.wait()  # until the first one has written the cache
    features = features_of(generator, train, cache=cache)
    if processes.is_main:
        processes.wait()
    return VisualGuidance(features, train, kind=visual.kind, images=visual.images)


def _projection(generator: Generator, visual: VisualSettings | None, seed: int) -> nn.Linear | None:
    if visual is None or visual.kind == "none" or not visual.projection:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(generator.feature_width, generator.token_width).to(generator.device)


def _bandwidths(generator: Generator, train: LabelledSet) -> Tensor:
    """Of the kernel: half, once and twice the median distance of real images."""
    spread = np.linspace(0, len(train) - 1, min(len(train), _MAX_BANDWIDTH_IMAGES)).astype(np.int64)
    features = features_of(generator, train.select(spread))
    return (median_bandwidth(features) * torch.tensor([0.5, 1.0, 2.0])).to(generator.device)


@torch.no_grad()
def _validate(state: _State, objective: Objective, batch: Batch) -> float:
    """Denoising loss of the averaged weights; the trained ones are put back."""
    trained = [parameter.detach().clone() for parameter in state.parameters]
    _assign(state.parameters, state.average)
    size, total = len(batch.labels), 0.0
    for part in torch.arange(size).split(state.validation_slice):
        total += objective.denoising_loss(objective.residual(batch, part), batch, part).item() * len(part)
    _assign(state.parameters, trained)
    return total / size


def _assign(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data.copy_(value)
