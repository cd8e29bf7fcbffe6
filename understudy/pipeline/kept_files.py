"""Copies of the text files that settings name, so that a run goes on with what it began with.

::

    DIR/data/kept/adapt.prompt.txt    and likewise draw.prompt, draw.negative_prompt and data.class_names
"""

from __future__ import annotations

import shutil
from functools import partial
from operator import attrgetter
from pathlib import Path

from understudy.core.errors import InputError
from understudy.core.files import content_of, write_atomically
from understudy.generators.prompts import template_file
from understudy.pipeline.folder import RunFolder
from understudy.settings import Settings

_TEMPLATES = ("adapt.prompt", "draw.prompt", "draw.negative_prompt")
_NAMES = "data.class_names"
_SETTINGS = (*_TEMPLATES, _NAMES)


def keep_files(settings: Settings, folder: Path) -> dict[str, str]:
    """Copy the files into a run folder that has none of them yet.

    Returns:
        The SHA-256 of each copy by setting, for the record of the load stage.

    Raises:
        InputError: if a template file is missing.
        OSError: if a file cannot be copied.
    """
    for name in _SETTINGS:
        if (source := _source(settings, name)) is not None:
            write_atomically(_copy(folder, name), partial(shutil.copyfile, source))
    return {name: _digest(copy) for name in _SETTINGS if (copy := _copy(folder, name)).exists()}


def kept_templates(settings: Settings, folder: Path) -> dict[str, Path]:
    """The path of the copy for each prompt setting that names a file; empty for runs without copies.

    Raises:
        InputError: if a copy is missing or has changed.
    """
    copies = _copies(settings, folder)
    return {str(attrgetter(name)(settings)): copies[name] for name in _TEMPLATES if name in copies}


def with_kept_files(settings: Settings, folder: Path) -> Settings:
    """The same settings with the paths of the copies, for reading and checking; not to be stored.

    Raises:
        InputError: if a copy is missing or has changed.
    """
    values = settings.model_dump()
    for name, copy in _copies(settings, folder).items():
        section, _, key = name.partition(".")
        values[section][key] = str(copy)
    return Settings.model_validate(values)


def changed_files(settings: Settings, folder: Path) -> list[str]:
    """Say which files have changed since the run copied them; a file that is gone has not."""
    changes = []
    for name, copy in _copies(settings, folder).items():
        try:
            source = _source(settings, name)
        except InputError:
            continue
        if source is not None and source.is_file() and source.read_bytes() != copy.read_bytes():
            changes.append(
                f"{name}: {source} has changed since the run began, which goes on with its copy {copy}; for "
                "the new file, start a new run"
            )
    return changes


def _copies(settings: Settings, folder: Path) -> dict[str, Path]:
    """The copies by setting; all those that the run has noted must be as they were."""
    record = RunFolder(folder, settings).record("load") or {}
    copies = {name: copy for name in _SETTINGS if (copy := _copy(folder, name)).exists()}
    for name, digest in record.get("kept", {}).items():  # older versions noted none
        if name not in copies or _digest(copies[name]) != digest:
            problem, source = "has changed" if name in copies else "is missing", attrgetter(name)(settings)
            raise InputError(
                f"{_copy(folder, name)} {problem}, and the run goes on only with this copy of the file that "
                f"{name} named: restore it (or copy {source} there, if that file is still the same), or "
                "start a new run"
            )
    return copies


def _digest(copy: Path) -> str:
    return str(content_of(copy)["sha256"])


def _source(settings: Settings, name: str) -> Path | None:
    """The file that a setting names; None if it names none."""
    value = attrgetter(name)(settings)
    return value if name == _NAMES else template_file(value)


def _copy(folder: Path, name: str) -> Path:
    return folder / "data" / "kept" / f"{name}.txt"
