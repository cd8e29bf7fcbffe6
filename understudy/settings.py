"""Everything a run can set: frozen, typed, unknown keys refused, YAML in and out.

Precedence, weakest first: defaults, preset, recipe, the command line's own options, ``--set``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from understudy.adaptation.settings import AdaptSettings
from understudy.core.config import Section, UniqueKeys, flatten, merge, shortened
from understudy.core.errors import InputError
from understudy.curation.settings import CurateSettings
from understudy.data.settings import CaptionSettings, DataSettings
from understudy.evaluation.settings import FidelitySettings, GapSettings, MembershipSettings, ScaleSettings, ShiftSettings
from understudy.generators.settings import GeneratorSettings, VisualSettings
from understudy.sampling.settings import DrawSettings
from understudy.training.settings import CompareSettings, Phase, TuneSettings


class Settings(Section):
    """A whole run.

    Attributes:
        seed: from which every random choice follows.
        data, generator, captions, visual, adapt, draw, curate, fidelity, tune, compare, scale, gap, shift, membership: one section per
            stage or subject.
    """

    seed: int = Field(default=0, ge=0)
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

    @model_validator(mode="after")
    def _guidance_is_learned(self) -> Self:
        if self.visual.kind != "none" and not self.adapt.num_steps:
            raise ValueError(
                f"visual.kind {self.visual.kind!r} needs a generator adapted with it, got adapt.method {self.adapt.method!r}: choose "
                "'lora' or 'full'"
            )
        return self

    @model_validator(mode="after")
    def _ready_made_images_are_what_they_are(self) -> Self:
        if self.generator.name == "folder" and (self.draw.starts_from_real or self.visual.kind != "none" or self.adapt.num_steps):
            raise ValueError(
                "the generator 'folder' holds ready-made images, which cannot be adapted, guided or started from real ones: leave "
                "adapt.method, visual.kind, draw.strength and draw.start_snr out"
            )
        return self

    @model_validator(mode="after")
    def _members_differ(self) -> Self:
        if self.draw.members > 1 and (not self.adapt.num_steps or self.adapt.adapter is not None):
            raise ValueError(
                f"draw.members {self.draw.members} needs generators that are adapted here, each with a seed of its own, got adapt.method "
                f"{self.adapt.method!r}{' and an adapter' if self.adapt.adapter else ''}: leave draw.members out"
            )
        return self

    @model_validator(mode="after")
    def _sizes_that_may_stop_are_nested(self) -> Self:
        if self.scale.stop_below is not None and self.curate.select != "first":
            raise ValueError(
                f"scale.stop_below draws size by size, and a larger set holds the smaller ones only with curate.select 'first', got "
                f"{self.curate.select!r}: leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _tokens_are_whole(self) -> Self:
        if self.adapt.has_token and self.draw.adapter_scale != 1:
            raise ValueError(
                f"draw.adapter_scale must be 1 with adapt.method {self.adapt.method!r}, got {self.draw.adapter_scale}: a token is there "
                "or not"
            )
        return self


_OF_GENERATOR: dict[str, dict[str, Any]] = {
    "class_conditional": {
        # Trained from nothing, so longer; weight decay of a network's whole function would hold it back.
        "adapt": {"prompt": "{class}", "steps": 2000, "learning_rate": 1e-3, "min_snr_gamma": None, "ema_decay": 0.995},
        "draw": {"prompt": "{class}", "sampler": "edm"},
    },
    "folder": {"adapt": {"method": "none"}},
}
"""Defaults where the generator asks for others; presets, recipes and the user win over them."""


def build(*layers: Mapping[str, Any]) -> Settings:
    """Merge nested mappings, later ones winning, into validated settings.

    Args:
        layers: nested mappings such as ``{"draw": {"times": 5}}``.

    Returns:
        The settings.

    Raises:
        InputError: for an unknown key (the known ones are listed) or a value out of range.

    Example:
        >>> build({"data": {"source": "digits"}}, {"draw": {"times": 5}}).draw.times
        5.0
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merge(merged, layer)
    own: dict[str, Any] = {}
    generator = merged.get("generator")
    for layer in (_OF_GENERATOR.get(str(generator.get("name")), {}) if isinstance(generator, dict) else {}, merged):
        merge(own, layer)
    try:
        return Settings.model_validate(own)
    except ValidationError as error:
        raise InputError("\n".join(dict.fromkeys(_explain(detail) for detail in error.errors()))) from None


def with_section(settings: Settings, section: str, **changes: object) -> Settings:
    """Settings with other values in one section, checked as if a user had written them."""
    return build(settings.model_dump(), {section: changes})


_OF_ADAPTATION = ("adapt.adapter", "draw.adapter_scale", "generator.gradient_checkpointing")


