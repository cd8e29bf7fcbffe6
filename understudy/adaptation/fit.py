"""Fit a generator to the real train images: min-SNR denoising loss plus an optional distribution term."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from understudy.adaptation.adapter import adapter_fingerprint, save_images, save_projection
from understudy.adaptation.augmentations import AUGMENTATIONS
from understudy.adaptation.inputs import AdaptData, Batch, Inputs, evaluation_batch, step_seed
from understudy.adaptation.methods import METHODS
from understudy.adaptation.objective import Objective
from understudy.adaptation.settings import DRAWN_FORMS, AdaptSettings
from understudy.adaptation.terms import TERMS, reference_of
from understudy.core.errors import InputError
from understudy.core.files import readable, write_atomically, write_json
from understudy.core.micro_batch import MicroBatch
from understudy.core.processes import Processes
from understudy.functional.learning_curve import fall_of_second_half
from understudy.functional.weight_average import power_decay, power_exponent
from understudy.generators.generator import Adaptable
from understudy.generators.precision import adapting_precision
from understudy.generators.settings import VisualSettings
from understudy.generators.visual_guidance import VisualGuidance, check_widths, features_of

_WARMUP_STEPS = 20
PLATEAU = 0.01
"""Share by which the second half of all steps lowers the validation loss, below which it is at a plateau."""
_FIRST_SAVED = 60.0  # seconds after which the first checkpoint is written, however few steps were taken
_LONGEST_UNSAVED = 600.0  # seconds without a checkpoint afterwards
_FROM_START = "remove it, and the same command adapts from the first step again"


@dataclass(frozen=True, kw_only=True)
class AdaptStep:
    """One optimisation step.

    Attributes:
        step: number of the step, from 1.
        loss: loss of the step's batch.
        val_loss: denoising loss on held-out real images if it was measured after this step, otherwise None.
    """

    step: int
    loss: float
    val_loss: float | None


def adapt(
    generator: Adaptable,
    data: AdaptData,
    *,
    settings: AdaptSettings,
    seed: int,
    folder: Path,
    visual: VisualSettings | None = None,
) -> Iterator[AdaptStep]:
    """Train what the method selects until ``adapt.until``, and save the averaged weights of ``adapt.keep``.

    The batch and the noise of step i depend only on the seed and i, even with several processes. After an
    interruption, the same call resumes from the last checkpoint and ends with the same weights. The report is
    written last.

    Args:
        generator: generator to adapt; changed in place.
        data: real images and their prompts.
        settings: method, loss, number of steps.
        seed: decides batches, noise and initial weights.
        folder: folder for checkpoint, adapter and report.
        visual: image features that condition the denoiser; none if not given.

    Yields:
        One record per step.

    Raises:
        InputError: for a set of the wrong split, prompts or features that do not fit the generator, or a loss
            that is not finite.
    """
    processes = Processes()
    _check_data(settings, data, num_processes=processes.count)
    base = generator.fingerprint
    generator.learn_classes(data.prompt_names, seed=seed)
    guidance = _guidance(generator, data, visual, processes)
    parameters = _parameters(generator, settings, seed=seed, num_classes=len(data.prompt_names))
    projection = _projection(generator, visual, seed)
    parameters += [] if projection is None else projection.parameters()
    state = _State(parameters, settings, folder / "checkpoint.pt", _scaler(generator))
    if state.knows_images:
        generator.learn_images(data.train)
    inputs = Inputs(generator, data, settings=settings, guidance=guidance)
    objective = Objective(
        generator=generator,
        parameters=parameters,
        settings=settings,
        projection=projection,
        reference=reference_of(generator, data.train, settings),
        processes=processes,
        scaler=state.scaler,
        precision=adapting_precision(generator.device),
    )
    yield from _steps(state, objective, inputs, seed=seed, processes=processes)
    _assign(parameters, state.kept)
    if processes.is_main:
        report = {"visual": "none" if visual is None else visual.kind, "base": base}
        _save(folder, objective, data, state.report() | report | {"processes": processes.count})
    processes.wait()


def _parameters(
    generator: Adaptable, settings: AdaptSettings, *, seed: int, num_classes: int
) -> list[nn.Parameter]:
    """What the method trains, with the layer for the parameters of augmentations if there is one."""
    if settings.conditions_on_augmentation:
        generator.learn_augmentation(len(AUGMENTATIONS[settings.augmentation].changes))
    parameters = METHODS[settings.method](generator, settings, seed=seed, num_classes=num_classes)
    if not parameters:
        raise InputError(f"adapt.method {settings.method!r} trains nothing: leave the adapt stage out")
    return parameters


def _save(folder: Path, objective: Objective, data: AdaptData, report: dict[str, Any]) -> None:
    """Write the adapter, then the images that it has seen, then the report with its fingerprint."""
    settings = objective.settings
    objective.generator.save_adapter(folder, method=settings.method)
    if objective.projection is not None:
        save_projection(folder, objective.projection)
    save_images(folder, [data.train, data.val])
    report["fingerprint"] = adapter_fingerprint(folder)
    if settings.has_token:
        report["tokens"] = list(dict.fromkeys(settings.tokens(len(data.prompt_names))))
    write_json(folder / "report.json", report)


def _steps(
    state: _State, objective: Objective, inputs: Inputs, *, seed: int, processes: Processes
) -> Iterator[AdaptStep]:
    """Take the remaining steps; validate and save the state between them."""
    settings = state.settings
    held_out = inputs.val_batch(torch.Generator().manual_seed(step_seed(seed, -1)))
    at_once = MicroBatch(evaluation_batch(settings), work="the validation of an adaptation")

    def validate() -> float:
        loss = _validate(state, objective, held_out, at_once)
        if processes.count == 1:
            return loss
        # The loss of the main process decides everywhere, or processes could end at different steps.
        return float(processes.sum(torch.tensor(loss * processes.is_main, device=processes.device)))

    if state.step == 0:
        state.note_validation(validate())
    while state.end is None:
        rng = torch.Generator().manual_seed(step_seed(seed, state.step))
        batch = inputs.train_batch(rng)
        drawn = inputs.drawn_batch(rng) if settings.draws_at(state.step) else None
        loss = objective.backward(batch, drawn)
        processes.sum_gradients(state.parameters)
        state.update(loss)
        val_loss = None
        if state.is_validated:
            val_loss = validate()
            state.note_validation(val_loss)
        if processes.is_main and state.is_worth_saving:
            state.save()
        yield AdaptStep(step=state.step, loss=loss, val_loss=val_loss)


@final
class _State:
    """The content of a checkpoint: parameters, their average, the best average so far, and the optimiser."""

    def __init__(
        self,
        parameters: list[nn.Parameter],
        settings: AdaptSettings,
        checkpoint: Path,
        scaler: torch.amp.GradScaler,
    ) -> None:
        self.parameters = parameters
        self.settings = settings
        self.scaler = scaler
        self._checkpoint = checkpoint
        # On a GPU, one kernel instead of several for each parameter.
        is_fused = parameters[0].device.type != "cpu" or None
        self._optimizer = torch.optim.AdamW(
            parameters, lr=settings.learning_rate, weight_decay=1e-2, fused=is_fused
        )
        self.average = [parameter.detach().clone() for parameter in parameters]
        self.best = [value.clone() for value in self.average]
        self._curve: list[tuple[int, float]] = []
        self.step = 0
        self._patience, self._saved = _FIRST_SAVED, time.monotonic()
        self.knows_images = True  # checkpoints of earlier versions were made without
        if checkpoint.exists():
            with readable(checkpoint, mend=_FROM_START):
                stored = torch.load(checkpoint, weights_only=True, map_location="cpu")
            self._restore(stored)

    def update(self, loss: float) -> None:
        """Step the optimiser with the accumulated gradients, then update the average.

        The average forgets faster during the first steps.
        """
        if not math.isfinite(loss):
            raise InputError(
                f"the adaptation loss is {loss} at step {self.step + 1}: lower adapt.learning_rate"
            )
        for group in self._optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * min(1.0, (self.step + 1) / _WARMUP_STEPS)
        self.scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.scaler.step(self._optimizer)
        self.scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        decay = self._decay()
        for average, parameter in zip(self.average, self.parameters, strict=True):
            average.lerp_(parameter.detach(), 1 - decay)

    def _decay(self) -> float:
        """Share of the average that this step keeps."""
        if self.settings.ema_length is None:
            return min(self.settings.ema_decay, self.step / (self.step + 10))
        return power_decay(self.step, power_exponent(self.settings.ema_length))

    def note_validation(self, loss: float) -> None:
        """Add a validation loss to the curve, and keep the average if the loss is the lowest so far."""
        if not self._curve or loss < min(value for _, value in self._curve):
            self.best = [value.clone() for value in self.average]
        self._curve.append((self.step, loss))

    @property
    def is_validated(self) -> bool:
        """Whether the validation loss is measured after this step."""
        settings = self.settings
        return self.step % settings.validate_every == 0 or self.step in {settings.steps, settings.num_steps}

    @property
    def end(self) -> str | None:
        """Why the training ends at this step: ``steps``, ``plateau`` or ``max_steps``; None if it goes on."""
        if self.step < min(self.settings.steps, self.settings.num_steps):
            return None
        if self.settings.until == "steps" or not self.settings.num_steps:
            return "steps"
        steps, losses = zip(*self._curve, strict=True)
        fall = fall_of_second_half(steps, losses) if steps[-1] == self.step else None
        if fall is not None and fall < PLATEAU:
            return "plateau"
        return "max_steps" if self.step >= self.settings.num_steps else None

    @property
    def kept(self) -> list[Tensor]:
        """The result: the average with the lowest validation loss, or the last one."""
        return self.average if self.settings.keeps_last else self.best

    @property
    def is_worth_saving(self) -> bool:
        """Whether the settings want a checkpoint after this step, or the last one is long ago."""
        is_late = time.monotonic() - self._saved >= self._patience
        return is_late or self.step % self.settings.checkpoint_every == 0

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "parameters": [parameter.detach() for parameter in self.parameters],
            "average": self.average,
            "best": self.best,
            "optimizer": self._optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "curve": self._curve,
            "step": self.step,
            "knows_images": self.knows_images,
        }
        write_atomically(self._checkpoint, lambda path: torch.save(state, path))
        self._patience, self._saved = _LONGEST_UNSAVED, time.monotonic()

    def _restore(self, state: dict[str, Any]) -> None:
        _assign(self.parameters, state["parameters"])
        device = self.parameters[0].device
        self.average, self.best = (
            [value.to(device) for value in state[name]] for name in ("average", "best")
        )
        self._optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self._curve, self.step = [(step, loss) for step, loss in state["curve"]], state["step"]
        self.knows_images = state.get("knows_images", False)

    def report(self) -> dict[str, Any]:
        """The course of the training and the weights that are kept, for ``report.json``."""
        last, best = self._curve[-1], min(self._curve, key=lambda entry: entry[1])
        step, loss = last if self.settings.keeps_last else best
        count = sum(parameter.numel() for parameter in self.parameters)
        return {
            "method": self.settings.method,
            "distribution": self.settings.distribution,
            "steps": self.step,
            **({"end": self.end} if self.settings.until == "plateau" else {}),
            "best_step": step,
            "val_loss_before": self._curve[0][1],
            "val_loss_after": loss,
            "curve": self._curve,
            "trained_parameters": count if self.settings.num_steps else 0,
        }


def _check_data(settings: AdaptSettings, data: AdaptData, *, num_processes: int) -> None:
    data.train.check_split("train", purpose="adapting a generator")
    data.val.check_split("val", purpose="choosing the checkpoint of an adapted generator")
    counts = data.train.counts
    is_drawn, term = settings.distribution in DRAWN_FORMS, TERMS[settings.distribution]
    for name in ("batch_size", "drawn_images") if is_drawn else ("batch_size",):
        if (count := getattr(settings, name)) % num_processes:
            raise InputError(
                f"adapt.{name} must be a multiple of {num_processes}, the number of processes, got {count}"
            )
    classes = 1 if settings.has_token else min(settings.classes_per_batch, int((counts > 0).sum()))
    name = "drawn_images" if is_drawn else "batch_size"
    if term is not None and (is_drawn or term.within_class) and getattr(settings, name) < 2 * classes:
        raise InputError(
            f"adapt.{name} must be at least {2 * classes}, two images for each of {classes} classes, got "
            f"{getattr(settings, name)}, because adapt.distribution {settings.distribution!r} compares "
            "images of the same class: raise it, or lower adapt.classes_per_batch"
        )
    if settings.distribution == "covariance" and counts.max() < 2:
        raise InputError(
            "adapt.distribution 'covariance' needs a class with at least two train images, got one per "
            "class: choose another form, or give more images"
        )


def _scaler(generator: Adaptable) -> torch.amp.GradScaler:
    """Scales up the gradients of networks in float16, which would otherwise round to 0."""
    half = next(iter(generator.denoiser.parameters())).dtype == torch.float16
    return torch.amp.GradScaler(generator.device.type, enabled=half)


def _guidance(
    generator: Adaptable, data: AdaptData, visual: VisualSettings | None, processes: Processes
) -> VisualGuidance | None:
    if visual is None or visual.kind == "none":
        return None
    check_widths(generator, projection=visual.projection)
    if not processes.is_main:
        processes.wait()  # until the main process has written the cache
    features = features_of(generator, data.train, cache=data.feature_cache)
    if processes.is_main:
        processes.wait()
    return VisualGuidance(features, data.train, kind=visual.kind, images=visual.images)


def _projection(generator: Adaptable, visual: VisualSettings | None, seed: int) -> nn.Linear | None:
    if visual is None or visual.kind == "none" or not visual.projection:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(generator.feature_width, generator.token_width).to(generator.device)


@torch.no_grad()
def _validate(state: _State, objective: Objective, batch: Batch, at_once: MicroBatch) -> float:
    """Denoising loss of the averaged weights; the trained weights are put back afterwards."""

    def loss_of(part: Tensor) -> float:
        return objective.denoising_loss(objective.residual(batch, part), batch, part).item() * len(part)

    trained = [parameter.detach().clone() for parameter in state.parameters]
    _assign(state.parameters, state.average)
    everything = torch.arange(len(batch.labels))
    total = at_once.fit(lambda size: sum(map(loss_of, everything.split(size))))
    _assign(state.parameters, trained)
    return total / len(everything)


def _assign(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.data.copy_(value)
