"""``model_index.json``, the list of parts of a diffusers pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from understudy.core.errors import InputError
from understudy.core.hub import hub_file
from understudy.generators.foreign import CHECKPOINT, FUSE, INDEX
from understudy.generators.weight_files import damage, weights_in


def read_index(name: str) -> dict[str, Any]:
    """Read the index of a folder or hub name.

    Raises:
        InputError: if there is no index, or the hub cannot be reached.
    """
    try:
        path = Path(name) / INDEX if Path(name).is_dir() else hub_file(name, INDEX)
        return dict(json.loads(path.read_text()))
    except LocalEntryNotFoundError as error:  # the hub cannot be reached
        raise cannot_load(name, error) from error
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, EntryNotFoundError):
            raise InputError(
                f"the generator must be a diffusers pipeline, but {name} on the hub has no {INDEX}: if it is "
                f"a LoRA, {FUSE}; if it is a single file, {CHECKPOINT}"
            ) from error
        raise cannot_load(name, error) from error


def cannot_load(name: str, error: BaseException) -> InputError:
    """The error to raise for a pipeline that does not load: the damaged or missing file, if there is one."""
    if fault := _fault(Path(name)):
        return InputError(f"the pipeline {name} must be complete, but {fault}")
    return InputError(
        f"cannot load the generator {name!r}: {_reason(error)}; give a word of 'understudy list generators', "
        "such as mini, the path of a pipeline folder, or a hub name"
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, LocalEntryNotFoundError):
        return "nothing is at this path, and the hub cannot be reached"
    if isinstance(error, GatedRepoError):
        return "the hub asks you to accept its terms: do so on its page, and log in with 'hf auth login'"
    if isinstance(error, RepositoryNotFoundError):
        return "nothing is at this path, and the hub has no such name, unless it is private ('hf auth login')"
    message = str(error).strip().splitlines()
    return message[0].rstrip(".") if message else type(error).__name__


def _fault(folder: Path) -> str | None:
    """The first damaged or missing file in the folder of a pipeline, and what to do; None without one."""
    if not (index := folder / INDEX).is_file():
        return None
    if found := damage(index):
        return f"{INDEX} in it is {found[0]}: {found[1]}"
    stated = json.loads(index.read_text(encoding="utf-8"))
    for name in (name for name, kind in stated.items() if isinstance(kind, list) and all(kind)):
        place = folder / name
        configs, weights = list(place.glob("*.json")), weights_in(place)
        for path in (*configs, *weights):
            if found := damage(path):
                return f"{path.relative_to(folder)} in it is {found[0]}: {found[1]}"
        if not configs or (place / "config.json" in configs and not weights):
            missing = "weights" if configs else "JSON file"
            return f"its folder {name} has no {missing}: copy the whole folder again"
    return None
