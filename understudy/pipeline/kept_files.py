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
from understudy.core.files import write_atomically
from understudy.generators.prompts import template_file
from understudy.settings import Settings

_TEMPLATES = ("adapt.prompt", "draw.prompt", "draw.negative_prompt")
_NAMES = "data.class_names"


def keep_files(settings: Settings, folder: Path) -> None:
    """Copy the files into a run folder that has none of them yet.

    Raises:
        InputError: if a template file is missing.
        OSError: if a file cannot be copied.
    """
    for name in (*_TEMPLATES, _NAMES):
        if (source := _source(settings, name)) is not None:
            write_atomically(_copy(folder, name), partial(shutil.copyfile, source))


def kept_templates(settings: Settings, folder: Path) -> dict[str, str]:
    """The path of the copy for each prompt setting that names a file; empty for runs without copies."""
    return {
        str(attrgetter(name)(settings)): str(copy)
        for name in _TEMPLATES
        if (copy := _copy(folder, name)).exists()
    }


def with_kept_files(settings: Settings, folder: Path) -> Settings:
    """The same settings with the paths of the copies, for reading and checking; not to be stored."""
    values = settings.model_dump()
    for name in (*_TEMPLATES, _NAMES):
        section, _, key = name.partition(".")
        if (copy := _copy(folder, name)).exists():
            values[section][key] = str(copy)
    return Settings.model_validate(values)


def changed_files(settings: Settings, folder: Path) -> list[str]:
    """Say which files have changed since the run copied them; a file that is gone has not."""
    changes = []
    for name in (*_TEMPLATES, _NAMES):
        copy = _copy(folder, name)
        try:
            source = _source(settings, name) if copy.exists() else None
        except InputError:
            continue
        if source is not None and source.is_file() and source.read_bytes() != copy.read_bytes():
            changes.append(
                f"{name}: {source} has changed since the run began, which goes on with its copy {copy}; for "
                "the new file, start a new run"
            )
    return changes


def _source(settings: Settings, name: str) -> Path | None:
    """The file that a setting names; None if it names none."""
    value = attrgetter(name)(settings)
    return value if name == _NAMES else template_file(value)


def _copy(folder: Path, name: str) -> Path:
    return folder / "data" / "kept" / f"{name}.txt"
