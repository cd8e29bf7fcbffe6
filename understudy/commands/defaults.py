"""Defaults that depend on the images and on the generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.commands.image_defaults import IMAGE_DEFAULTS, image_defaults
from understudy.commands.pipeline_defaults import PIPELINE_DEFAULTS, pipeline_defaults
from understudy.commands.study_folder import stored_settings
from understudy.core.config import merge
from understudy.data.settings import DataSettings
from understudy.pipeline.folder import RunFolder
from understudy.settings import Settings, build


def defaults_for(source: str | Path | DataSettings, *, generator: str = "mini") -> dict[str, Any]:
    """Settings that suit images and generator better than the general defaults, as a layer for :func:`build`.

    Photographs are mirrored and cropped (``compare.augmentation=flip-crop``, and the same while adapting a
    small generator; a large one sees them mirrored alone, so that each is encoded twice in all).
    If ``understudy[photo]`` is installed, classifiers start from a network that knows photographs, at the
    size of the images. ``class_conditional`` draws them with 64 pixels instead of 32. A pipeline of the size
    of Stable Diffusion is adapted by LoRA, with the learning rate and batch size of Real-Fake, and draws with
    guidance 2; one whose name says that it is distilled draws without guidance, FLUX.1 schnell in 4 steps.
    Pipelines of flow matching draw with ``flow-euler``.

    Args:
        source: images as a run reads them, or the settings of how to read them.
        generator: ``generator.name``.

    Returns:
        Nested settings; empty for characters and a small generator.

    Example:
        >>> defaults_for("digits")
        {}
    """
    data = source if isinstance(source, DataSettings) else DataSettings(source=str(source))
    chosen = pipeline_defaults(generator)
    merge(chosen, image_defaults(data, generator=generator))
    return chosen


def with_defaults(layers: Sequence[Mapping[str, Any]], folder: Path | None = None) -> Settings:
    """Build settings from ``layers`` and, below them, from defaults for the images and the generator.

    Args:
        layers: as for :func:`build`.
        folder: of a run or study. If it was begun, its defaults are kept, and no image is read.
    """
    given: dict[str, Any] = {}
    for layer in layers:
        merge(given, layer)
    begun = None if folder is None else begun_settings(folder)
    generator = _generator_of(layers)
    chosen = pipeline_defaults(generator) if begun is None else _kept(begun)
    plain = build(chosen, given)
    if begun is None:
        if plain.adapt.adapter is not None:  # whose method the user knows
            chosen.pop("adapt", None)
        merge(chosen, image_defaults(plain.data, generator=generator))
    if given.get("generator", {}).keys() & {"resolution", "patch", "channels"}:  # which must suit each other
        chosen.pop("generator", None)
    compare = chosen.get("compare", {})
    if not plain.compare.pretrained:  # what the network knows is the reason for it
        compare.pop("backbone", None)
    if (compare | given.get("compare", {})).get("backbone") != "photo":  # others have a size of their own
        compare.pop("resolution", None)
    return build(chosen, given)


def _generator_of(layers: Sequence[Mapping[str, Any]]) -> str:
    sections = [layer["generator"] for layer in layers if isinstance(layer.get("generator"), Mapping)]
    names = [section["name"] for section in sections if "name" in section]
    return str(names[-1]) if names else "mini"


def begun_settings(folder: Path) -> Settings | None:
    """The settings of the run or study in a folder; None if there is none."""
    return RunFolder.find(folder).settings if RunFolder.is_run(folder) else stored_settings(folder)


def _kept(begun: Settings) -> dict[str, Any]:
    """The settings of a run that some images or generators have by default, unless all others have them too.

    Those are left out, because a generator among the points of a study can have its own.
    """
    kept: dict[str, Any] = {}
    for possible in (IMAGE_DEFAULTS, PIPELINE_DEFAULTS):
        for section, values in possible.items():
            stored = {name: getattr(getattr(begun, section), name) for name in values}
            merge(kept, {section: {name: value for name, value in stored.items() if value in values[name]}})
    return kept