_OF_LOW_RANK = ("adapt.rank", "adapt.alpha", "adapt.targets")


_OF_TOKENS = ("adapt.token", "adapt.num_vectors", "adapt.initial_word")


_OF_MEASUREMENT = ("adapt.prompt", "adapt.min_snr_gamma", "adapt.validation_pairs", "adapt.batch_size", "adapt.micro_batch")


def refuse_without_effect(settings: Settings, given: Iterable[str]) -> None:
    """Refuse a setting that was asked for by name and that another setting makes idle.

    Args:
        settings: all of them, resolved.
        given: dotted names of those that the user wrote.

    Raises:
        InputError: naming the setting and what makes it idle.

    Example:
        >>> refuse_without_effect(build({"data": {"source": "digits"}}), ["adapt.rank"])
        Traceback (most recent call last):
        understudy.core.errors.InputError: adapt.rank has no effect while adapt.method is 'full': leave it out, or change adapt.method
    """
    adapt, draw, curate = settings.adapt, settings.draw, settings.curate
    for key in given:
        causes = {
            "adapt.method": _is_idle_under_method(adapt, key),
            "adapt.adapter": adapt.adapter is not None and _is_of_adapting(key) and key != "adapt.token",
            "adapt.distribution": (adapt.distribution == "none" and key == "adapt.distribution_weight")
            or (adapt.distribution not in ("class-mean", "kernel") and key == "adapt.classes_per_batch"),
            "captions.source": settings.captions.source != "model"
            and key in ("captions.model", "captions.max_new_tokens", "captions.batch_size"),
            "visual.kind": (settings.visual.kind == "none" and key in ("visual.images", "visual.projection"))
            or ("class-mean" not in (settings.visual.kind, settings.visual.when_drawing) and key == "visual.images"),
            "draw.strength": key == "draw.pairing"
            and not (draw.starts_from_real or settings.visual.when_drawing == "per-image" or settings.captions.source != "none"),
            "data.shots": settings.data.shots is None and key == "data.subset",
            "tune.learning_rates": not settings.tune.is_on and key == "tune.num_seeds",
            "scale.times": not settings.scale.times and key in ("scale.arms", "scale.real_shares", "scale.stop_below"),
            "draw.per_class": draw.per_class is not None and key in ("draw.times", "draw.min_per_class"),
            "curate.threshold": not _has_variants(settings) and key == "curate.validation_pass" and isinstance(curate.threshold, float),
            "curate.score": (curate.score == "none" and key == "curate.threshold")
            or (not _has_variants(settings) and _is_idle_under_score(curate.score, key)),
            "curate.select": not _has_variants(settings) and curate.select == "first" and key == "curate.candidates",
            "compare.arms": not settings.gap.measure and _is_idle_in_arms(settings.compare, key),
            "generator.name": _is_idle_for(settings.generator.name, key),
            **{f"{name}.measure": not getattr(settings, name).measure and key.startswith(f"{name}.") for name in _MEASURED},
            "membership.private_epsilon": settings.membership.private_epsilon is None and key == "membership.private_delta",
        }
        for cause in (name for name, applies in causes.items() if applies and name != key):
            value = flatten(settings.model_dump(mode="json"))[cause]
            raise InputError(f"{key} has no effect while {cause} is {value!r}: leave it out, or change {cause}")


def refuse_contradictions(overrides: Iterable[Mapping[str, Any]], added: Mapping[str, Any]) -> None:
    """Refuse a value that was asked for by name where the command sets another.

    Args:
        overrides: nested settings that the user wrote.
        added: nested settings that the command sets.

    Raises:
        InputError: naming the setting and both values.

    Example:
        >>> refuse_contradictions([{"gap": {"measure": False}}], {"gap": {"measure": True}})
        Traceback (most recent call last):
        understudy.core.errors.InputError: gap.measure must be True with this command, got --set gap.measure=False: leave it out
    """
    wanted = flatten(added)
    for name, value in (entry for layer in overrides for entry in flatten(layer).items()):
        if name in wanted and value != wanted[name]:
            raise InputError(f"{name} must be {wanted[name]!r} with this command, got --set {name}={value}: leave it out")


_MEASURED = ("fidelity", "gap", "shift", "membership")
"""Sections of stages that ``measure`` turns on."""


def _is_of_adapting(key: str) -> bool:
    return key.startswith("adapt.") and key not in ("adapt.method", "adapt.adapter")


def _has_variants(settings: Settings) -> bool:
    """Whether arms may have other images than the run's, by other scores and selections."""
    return settings.gap.measure or any("@" in name for name in settings.compare.arms)


def _is_idle_under_score(score: str, key: str) -> bool:
    return (score == "none" and key == "curate.validation_pass") or (score != "clip" and key == "curate.clip")


