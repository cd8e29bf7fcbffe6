"""Whether `class_conditional`, which begins with random weights, learns long enough to draw the classes."""

from __future__ import annotations

from understudy.data.image_kind import ImageKind, Look
from understudy.generators.settings import FEWEST_FROM_SCRATCH, TOO_FEW_FOR_PHOTOGRAPHS
from understudy.settings import Settings

_LARGER_THAN_DEFAULT = 64  # pixels: twice the width that class_conditional draws by default


def about_learning_from_scratch(look: Look, settings: Settings) -> tuple[str, ...]:
    """Warnings if the settings end too early, or draw smaller photographs; empty otherwise."""
    told, most = [], settings.adapt.num_steps
    if not _learns(settings):
        return ()
    if why := _too_few(most, look.kind, settings):
        told.append(f"warning: 'class_conditional' learns for at most {most:,} steps: {why}")
    is_large = look.kind == "photographs" and look.side >= _LARGER_THAN_DEFAULT
    if is_large and settings.generator.resolution is None:
        told.append(
            "warning: 'class_conditional' draws 32 pixels here, but half of the photographs have "
            f"{look.side} or more: --set generator.resolution=64 --set generator.patch=4, whose steps take "
            "as long"
        )
    return tuple(told)


def after_learning_from_scratch(steps: int, kind: ImageKind, settings: Settings) -> str | None:
    """The warning of a run whose adaptation ended after ``steps``; None if these may be enough."""
    why = _too_few(steps, kind, settings) if _learns(settings) else None
    return why and f"warning: 'class_conditional' learned for {steps:,} steps: {why}"


def _learns(settings: Settings) -> bool:
    return settings.generator.name == "class_conditional" and settings.adapt.adapter is None


def _too_few(steps: int, kind: ImageKind, settings: Settings) -> str | None:
    """What images look like after so few steps, and what to do; None if the steps may be enough."""
    more = f"understudy preview says what {_more_steps(settings)} costs"
    if steps < FEWEST_FROM_SCRATCH:
        return (
            f"with fewer than {FEWEST_FROM_SCRATCH} even digits are noise, and photographs take longer; "
            f"{more}"
        )
    is_large = kind == "photographs" and (settings.generator.resolution or 0) >= _LARGER_THAN_DEFAULT
    if not is_large or steps > TOO_FEW_FOR_PHOTOGRAPHS:
        return None
    return (
        f"photographs of 64 pixels hardly showed their class after {TOO_FEW_FOR_PHOTOGRAPHS:,} where that "
        "was measured: rather use a pipeline (--generator FOLDER or hub name) or ready-made images "
        f"(--generator folder); {more}"
    )


def _more_steps(settings: Settings) -> str:
    """Twice the steps that are too few; a lower limit of the settings is lifted, which would refuse them."""
    adapt, wanted = settings.adapt, 2 * TOO_FEW_FOR_PHOTOGRAPHS
    is_limited = adapt.until == "plateau" and adapt.max_steps is not None and adapt.max_steps < wanted
    lifted = " --set adapt.max_steps=null" if is_limited else ""
    return f"--set adapt.steps={wanted}{lifted}"
