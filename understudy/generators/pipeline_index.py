"""``model_index.json``, the list of parts of a diffusers pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download

from understudy.core.errors import InputError

INDEX = "model_index.json"


def read_index(name: str) -> dict[str, Any]:
    """Read the index of a folder or hub name.

    Raises:
        InputError: if there is no index, or the hub cannot be reached.
    """
    try:
        path = Path(name) / INDEX if Path(name).is_dir() else Path(hf_hub_download(name, INDEX))
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise cannot_load(name, error) from error


def cannot_load(name: str, error: BaseException) -> InputError:
    """The error to raise for a pipeline that does not load."""
    message = str(error).strip().splitlines()
    reason = message[0] if message else type(error).__name__
    return InputError(
        f"cannot load the generator {name!r}: {reason}; give 'mini', a pipeline folder or a hub name"
    )
