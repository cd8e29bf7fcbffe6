"""All settings of a run: one section per stage or subject, the rules between sections, and YAML.

A setting can come from several places, of which the later ones win: defaults, preset, recipe, options of the
command line, ``--set``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import model_validator

from understudy.adaptation.settings import AdaptSettings
from understudy.core.config import (
    Section,
    facts_of,
    flatten,
    merge,
    owner_of,
    read_yaml,
    sections_in,
    setting,
    validated,
)
from understudy.core.errors import InputError
from understudy.core.settings import ComputeSettings, TrackSettings
from understudy.curation.settings import CurateSettings
from understudy.data.settings import CaptionSettings, DataSettings
from understudy.evaluation.settings import (
    FidelitySettings,
    GapSettings,
    MembershipSettings,
    ScaleSettings,
    ShiftSettings,
)
from understudy.generators.pipeline_size import is_large
from understudy.generators.settings import GeneratorSettings, VisualSettings
from understudy.sampling.settings import DrawSettings
from understudy.training.settings import CompareSettings, TuneSettings


class Settings(Section):
    """All settings of a run: the seed, and one section per stage or subject."""

    seed: int = setting(0, ge=0, lt=2**63, decides="pixels")
    """Seed of every random choice."""
    data: DataSettings
    generator: GeneratorSettings = GeneratorSettings()
    captions: CaptionSettings = CaptionSettings()
    visual: VisualSettings = VisualSettings()
    adapt: AdaptSettings = AdaptSettings()
    draw: DrawSettings = DrawSettings()
    curate: CurateSettings = CurateSettings()
    fidelity: FidelitySettings = FidelitySettings()
    tune: TuneSettings = TuneSettings()
    compare: CompareSettings = CompareSettings()
    scale: ScaleSettings = ScaleSettings()
    gap: GapSettings = GapSettings()
    shift: ShiftSettings = ShiftSettings()
    membership: MembershipSettings = MembershipSettings()
    compute: ComputeSettings = ComputeSettings()
    track: TrackSettings = TrackSettings()

    @model_validator(mode="after")
    def _guidance_is_adapted(self) -> Self:
        if self.visual.kind != "none" and not self.adapt.num_steps:
            raise ValueError(
                f"visual.kind {self.visual.kind!r} needs a generator adapted with image features, got "
                f"adapt.method {self.adapt.method!r}: choose 'lora' or 'full'"
            )
        return self

    @model_validator(mode="after")
    def _ready_made_images_are_not_changed(self) -> Self:
        needs_process = self.draw.starts_from_real or self.visual.kind != "none" or self.adapt.num_steps
        if self.generator.is_ready_made and needs_process:
            raise ValueError(
                f"the generator {self.generator.name!r} gives ready-made images, which cannot be adapted, "
                "guided or started from real images: leave adapt.method, visual.kind, draw.strength and "
                "draw.start_snr out"
            )
        return self

    @model_validator(mode="after")
    def _members_differ(self) -> Self:
        if self.draw.members > 1 and (not self.adapt.num_steps or self.adapt.adapter is not None):
            also = " and an adapter" if self.adapt.adapter else ""
            raise ValueError(
                f"draw.members {self.draw.members} needs generators that the run adapts with different "
                f"seeds, got adapt.method {self.adapt.method!r}{also}: leave draw.members out"
            )
        return self

    @model_validator(mode="after")
    def _sizes_are_nested(self) -> Self:
        if self.scale.stop_below is not None and not self.curate.keeps_first:
            name = "direction" if self.curate.select == "first" else "select"
            raise ValueError(
                "scale.stop_below needs sets that contain the smaller ones, which only curate.select 'first' "
                f"without curate.direction gives, got curate.{name} {getattr(self.curate, name)!r}: leave "
                "one of them out"
            )
        return self

    @model_validator(mode="after")
    def _sizes_are_multiples(self) -> Self:
        if self.scale.times and self.draw.of_classes:
            raise ValueError(
                "scale.times makes sets that are multiples of the train split, in which draw.of_classes "
                f"cannot hold, got {self.draw.of_classes}: leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _tokens_have_no_scale(self) -> Self:
        if self.adapt.has_token and self.draw.adapter_scale != 1:
            raise ValueError(
                f"draw.adapter_scale must be 1 with adapt.method {self.adapt.method!r}, got "
                f"{self.draw.adapter_scale}: a token cannot be applied in part"
            )
        return self


_DEFAULTS_FOR: dict[str, dict[str, Any]] = {
    "class_conditional": {
        # Training a new network takes longer than adapting a trained one.
        "adapt": {
            "prompt": "{class}",
            "steps": 2000,
            "until": "plateau",
            "learning_rate": 1e-3,
            "min_snr_gamma": None,
            "ema_decay": 0.995,  # without ema_length, as in earlier versions
            "ema_length": 0.1,
        },
        "draw": {"prompt": "{class}", "sampler": "edm"},
    },
    "folder": {"adapt": {"method": "none"}},
    "glyphs": {"adapt": {"method": "none"}},
}
"""Defaults that depend on the generator; presets, recipes and the user override them."""

_EARLIER_OF_LARGE: dict[str, dict[str, tuple[object, object]]] = {
    "adapt": {"augmentation": ("flip-crop", "flip")},
    "draw": {"part_size": (256, 32)},
}
"""Defaults of large pipelines that have changed: what they were, and what they are."""
_EARLIER_ADAPT: dict[str, dict[str, Any]] = {"class_conditional": {"until": "steps", "ema_length": None}}
"""How earlier versions adapted a generator, where the default has changed since."""


def build(*layers: Mapping[str, Any]) -> Settings:
    """Merge nested mappings, later ones winning, and check the result.

    Args:
        layers: nested mappings such as ``{"draw": {"times": 5}}``.

    Returns:
        The settings.

    Raises:
        InputError: for an unknown key (the message lists the known keys) or a value out of range.

    Example:
        >>> build({"data": {"source": "digits"}}, {"draw": {"times": 5}}).draw.times
        5.0
    """
    given: dict[str, Any] = {}
    for layer in layers:
        merge(given, layer)
    generator = given.get("generator")
    defaults = _DEFAULTS_FOR.get(str(generator.get("name")), {}) if isinstance(generator, dict) else {}
    merged: dict[str, Any] = {}
    for layer in (defaults, given):
        merge(merged, layer)
    return validated(Settings, merged)


def with_section(settings: Settings, section: str, **changes: object) -> Settings:
    """The same settings with other values in one section, checked like settings of a user."""
    return build(settings.model_dump(), {section: changes})


def with_earlier_defaults(settings: Settings, stored: Settings) -> Settings:
    """The settings with those values of a stored run that differ only because a default has changed.

    So the command that began a run also goes on with it after an upgrade.
    """
    sections: dict[str, Section] = {}
    if settings.compare.keeps_earlier_default(stored.compare):
        sections["compare"] = settings.compare.changed(arms=stored.compare.arms)
    name = settings.generator.name
    earlier = _EARLIER_ADAPT.get(name, {})
    if earlier and all(getattr(stored.adapt, key) == value for key, value in earlier.items()):
        today = _DEFAULTS_FOR[name]["adapt"]
        changes = {key: earlier[key] for key in earlier if getattr(settings.adapt, key) == today[key]}
        sections["adapt"] = settings.adapt.changed(**changes)
    for section, values in _EARLIER_OF_LARGE.items() if is_large(name) else ():
        now, before = sections.get(section, getattr(settings, section)), getattr(stored, section)
        changes = {
            key: earlier
            for key, (earlier, today) in values.items()
            if (getattr(before, key), getattr(now, key)) == (earlier, today)
        }
        sections[section] = now.changed(**changes)
    return settings.model_copy(update=sections)


def may_change(name: str) -> bool:
    """Whether a setting may change when a run is resumed.

    It may change if it affects no result, or if it belongs to a stage that can be added to a finished run.

    Args:
        name: dotted, such as ``draw.batch_size``.

    Raises:
        KeyError: if there is no such setting.

    Example:
        >>> [may_change(name) for name in ("draw.batch_size", "fidelity.encoder", "draw.steps")]
        [True, True, False]
    """
    section, field = owner_of(Settings, name)
    return section.addable or facts_of(field).decides in ("nothing", "card")


def decides_nothing(name: str) -> bool:
    """Whether a setting, given by its dotted name, affects no result."""
    return facts_of(owner_of(Settings, name)[1]).decides == "nothing"


def check_registered(settings: Settings) -> None:
    """Check that every name in the settings exists in its registry.

    The modules with the registries need PyTorch, so this function imports them.

    Raises:
        InputError: for an unknown name; the message lists the known names.
    """
    for section in sections_in(settings):
        for name, field in type(section).model_fields.items():
            if (registry := facts_of(field).registry) is not None and (
                value := getattr(section, name)
            ) is not None:
                module, _, attribute = registry.partition(":")
                known = getattr(import_module(f"understudy.{module}"), attribute)
                for used in value if isinstance(value, tuple) else (value,):
                    known[used]


def check_contradictions(overrides: Iterable[Mapping[str, Any]], added: Mapping[str, Any]) -> None:
    """Check that the user's settings do not contradict those that the command sets.

    Args:
        overrides: nested settings that the user wrote.
        added: nested settings that the command sets.

    Raises:
        InputError: naming the setting and both values.

    Example:
        >>> check_contradictions([{"seed": 1}], {"seed": 0})
        Traceback (most recent call last):
        understudy.core.errors.InputError: seed must be 0 with this command, got --set seed=1: leave it out
    """
    wanted = flatten(added)
    for name, value in (entry for layer in overrides for entry in flatten(layer).items()):
        if name in wanted and value != wanted[name]:
            must = f"{name} must be {wanted[name]!r} with this command"
            raise InputError(f"{must}, got --set {name}={value}: leave it out")


def read_arms(path: Path) -> dict[str, Any]:
    """Read a file with further arms: a YAML mapping of names to lists of phases.

    Raises:
        InputError: if the file cannot be read, is not such a mapping, or has a key twice.
    """
    if not path.is_file():
        raise InputError(f"there is no arms file {path}: give the path of a YAML file")
    try:
        loaded = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"arms file {path} must be readable YAML, got an error: {error}") from None
    if (
        not isinstance(loaded, dict)
        or not loaded
        or not all(isinstance(phases, list) for phases in loaded.values())
    ):
        example = "'mine: [{data: synthetic}, {data: real}]'"
        raise InputError(f"arms file {path} must map each arm's name to a list of phases, such as {example}")
    return loaded


def to_yaml(settings: Settings) -> str:
    """Write every setting, resolved, as YAML; :func:`from_yaml` reads it back to equal settings."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


