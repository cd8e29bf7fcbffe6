"""Command init: look at the images, and write a settings file that gives the reason for each choice."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import yaml

from understudy.adaptation.methods import METHODS
from understudy.commands import chosen
from understudy.commands.image_defaults import IMAGE_REASONS
from understudy.commands.options import Options
from understudy.commands.pipeline_defaults import PIPELINE_REASONS
from understudy.commands.settings_file import NAMES_OR_PATHS, each_path, is_known
from understudy.commands.validate import Checked, validate
from understudy.core.config import facts_of, given_names, holds_paths, owner_of, section_in
from understudy.core.errors import InputError
from understudy.core.files import check_replaceable, write_text
from understudy.core.progress import Observer
from understudy.core.registry import Registry
from understudy.data.sources.source import SOURCES
from understudy.generators.load import GENERATORS
from understudy.recipes import PRESETS, RECIPES, REPEATS
from understudy.report import run_command
from understudy.settings import Settings, build, differing_keys
from understudy.training.augmentations import AUGMENTATIONS
from understudy.training.backbones import BACKBONES

_LOOKED_AT = ("adapt.augmentation", "compare.backbone", "compare.augmentation")
"""Settings that follow from what the images show, also where that leads to the general default."""
_OFTEN_CHANGED = {
    "data.shots": "the default: all train images; a number keeps so many per class",
    "adapt.method": "the default: {summary}",
    "draw.times": "the default: synthetic images per real image",
    "draw.min_per_class": "the default: fewest synthetic images of each class",
    "compare.arms": "the default: what classifiers learn from; see 'understudy list arms'",
    "compare.num_seeds": "the default: trainings of each arm",
}
"""Settings that are written as comments if nothing else chose them, with what they mean."""
_REGISTRIES: Mapping[str, Registry[Any]] = {
    "generator.name": GENERATORS,
    "adapt.method": METHODS,
    "adapt.augmentation": AUGMENTATIONS,
    "compare.backbone": BACKBONES,
    "compare.augmentation": AUGMENTATIONS,
}
"""Whose summaries say what a value means."""
_WIDTH = 96


def write_settings_file(
    options: Options, to: Path, *, overwrite: bool = False, observer: Observer | None = None
) -> Checked:
    """Write the settings that a run with these options would have; a run of the file has exactly these.

    Args:
        options: of the command line.
        to: file to write.
        overwrite: replace the file if it exists.
        observer: shows a bar while many images are read.

    Returns:
        What :func:`understudy.commands.validate.validate` found.

    Raises:
        InputError: as a run would; if the file exists, or cannot be written there.
    """
    _check_target(to, overwrite=overwrite)
    settings = chosen.settings_of(options)
    checked = validate(settings, observer=observer)
    write_text(to, settings_text(options, settings, checked, to))
    return checked


def _check_target(to: Path, *, overwrite: bool) -> None:
    if to.suffix.lower() not in run_command.SETTINGS_FILES and not to.is_dir():
        raise InputError(f"--to must end with .yaml, so that commands take it for settings, got {to}")
    check_replaceable(to, mark=b"", suffix=".yaml")
    if to.exists() and not overwrite:
        raise InputError(f"{to} exists: choose another file with --to, or replace this one with --overwrite")


def settings_text(options: Options, settings: Settings, checked: Checked, to: Path) -> str:
    """The content of the file: what was found, then each choice with its reason.

    Args:
        options: of the command line.
        settings: that they lead to.
        checked: what was found.
        to: where the file will be, which its paths are relative to.
    """
    head = [*_about_file(options, to), "", _about_images(checked), *checked.sentences]
    lines = [line for text in head for line in _comment(text)]
    lines += ["", *_bundles(options, settings), _line("seed", settings.seed, "of every random choice")]
    choices = list(_Choices(options, settings, checked, to).all())
    for section in Settings.model_fields:
        mine = [choice for choice in choices if choice.section == section]
        if mine:
            lines += ["", f"{section}:"]
        for choice in mine:
            written = _line(choice.name, choice.value, choice.reason)
            lines.append(f"  {written}" if choice.is_live else f"  # {written}")
    return "\n".join([*lines, ""])


def _about_file(options: Options, to: Path) -> list[str]:
    run, preview = (run_command.command_on(command, to) for command in ("run", "preview"))
    return [
        f"Settings of a run, written by '{chosen.command_with('init', options)}'.",
        f"Start it with '{run}'; '{preview}' says before how long it takes, and how much disk and memory.",
        "Settings that are left out have their defaults; options of the command line win over this file.",
        "Paths are relative to the folder of this file.",
    ]


def _about_images(checked: Checked) -> str:
    look = checked.look
    return (
        f"Found: {checked.counted}; {look.kind}, {look.side} pixels on the shorter side (median). The run "
        f"draws {checked.wanted:,} synthetic images, and others in place of rejected ones."
    )


def _bundles(options: Options, settings: Settings) -> list[str]:
    """The lines of preset and recipe."""
    compare, steps = settings.compare, settings.adapt.num_steps
    limit = "up to " * (settings.adapt.until == "plateau")
    fitted = f"{limit}{steps:,} steps of adaptation, " if steps and settings.adapt.adapter is None else ""
    effort = f"{fitted}{compare.num_seeds} trainings of {compare.steps:,} steps for each arm"
    if options.preset in REPEATS:
        effort += f", {REPEATS[options.preset]} whole runs"
    others = ", ".join(name for name in PRESETS if name != options.preset)
    return [
        _line("preset", options.preset, f"{effort}; others: {others}"),
        _line("recipe", options.recipe, RECIPES.summary(options.recipe)),
    ]


@final
@dataclass(frozen=True)
class _Choice:
    """A setting in the file; one that is not live is a comment, and says the default."""

    section: str
    name: str
    value: Any
    reason: str
    is_live: bool


@final
class _Choices:
    """Which settings the file has, and why each has its value."""

    def __init__(self, options: Options, settings: Settings, checked: Checked, to: Path) -> None:
        self.settings, self.checked, self.folder = settings, checked, to.parent
        preset, recipe, *layers = chosen.layers_of(options)
        self.bundles = {f"the preset {options.preset}": preset, f"the recipe {options.recipe}": recipe}
        # --times with one size measures no others.
        self.given = {_two(name) for name in given_names(*layers)} - (
            {"scale.times"} if not settings.scale.times else set()
        )
        self.bundled = {_two(name) for name in given_names(preset, recipe)}
        plain = build(preset, recipe, *layers)
        self.found = {_two(name) for name in differing_keys(plain, settings)}

    def all(self) -> Iterator[_Choice]:
        """The choices in the order of the settings."""
        values = self.settings.model_dump(mode="json")
        for section in (name for name, field in Settings.model_fields.items() if section_in(field)):
            for key in values[section]:
                name = f"{section}.{key}"
                is_live = name in self.given or (
                    name in {"generator.name", *_LOOKED_AT, *self.found} and self._has_effect(name)
                )
                if is_live or (name in {*_OFTEN_CHANGED, *self.bundled} and self._has_effect(name)):
                    value = self._placed(name, values[section][key])
                    yield _Choice(section, key, value, self._reason(name), is_live)

    def _has_effect(self, name: str) -> bool:
        needs = facts_of(owner_of(Settings, name)[1]).needs
        return all(need.holds(self.settings) for need in needs)

    def _reason(self, name: str) -> str:
        if name == "data.source":
            return self.checked.counted
        if name == "generator.name":
            return self._summary(name) or "a pipeline"
        if name in self.given:
            return "as given"
        if name in self.found:
            return (IMAGE_REASONS | PIPELINE_REASONS)[name]
        for bundle, layer in self.bundles.items():
            if name in map(_two, given_names(layer)):
                return f"of {bundle}"
        if name in _OFTEN_CHANGED:
            return _OFTEN_CHANGED[name].format(summary=self._summary(name))
        kind, reason = self.checked.look.kind, self._summary(name)
        if name == "compare.backbone" and kind == "photographs":
            return f"{reason}; pip install 'understudy[photo]' brings one that knows photographs"
        return f"{kind}: {reason}"

    def _summary(self, name: str) -> str:
        """What a registry says about the value; empty if it is in none."""
        section, key = name.split(".")
        known, value = _REGISTRIES.get(name), getattr(getattr(self.settings, section), key)
        return known.summary(value) if known is not None and value in known else ""

    def _placed(self, name: str, value: Any) -> Any:
        """The value; a path as the folder of the file sees it."""
        section, key = name.split(".")
        if holds_paths(owner_of(Settings, name)[1]):
            return each_path(value, lambda path: _beside(path, self.folder))
        is_text = key in NAMES_OR_PATHS.get(section, ()) and value is not None
        is_path = is_text and not is_known(name, value) and os.path.exists(value)
        return _beside(value, self.folder) if is_path else value


def _two(name: str) -> str:
    """Section and field of a dotted name, without keys of a mapping."""
    return ".".join(name.split(".")[:2])


def _beside(value: str, folder: Path) -> str:
    """A path as a folder sees it."""
    if folder == Path() or os.path.isabs(value):
        return value
    path = os.path.relpath(os.path.realpath(value), os.path.realpath(folder))
    return f"./{path}" if path in SOURCES or path in GENERATORS else path  # a folder of that name


def _line(name: str, value: Any, reason: str) -> str:
    """A setting in YAML, with a comment behind it."""
    return f"{name}: {_in_yaml(value)}  # {_printable(reason)}"


def _in_yaml(value: Any) -> str:
    """A value in one line."""
    text = _dumped(value)
    return text if "\n" not in text else _dumped(value, default_style='"')


def _dumped(value: Any, **how: Any) -> str:
    dumped: str = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=10**9, sort_keys=False, **how
    )
    return dumped.removesuffix("...\n").removesuffix("\n")


def _comment(text: str) -> list[str]:
    """Lines of a comment."""
    lines = textwrap.wrap(_printable(text), _WIDTH, break_on_hyphens=False, break_long_words=False)
    return [f"# {line}" for line in lines] or ["#"]


def _printable(text: str) -> str:
    """A text without what YAML does not allow even in comments, such as parts of names of files."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
