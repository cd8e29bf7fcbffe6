"""Files with weights and their configuration: what is wrong with them, and what tensors they hold.

Nothing in a file is executed: pickles are loaded with ``weights_only=True``, or only their text is read.
"""

from __future__ import annotations

import json
import math
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import safetensors

from understudy.core.errors import InputError
from understudy.core.listing import listed

TORCH = (".bin", ".ckpt", ".pt", ".pth")
WEIGHTS = (".safetensors", *TORCH)
READ_WEIGHTS = re.compile(
    r"(diffusion_pytorch_model|model|pytorch_model)(?:-\d+-of-\d+)?(?:\.(?P<variant>\w[\w-]*?))?"
    r"(?:-\d+-of-\d+)?\.[a-z]+$"
)
"""Names of the files with weights that diffusers and transformers read, with their variant."""
_CONFIGS = ("config.json", "preprocessor_config.json")
"""Configurations of networks of timm and transformers, and of how their images are prepared."""
_AGAIN = "download it again, or copy it again from where it came from"
_LFS = b"version https://git-lfs"
_UNPICKLING_ERRORS = (
    *(pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, LookupError),
    *(OSError, RuntimeError, TypeError, ValueError, safetensors.SafetensorError),
)
"""What torch.load raises for files that are damaged, have the ending of another format or execute code."""
_LEGACY_PICKLES = 4
"""Pickles at the beginning of a file of PyTorch before 1.6: a mark, the version, the system, the content."""


def damage(path: Path) -> tuple[str, str] | None:
    """Say what is wrong with a file of weights or a JSON file; None if it can be read.

    Returns:
        What it is (``a web page``), and what to do.
    """
    if found := stand_in(path):
        return found
    if not (_is_json_object(path) if path.suffix == ".json" else _holds_tensors(path)):
        return "damaged or cut short", _AGAIN
    return None


def stand_in(path: Path) -> tuple[str, str] | None:
    """As :func:`damage`, but only for what lies in place of a file that was not downloaded."""
    with path.open("rb") as file:
        head = file.read(512).lstrip()
    if not path.stat().st_size:
        return "an empty file", _AGAIN
    if head.startswith(_LFS):
        how = "fetch the file with 'git lfs pull', or download it"
        return "a pointer of Git LFS in place of the file", how
    if head.startswith(b"<"):
        how = f"{_AGAIN}; if the page asks you to log in or to accept a licence, do this first"
        return "a web page in place of the file", how
    return None


def check_network_folder(folder: Path, setting: str) -> None:
    """Check that a folder holds a network, its configuration and weights, without reading the weights.

    Args:
        folder: as timm and transformers write them, with ``config.json``.
        setting: name of the setting, for the message.

    Raises:
        InputError: naming the missing or damaged file, and what to do.
    """
    if not folder.is_dir():
        raise InputError(
            f"{setting} must be a folder with config.json and weights, but {folder} is no folder: correct "
            "the path"
        )
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{setting} must be a folder with config.json and weights, but {folder} has no config.json: give "
            "the folder that these files are in"
        )
    if fault := fault_in(folder):
        raise InputError(f"{setting} must be the folder of a complete network, but {fault}")


def check_script(path: Path, setting: str) -> None:
    """Check that a file may be TorchScript, without loading it; as :func:`check_network_folder`."""
    found = stand_in(path)
    if found is None and not zipfile.is_zipfile(path):
        found = "another file, or cut short", "download it again, or give a folder with a network"
    if found is not None:
        raise InputError(f"{setting} must be a TorchScript file, but {path} is {found[0]}: {found[1]}")


def fault_in(folder: Path) -> str | None:
    """The first damaged or missing file of a folder with a network, and what to do; None without one."""
    weights = weights_in(folder)
    for path in (*(folder / name for name in _CONFIGS if (folder / name).is_file()), *weights):
        if found := damage(path):
            return f"{path.name} in {folder} is {found[0]}: {found[1]}"
    missing = f"{folder} has no weights, such as model.safetensors: copy the whole folder again"
    return None if weights else missing