def from_yaml(text: str) -> Settings:
    """Read settings that :func:`to_yaml` wrote, in this version or an earlier one.

    Raises:
        ValueError: if the text is not YAML.
        InputError: if it is not a mapping, a key is unknown or a value is out of range.
    """
    loaded = read_yaml(text)
    if not isinstance(loaded, dict):
        got = "an empty file" if loaded is None else type(loaded).__name__
        raise InputError(f"settings must be a YAML mapping, got {got}")
    return from_stored(loaded)


def from_stored(values: Mapping[str, Any]) -> Settings:
    """Read the nested mapping of every setting of a run, as this version or an earlier one wrote it.

    A missing setting is newer than the run. It gets its plain default, with which a new setting changes
    nothing, and not a default that depends on the generator.

    Raises:
        InputError: if a key is unknown or a value is out of range.
    """
    return validated(Settings, values)


def differing_keys(old: Settings, new: Settings) -> dict[str, tuple[Any, Any]]:
    """Dotted names of the settings that differ, with the old and the new value."""
    flat_old, flat_new = flatten(old.model_dump(mode="json")), flatten(new.model_dump(mode="json"))
    keys = [*flat_old, *(key for key in flat_new if key not in flat_old)]  # only one of them may have an arm
    return {
        key: (flat_old.get(key), flat_new.get(key)) for key in keys if flat_old.get(key) != flat_new.get(key)
    }