def _is_idle_in_arms(compare: CompareSettings, key: str) -> bool:
    """Whether a setting is for a strategy, or a field of phases, that no arm has."""
    strategy, field = {
        "draw.refresh_times": ("refresh", "refresh_every"),
        "compare.teacher": ("soft-labels", "soft_labels"),
        "compare.extractor": ("feature-distillation", "feature_distillation"),
    }.get(key, (None, ""))
    in_own = any(getattr(phase, field) for phases in compare.own_arms.values() for phase in phases) if field else False
    return strategy is not None and not in_own and not any(strategy in name.split("@")[1:] for name in compare.arms)


def _is_idle_for(generator: str, key: str) -> bool:
    if key in ("generator.channels", "generator.patch"):
        return generator != "class_conditional"
    if key == "generator.licence":
        return generator in ("mini", "class_conditional")  # known, and weights of nobody else's
    return generator == "folder" and key in _OF_PROCESS


_OF_PROCESS = tuple(
    f"draw.{name}"
    for name in ("prompt", "negative_prompt", "sampler", "steps", "guidance_scale", "pairing", "noise_scale", "adapter_scale")
)


def _is_idle_under_method(adapt: AdaptSettings, key: str) -> bool:
    if adapt.method == "none":
        return _is_of_adapting(key) or key in _OF_ADAPTATION
    if adapt.method == "neutral-token" and (
        key == "generator.gradient_checkpointing" or (_is_of_adapting(key) and key not in (*_OF_TOKENS, *_OF_MEASUREMENT))
    ):
        return True
    if adapt.has_token:
        return key in (*_OF_LOW_RANK, "adapt.classes_per_batch", "draw.adapter_scale")
    return key in _OF_TOKENS or (adapt.method != "lora" and key in _OF_LOW_RANK)


def read_arms(path: Path) -> dict[str, Any]:
    """Arms of the user's own: a YAML mapping of names to lists of phases.

    Raises:
        InputError: for a file that cannot be read or is not such a mapping, or a key that stands twice.
    """
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys)  # noqa: S506 - a SafeLoader
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # a date that is none, nesting without end
        raise InputError(f"arms file {path} must be YAML that can be read: {error}") from None
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(phases, list) for phases in loaded.values()):
        example = "'mine: [{data: synthetic}, {data: real}]'"
        raise InputError(f"arms file {path} must map each arm's name to a list of phases, such as {example}")
    return {str(name): phases for name, phases in loaded.items()}


def to_yaml(settings: Settings) -> str:
    """Every setting, resolved, as YAML that :func:`from_yaml` reads back to equal settings."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


def from_yaml(text: str) -> Settings:
    """Settings from YAML text.

    Raises:
        InputError: for text that is not a mapping, unknown keys or values out of range.
    """
    loaded = yaml.safe_load(text)
    if not isinstance(loaded, dict):
        raise InputError(f"settings must be a YAML mapping, got {type(loaded).__name__}")
    return build(loaded)


def differing_keys(old: Settings, new: Settings) -> dict[str, tuple[Any, Any]]:
    """Dotted names of the settings that differ, with the old and the new value."""
    flat_old, flat_new = flatten(old.model_dump(mode="json")), flatten(new.model_dump(mode="json"))
    keys = [*flat_old, *(key for key in flat_new if key not in flat_old)]  # an own arm may be in one of them only
    return {key: (flat_old.get(key), flat_new.get(key)) for key in keys if flat_old.get(key) != flat_new.get(key)}


def _section_at(place: Sequence[str | int]) -> type[BaseModel]:
    """The section that a place in nested settings belongs to; names of own arms and numbers of their phases lead to a phase."""
    section: type[BaseModel] = Settings
    for part in place:
        inner = section.model_fields[part].annotation if part in section.model_fields else section
        section = Phase if part == "own_arms" else cast("type[BaseModel]", inner)
    return section


def _explain(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"unknown setting {where!r}; known here: {', '.join(_section_at(detail['loc'][:-1]).model_fields)}"
    if detail["loc"][:2] == ("curate", "threshold"):
        return f"setting 'curate.threshold' must be from 0 to 1, or 'validation', got {shortened(detail['input'])}"
    if detail["type"] == "missing":
        return f"setting {where!r} is required"
    if detail["type"] == "value_error" and not where:
        return str(detail["ctx"]["error"])
    if detail["type"] == "value_error":
        return f"setting {where!r}: {detail['ctx']['error']}"
    if detail["loc"][-1] == "[key]":
        allowed = "up to 64 letters, digits and ._+-, and begin with a letter or digit"
        return f"names of {'.'.join(detail['loc'][:2])} must have {allowed}, got {shortened(detail['input'])}"
    return f"setting {where!r}: {detail['msg'].lower()}, got {shortened(detail['input'])}"
