"""Fit a generator to the real train images: min-SNR denoising loss plus an optional distribution term."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from understudy.adaptation.adapter import adapter_fingerprint, save_images, save_projection
from understudy.adaptation.augmentations import AUGMENTATIONS
from understudy.adaptation.inputs import AdaptData, Batch, Inputs, evaluation_batch, step_seed
from understudy.adaptation.methods import METHODS
from understudy.adaptation.objective import Objective
from understudy.adaptation.settings import DRAWN_FORMS, AdaptSettings
from understudy.adaptation.state import State, assign
from understudy.adaptation.terms import TERMS, feature_spaces
from understudy.core.errors import InputError
from understudy.core.files import write_json
from understudy.core.micro_batch import MicroBatch
from understudy.core.processes import Processes
from understudy.generators.generator import Adaptable
from understudy.generators.precision import adapting_precision
from understudy.generators.settings import VisualSettings
from understudy.generators.visual_guidance import VisualGuidance, check_widths, features_of


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
    state = State(parameters, settings, folder / "checkpoint.pt", _scaler(generator))
    if state.knows_images:
        generator.learn_images(data.train)
    inputs = Inputs(generator, data, settings=settings, guidance=guidance, processes=processes)
    objective = Objective(
        generator=generator,
        parameters=parameters,
        settings=settings,
        projection=projection,
        spaces=feature_spaces(generator, data.train, settings, data.encoders),
        processes=processes,
        scaler=state.scaler,
        precision=adapting_precision(generator.device),
    )
    yield from _steps(state, objective, inputs, seed=seed, processes=processes)
    assign(parameters, state.kept)
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
    state: State, objective: Objective, inputs: Inputs, *, seed: int, processes: Processes
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
def _validate(state: State, objective: Objective, batch: Batch, at_once: MicroBatch) -> float:
    """Denoising loss of the averaged weights; the trained weights are put back afterwards."""

    def loss_of(part: Tensor) -> float:
        return objective.denoising_loss(objective.residual(batch, part), batch, part).item() * len(part)

    trained = [parameter.detach().clone() for parameter in state.parameters]
    assign(state.parameters, state.average)
    everything = torch.arange(len(batch.labels))
    total = at_once.fit(lambda size: sum(map(loss_of, everything.split(size))))
    assign(state.parameters, trained)
    return total / len(everything)
