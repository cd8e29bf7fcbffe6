"""What kind of pipeline it is, without loading it: by its files where they say it, otherwise by its name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from understudy.core.weight_files import shapes_in
from understudy.generators.foreign import INDEX
from understudy.generators.settings import CHECKPOINTS

_DISTILLED = re.compile(r"(?<![a-z])(turbo|lightning|lcm)(?![a-z])")
_SCHNELL = re.compile(r"(?<![a-z])schnell(?![a-z])")
_FLOW = re.compile(r"(flux|sana|sd-?3|stable-diffusion-3)(?![a-z])")
"""How the names of pipelines begin that were trained by flow matching."""
_FLOW_CLASSES = ("StableDiffusion3", "Flux", "Sana")
_FLOW_LAYERS = "model.diffusion_model.joint_blocks."
"""How names of weights begin in a single file of Stable Diffusion 3."""


def is_distilled(name: str) -> bool:
    """Whether a pipeline draws in few steps without guidance.

    Args:
        name: ``generator.name``. Nothing in the files of SD-Turbo and the like says so, but their names do.
    """
    return draws_in_four_steps(name) or bool(_DISTILLED.search(_last(name)))


def draws_in_four_steps(name: str) -> bool:
    """Whether a pipeline is FLUX.1 schnell; others were distilled for other numbers of steps.

    Args:
        name: ``generator.name``. A FLUX.1 whose transformer does not take guidance as an input is schnell;
            the name decides only if its files are not there.
    """
    kind = _class_of(name)
    transformer = stated(name, "transformer/config.json")
    if kind is None or (kind.startswith("Flux") and not transformer):
        return bool(_SCHNELL.search(_last(name)))
    return kind.startswith("Flux") and not (transformer or {}).get("guidance_embeds")


def is_flow(name: str) -> bool:
    """Whether a pipeline was trained by flow matching.

    Args:
        name: ``generator.name``. The class in its index decides, of a single file the names of its weights,
            and the beginning of its own name only if neither is there.
    """
    path = Path(name)
    if path.is_file():
        names = shapes_in(path) if path.suffix in CHECKPOINTS else ()
        return any(each.startswith(_FLOW_LAYERS) for each in names)
    kind = _class_of(name)
    return bool(_FLOW.match(_last(name))) if kind is None else kind.startswith(_FLOW_CLASSES)


def files_of(name: str) -> Path | None:
    """Where the files of a pipeline lie on this machine; None if they do not.

    Args:
        name: ``generator.name``: a folder, a file, or a hub name whose files may be in the cache.
    """
    if Path(name).exists():
        return Path(name)
    index = _cached(name, INDEX)
    return None if index is None else index.parent


def _last(name: str) -> str:
    return Path(name).name.lower()


def _class_of(name: str) -> str | None:
    """The class that the index of a pipeline names; empty if it names none, None if there is no index."""
    index = stated(name, INDEX)
    return None if index is None else str(index.get("_class_name", ""))


def stated(name: str, file: str) -> dict[str, Any] | None:
    """A JSON file of a pipeline; empty if it cannot be read, None if it is not there.

    Args:
        name: a folder, or a hub name whose files are looked for in the cache alone.
        file: path of the file in the pipeline.
    """
    path = Path(name) / file if Path(name).exists() else _cached(name, file)
    if path is None or not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # loading says what is wrong
        return {}


def _cached(name: str, file: str) -> Path | None:
    # Slow to import; registered names and folders need none of it.
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        kept = try_to_load_from_cache(name, file)
    except HFValidationError:  # no name of the hub
        return None
    return Path(kept) if isinstance(kept, str) else None
