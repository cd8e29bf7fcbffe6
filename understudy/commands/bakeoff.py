"""Command bakeoff: the same small job with each of several generators, ranked on validation images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from understudy.commands.image_defaults import image_defaults
from understudy.commands.study import run_study
from understudy.commands.study_folder import stored_settings
from understudy.commands.study_ranking import ranking_arm
from understudy.core.errors import InputError
from understudy.core.progress import Observer
from understudy.settings import Settings, build
from understudy.training import photo_network

ARMS = ("real", "mixed", "synthetic")
"""Arms of a small job: the floor, the arm that ranks, and synthetic images alone."""
PER_CLASS = 50


def run_bakeoff(
    settings: Settings,
    out: Path,
    *,
    generators: Sequence[str] = ("mini", "class_conditional"),
    per_class: int = PER_CLASS,
    arms: Sequence[str] = ARMS,
    repeats: int = 1,
    device: str = "cpu",
    observer: Observer | None = None,
) -> dict[str, Any]:
    """Do the same small job with each generator that is not finished, and rank all of them.

    Args:
        settings: of the whole run that the small jobs stand for; the generator must not be given.
        out: the folder, which is that of a study.
        generators: names, pipelines and ready-made images; a generator that can be adapted gives two points,
            unless its name ends with ``:adapted`` or ``:vanilla``.
        per_class: synthetic images per class of a small job.
        arms: of a small job; the first that uses synthetic images ranks.
        repeats: small jobs of each generator, with other seeds, or other images with ``data.shots``.
        device: torch device.
        observer: receives messages and progress.

    Returns:
        The content of ``study.json``.

    Raises:
        InputError: as :func:`understudy.commands.study.run_study`, and for settings that contradict a
            bake-off.
    """
    check(settings)
    small = small_job(settings, per_class=per_class, arms=arms, begun=stored_settings(out))
    ranking_arm(build(settings.model_dump(mode="json", exclude_unset=True), small).compare)
    return run_study(
        "bakeoff",
        settings,
        out,
        points=generators,
        repeats=repeats,
        overrides=[small],
        device=device,
        observer=observer,
    )


def small_job(
    settings: Settings, *, per_class: int, arms: Sequence[str], begun: Settings | None = None
) -> dict[str, Any]:
    """Nested settings of a small job: fewer images, fewer arms, and no further measurements.

    Args:
        settings: of the whole run.
        per_class: synthetic images per class.
        arms: of the small job.
        begun: settings of the bake-off that is continued; it keeps the encoder that it began with.
    """
    off = {"measure": False}
    return {
        "draw": {"per_class": per_class},
        "compare": {"arms": list(arms), "refit": False, "transferability": False},
        "fidelity": _fidelity(settings, begun),
        "scale": {"times": []},
        "gap": off,
        "shift": off,
        "membership": off,
    }


def _fidelity(settings: Settings, begun: Settings | None) -> dict[str, Any]:
    """One encoder for all generators, so that distances can be compared; it knows images of this kind."""
    compare, given = settings.compare, settings.fidelity
    if given.encoder != "auto":
        return {"encoder": given.encoder}
    if begun is not None:
        return {"encoder": begun.fidelity.encoder, "measure": given.measure and begun.fidelity.measure}
    if compare.pretrained and compare.backbone != "mini":
        return {"encoder": "backbone"}
    if image_defaults(settings.data):  # photographs, which the bundled networks do not know
        return {"measure": False} if photo_network.photo_weights() is None else {"encoder": "photo"}
    return {"encoder": "backbone" if compare.pretrained else "mini"}


def check(settings: Settings) -> None:
    """Check that settings leave to the bake-off what it sets.

    Raises:
        InputError: for a setting that contradicts it, with what to write instead.
    """
    if given := settings.generator.model_fields_set & {"name", "images"}:
        raise InputError(
            f"a bake-off sets generator.{min(given)} itself, so it must not be given: leave it out, and name "
            "every generator in --generators"
        )
    for name in ("per_class", "of_classes"):
        if getattr(settings.draw, name):
            raise InputError(
                f"a bake-off draws as many images of each class, as --per-class says: leave draw.{name} out"
            )
    if settings.adapt.method == "none":
        raise InputError(
            "a bake-off tries generators with and without adaptation, so adapt.method must not be none: "
            "leave it or the recipe out, and write NAME:vanilla in --generators for those not to adapt"
        )
    if settings.adapt.adapter is not None:
        raise InputError(
            "adapt.adapter fits one generator only, so a bake-off cannot use it: leave it out; each "
            "generator is adapted here"
        )
    if settings.fidelity.encoder == "generator":
        raise InputError(
            "fidelity.encoder must be the same for all generators of a bake-off, got 'generator': choose "
            "another one (understudy list encoders)"
        )
