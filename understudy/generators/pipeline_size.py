"""What kind of pipeline it is, without loading it: how large, which path, whether it draws in few steps."""

from __future__ import annotations

import json
import re
from pathlib import Path

from understudy.core.weight_files import weights_in
from understudy.generators.foreign import INDEX
from understudy.generators.load import GENERATORS
from understudy.generators.settings import CHECKPOINTS

_LARGE = 200_000_000  # bytes of the denoiser's weights: between `mini` (16 MB) and Stable Diffusion (1.7 GB)
_DISTILLED = re.compile(r"(?<![a-z])(turbo|lightning|lcm|schnell)(?![a-z])")
_FOUR_STEPS = re.compile(r"(?<![a-z])schnell(?![a-z])")
_FLOW = re.compile(r"(?<![a-z])(flux|sana|sd-?3|stable-diffusion-3)(?![a-z])")
_FLOW_CLASSES = ("StableDiffusion3", "Flux", "Sana")
_DENOISERS = ("unet", "transformer")


def is_large(name: str) -> bool:
    """Whether a generator is a pipeline whose denoiser has at least 200 MB of weights.

    Args:
        name: ``generator.name``. A pipeline on the hub counts as large: nothing is read there, and small ones
            are for tests. Of a folder, the files with weights decide.
    """
    folder = Path(name)
    if name in GENERATORS:
        return False
    if not folder.exists():
        return name.count("/") == 1
    if folder.is_file():
        return folder.suffix in CHECKPOINTS and folder.stat().st_size >= _LARGE
    files = [path for part in _DENOISERS if (folder / part).is_dir() for path in weights_in(folder / part)]
    plain = [path for path in files if ".fp16" not in path.suffixes] or files  # not the same weights twice
    return sum(path.stat().st_size for path in plain) >= _LARGE


def is_distilled(name: str) -> bool:
    """Whether a pipeline draws in few steps without guidance, by the name that such weights have.

    Args:
        name: ``generator.name``. Nothing in the files of SD-Turbo and the like says so.
    """
    return bool(_DISTILLED.search(Path(name).name.lower()))


def draws_in_four_steps(name: str) -> bool:
    """Whether a pipeline is FLUX.1 schnell, by its name; others were distilled for other numbers of steps.

    Args:
        name: ``generator.name``.
    """
    return bool(_FOUR_STEPS.search(Path(name).name.lower()))


def is_flow(name: str) -> bool:
    """Whether a pipeline was trained by flow matching: by its class, or on the hub by its name.

    Args:
        name: ``generator.name``.
    """
    index = Path(name) / INDEX
    if not index.is_file():
        return bool(_FLOW.search(Path(name).name.lower()))
    try:
        return str(json.loads(index.read_text(encoding="utf-8"))["_class_name"]).startswith(_FLOW_CLASSES)
    except (OSError, ValueError, KeyError, TypeError):  # loading says what is wrong
        return False
