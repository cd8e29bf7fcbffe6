"""Checks before a run that the images of control arms can be drawn and fit the real ones."""

from __future__ import annotations

import numpy as np

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import Splits
from understudy.generators.folder import FolderGenerator
from understudy.generators.generator import Generator
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.pipeline.strategies import settings_of_arms
from understudy.sampling.plan import Planner
from understudy.settings import Settings


def check_controls(settings: Settings, splits: Splits, *, generator: Generator | None, device: str) -> None:
    """Check that the images of every control arm fit the real ones and can be drawn.

    Args:
        settings: of the run.
        splits: the real images.
        generator: of the run, as it is before adaptation; None if it is sure to draw the run's prompts.
        device: torch device for other generators.

    Raises:
        InputError: naming what does not fit.
    """
    for arm, control in control_settings(settings, splits.train).items():
        if control.generator != settings.generator:
            ready_made = _retrieved(control.generator, settings.generator.name, splits, device=device)
            _check_plan(arm, ready_made, control, splits)
        elif generator is not None:
            _check_plan(arm, generator, control, splits)


def _retrieved(control: GeneratorSettings, name: str, splits: Splits, *, device: str) -> Generator:
    """The generator of the strategy ``retrieved``; messages name the settings that the user knows.

    Args:
        control: its settings.
        name: of the generator of the run.
        splits: the real images.
        device: torch device.

    Raises:
        InputError: if its images do not fit the classes, or cannot be read.
    """
    try:
        generator = load_generator(control, device=device)
        check_ready_made(generator, splits)
    except InputError as error:
        if control.name == "glyphs":
            raise InputError(
                "the strategy 'retrieved' needs images of your classes: give them as --set "
                '"generator.retrieved=[PATH]", or leave the strategy out. Without them it renders the images '
                f"that {name!r} was pretrained on, for which {error.problem}"
            ) from None
        problem, advice = (
            text.replace("generator.images", "generator.retrieved") for text in (error.problem, error.advice)
        )
        raise InputError(problem, advice) from None
    return generator


def check_ready_made(generator: Generator, splits: Splits) -> None:
    """Check the classes of a generator that has images, and that none of them is a held-out image.

    Raises:
        InputError: for other classes or copies of held-out images.
    """
    generator.available(splits.train.class_names)
    if isinstance(generator, FolderGenerator):
        generator.check_copies([splits.val, splits.test])


def control_settings(settings: Settings, train: LabelledSet) -> dict[str, Settings]:
    """The settings of control arms by name, of only one of several arms whose images are drawn alike.

    Raises:
        InputError: as :func:`effective_settings`.
    """
    found = dict[str, Settings]()
    for name, of_arm in settings_of_arms(settings, train).items():
        is_control = (of_arm.generator, of_arm.adapt) != (settings.generator, settings.adapt)
        others = [(other.generator, other.draw) for other in found.values()]
        if is_control and (of_arm.generator, of_arm.draw) not in others:
            found[name] = of_arm
    return found


def _check_plan(arm: str, generator: Generator, control: Settings, splits: Splits) -> None:
    """Plan one image per class of a control arm, which draws without the tokens and features of the run."""
    planner = Planner(
        train=splits.train,
        generator=generator,
        settings=control.draw,
        prompt_names=splits.prompt_names,
        seed=control.seed,
    )
    none = np.zeros(splits.train.num_classes, dtype=np.int64)
    try:
        planner.check(none, none + 1)
    except InputError as error:
        raise InputError(f"the images of the arm {arm!r} cannot be drawn: {error}") from None