def check_network(place: str, state: Mapping[str, Any], *, input_size: Any, mean: Any, std: Any) -> None:
    """Check that weights are numbers, and that the stated preparation of images is possible.

    Args:
        place: setting and path, for the message.
        state: weights by name.
        input_size: width in pixels, or channels, height and width.
        mean: per channel, for pixels in [0, 1].
        std: as ``mean``.

    Raises:
        InputError: with what is stated, and as :func:`check_finite`.
    """
    sizes = input_size if isinstance(input_size, list | tuple) else (3, input_size)
    is_size = sizes[0] == 3 and all(isinstance(size, int) and size > 0 for size in sizes)
    per_channel = all(isinstance(values, list | tuple) and len(values) == 3 for values in (mean, std))
    if not (is_size and per_channel and all(map(_is_number, (*mean, *std)))):
        expected = "a whole number of pixels as size, and three numbers each as mean and std"
    elif min(std) <= 0:
        expected = "values above 0 as std"
    else:
        check_finite(state, place)
        return
    raise InputError(
        f"{place} must state how images are prepared, {expected}, got size {input_size}, mean {mean} and std "
        f"{std}: correct them in its JSON files"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def check_finite(state: Mapping[str, Any], place: str) -> None:
    """Check that every weight of a network is a number.

    Args:
        state: tensors by name.
        place: setting and path, for the message.

    Raises:
        InputError: naming the weights that are NaN or infinite.
    """
    import torch  # slow to import; reading headers needs none of it

    if broken := [name for name, value in state.items() if not torch.isfinite(value).all()]:
        raise InputError(
            f"the weights of {place} must be finite, but {listed(broken, most=3)} hold NaN or infinity, as "
            "after a training that failed or a conversion to float16: give other weights"
        )


def weights_in(folder: Path) -> list[Path]:
    """The files with weights that diffusers reads in a folder: those of safetensors if there are any."""
    files = sorted(path for path in folder.glob("*") if path.suffix in WEIGHTS and path.is_file())
    return [path for path in files if path.suffix not in TORCH] or files


def incomplete_adapter(part: Path) -> InputError:
    """The error to raise if a file or a folder of an adapter is missing or cannot be loaded."""
    state = "cannot be loaded" if part.exists() else "is missing"
    return InputError(
        f"the adapter in {part.parent} must be complete, but {part.name} in it {state}: copy the whole "
        "folder again, or adapt again"
    )


def shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor by its name, and an empty shape by every other name; empty for another file.

    The names are those in dictionaries at all levels. If a PyTorch file needs classes of other programs, it
    is not loaded, and the words in it take the place of the names.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError):
        pass
    import torch  # slow to import; safetensors files need none of it

    try:
        if zipfile.is_zipfile(path):  # mapped into memory, not read
            return dict(_named(torch.load(path, map_location="cpu", weights_only=True, mmap=True)))
    except _UNPICKLING_ERRORS:
        pass
    return dict.fromkeys(_texts(path) or (), ())


def _named(content: Any) -> Iterator[tuple[str, tuple[int, ...]]]:
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield str(name), tuple(getattr(value, "shape", ()))
            yield from _named(value)


def is_safetensors(path: Path) -> bool:
    """Whether a file is a complete safetensors file, whatever its name."""
    try:
        with safetensors.safe_open(path, framework="numpy"):
            return True
    except (safetensors.SafetensorError, OSError):
        return False


def _holds_tensors(path: Path) -> bool:
    """Whether a file is a complete safetensors file, or the pickles of a PyTorch file are complete."""
    return is_safetensors(path) or _texts(path) is not None


def _texts(path: Path) -> list[str] | None:
    """Texts in the pickles of a PyTorch file; None if it is none, or cut short."""
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                return [text for _ in range(_LEGACY_PICKLES) for text in _texts_in(file)]
        with zipfile.ZipFile(path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as file:
                return list(_texts_in(file))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _texts_in(file: IO[bytes]) -> Iterator[str]:
    """The words of one pickle, which is disassembled and not executed."""
    texts = (value for _, value, _ in pickletools.genops(file))
    return (text for text in texts if isinstance(text, str) and len(text.split()) == 1)


def _is_json_object(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError, RecursionError):
        return False
