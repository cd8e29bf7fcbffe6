"""Whether the parts of a pipeline are of the classes that its index names, before any network is built."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from understudy.core.errors import InputError
from understudy.generators.foreign import DENOISERS, INDEX, json_object

_PARTS = (*DENOISERS, "vae")
"""Parts whose configurations name their class as the index does."""


def check_part_classes(folder: Path) -> None:
    """Check denoiser and autoencoder of a pipeline folder; other faults are found when it is loaded.

    Raises:
        InputError: naming a part of another pipeline, or one without a class.
    """
    index = json_object(folder / INDEX)
    for part in _PARTS:
        if part not in index:
            continue
        entry = index[part]
        stated = entry[-1] if isinstance(entry, list) and entry else None
        if not isinstance(stated, str):
            raise InputError(
                f"the pipeline {folder} must be complete, but its {INDEX} names no class for {part}: copy "
                "the file again from where the pipeline came from"
            )
        found = json_object(folder / part / "config.json").get("_class_name")
        # A class that diffusers does not have is told with its version when the pipeline is loaded.
        if isinstance(found, str) and found != stated and hasattr(import_module("diffusers"), stated):
            raise InputError(
                f"the pipeline {folder} must be of one piece, but its folder {part} holds a {found}, and its "
                f"{INDEX} names a {stated}: copy the whole folder again"
            )
