"""A settings file in the place of DATA: YAML with the images, the settings of a run, and preset and recipe.

Paths in the file are relative to its folder, so that the file and its images can be moved together.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import understudy.data.load  # noqa: F401 - its imports register the sources
from understudy.commands.options import Options
from understudy.core.config import at_home, holds_paths, read_yaml, section_in
from understudy.core.errors import InputError
from understudy.data.sources.source import SOURCES
from understudy.generators.load import GENERATORS
from understudy.pipeline.folder import RunFolder
from understudy.recipes import PRESETS, RECIPES
from understudy.report.run_command import SETTINGS_FILES
from understudy.settings import Settings, build

NAMES_OR_PATHS = {
    "data": ("source",),
    "generator": ("name", "config", "image_encoder", "autoencoder"),
}
"""By section, the settings that are a path if something is there, and otherwise a name."""
_BUNDLES = {"preset": PRESETS, "recipe": RECIPES}


def opened(options: Options) -> Options:
    """The options with the images, preset, recipe and settings of the settings file in DATA, if it is one.

    What the user gave on the command line wins.

    Raises:
        InputError: if the file cannot be read, is no mapping of settings, or names no images.
    """
    path = Path(options.data)
    if path.suffix.lower() not in SETTINGS_FILES or path.is_dir():
        return options
    sections = _read(path)
    written = {name: sections.pop(name) for name in _BUNDLES if name in sections}
    bundles = {name: getattr(options, name) for name in _BUNDLES} | {
        name: value for name, value in written.items() if name not in options.given
    }
    try:
        _check_bundles(written)
        layers = [_BUNDLES[name][value] for name, value in bundles.items()]
        build(*layers, sections)
        placed = _placed(sections, path.parent)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    source = str(placed["data"].pop("source"))
    if RunFolder.is_run(Path(source)):
        raise InputError(
            f"{path}: data.source must be images, got the run {source}: give the images that it was made "
            f"from, or continue it with 'understudy run {source}'"
        )
    return replace(options, **bundles, data=source, sections=placed, settings_file=str(path))


def _read(path: Path) -> dict[str, Any]:
    """The content of a settings file; a section of which every line is a comment is empty.

    Raises:
        InputError: if it is no YAML mapping, or names no images.
    """
    if not path.exists():
        raise InputError(
            f"there is no settings file {path}: write one with 'understudy init DATA --to {path}'"
        )
    try:
        content = read_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} must be text in UTF-8, got other bytes: {error}: save it as UTF-8"
        ) from None
    except (OSError, ValueError) as error:
        spaces = "\nindent with spaces: YAML allows no tabs there" if r"'\t'" in str(error) else ""
        raise InputError(f"{path} must be readable YAML, got an error: {error}{spaces}") from None
    example = "such as 'data: {source: photos}'"
    if not isinstance(content, dict):
        got = "nothing" if content is None else f"a {type(content).__name__}"
        raise InputError(f"{path} must be a mapping of settings, {example}, got {got}")
    _check_not_stored(path, content)
    fields = Settings.model_fields
    sections = {
        name: {} if value is None and name in fields and section_in(fields[name]) else value
        for name, value in content.items()
    }
    data = sections.get("data", {})
    if isinstance(data, Mapping) and not str(data.get("source") or "").strip():
        raise InputError(f"{path} must name the images, {example}, but has no data.source: add it")
    return sections


def _check_not_stored(path: Path, content: Mapping[str, Any]) -> None:
    """Check that a file is not one that a run or a study keeps for itself.

    Raises:
        InputError: naming its folder.
    """
    if path.name == "settings.yaml" and (path.parent / "stages").is_dir():
        raise InputError(
            f"{path} belongs to the run {path.parent}: continue it with 'understudy run {path.parent}', or "
            "give the images that it was made from"
        )
    if path.name == "study.yaml" and {"kind", "points"} <= content.keys():
        raise InputError(f"{path} belongs to the study {path.parent}: go on with the command that began it")


def _check_bundles(written: Mapping[str, Any]) -> None:
    """Check that the names of preset and recipe are text.

    Raises:
        InputError: naming what was given.
    """
    for name, value in written.items():
        if not isinstance(value, str):
            raise InputError(f"{name} must be one of {', '.join(_BUNDLES[name])}, got {value!r}")


def _placed(sections: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The settings of a file with paths as the working directory sees them, not the folder of the file."""
    placed: dict[str, Any] = {}
    for section, values in sections.items():
        kind = section_in(Settings.model_fields[section])
        if kind is None or not isinstance(values, Mapping):
            placed[section] = values
            continue
        placed[section] = dict(values)
        for name, value in values.items():
            if holds_paths(kind.model_fields[name]):
                placed[section][name] = each_path(value, lambda path: _beside(path, folder))
            elif name in NAMES_OR_PATHS.get(section, ()) and value is not None:
                placed[section][name] = _name_or_path(f"{section}.{name}", str(value), folder)
    return placed


def each_path(value: Any, place: Callable[[str], str]) -> Any:
    """Place a path, or all paths in a list or mapping."""
    if isinstance(value, Mapping):
        return {key: each_path(inner, place) for key, inner in value.items()}
    if isinstance(value, list):
        return [each_path(inner, place) for inner in value]
    return value if value is None else place(str(value))


def _name_or_path(setting: str, value: str, folder: Path) -> str:
    """A name as it is; a path where the folder of the file has it.

    Raises:
        InputError: if the path leads to something from the working directory only.
    """
    path = _beside(value, folder)
    if is_known(setting, value):
        return value
    if os.path.exists(path):
        return path
    if os.path.exists(value):
        raise InputError(
            f"{setting} must be relative to the folder of this file, but nothing is at {path}, only at "
            f"{value}: write {os.path.relpath(value, folder)}"
        )
    return path if setting == "data.source" and not SOURCES["hub"].accepts(value) else value


def is_known(setting: str, value: str) -> bool:
    """Whether a setting that is a name or a path has a name that comes with the package."""
    return value in (SOURCES if setting == "data.source" else GENERATORS)


def _beside(value: str, folder: Path) -> str:
    """A path that is relative to a folder, as the working directory sees it."""
    home = str(at_home(value))
    if folder == Path() or os.path.isabs(home):
        return home
    joined = os.path.join(folder, home)
    plain = os.path.normpath(joined)
    if os.path.exists(joined) and not (os.path.exists(plain) and os.path.samefile(joined, plain)):
        return joined  # .. leaves a linked folder elsewhere
    return f"./{plain}" if plain in SOURCES or plain in GENERATORS else plain
