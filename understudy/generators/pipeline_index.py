"""``model_index.json``, the list of parts of a diffusers pipeline."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RevisionNotFoundError
from safetensors import SafetensorError

from understudy.core.errors import InputError
from understudy.core.hub import hub_file, why_not_found
from understudy.core.listing import listed
from understudy.core.weight_files import READ_WEIGHTS, damage, is_safetensors, weights_in
from understudy.generators.foreign import INDEX, MERGE

_READ_UNASKED = (None, "fp16")
"""Variants that are read if ``generator.variant`` is not set."""
LOADING_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError)
"""What diffusers and transformers raise for files that are missing, damaged or do not fit together."""


def read_index(name: str, revision: str | None = None) -> dict[str, Any]:
    """Read the index of a folder or hub name, there of a branch, tag or commit.

    Raises:
        InputError: if there is no index, or the hub cannot be reached.
    """
    try:
        path = Path(name) / INDEX if Path(name).is_dir() else hub_file(name, INDEX, revision=revision)
        return dict(json.loads(path.read_text()))
    except LocalEntryNotFoundError as error:  # the hub cannot be reached
        raise cannot_load(name, error) from error
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, EntryNotFoundError):
            raise InputError(
                f"the generator must be a diffusers pipeline, but {name} on the hub has no {INDEX}: if it is "
                f"a LoRA, download it and {MERGE}; if it is a single file, download it and give its path "
                "with --generator"
            ) from error
        raise cannot_load(name, error) from error


def cannot_load(name: str, error: BaseException, *, variant: str | None = None) -> InputError:
    """The error to raise for a pipeline that does not load: the damaged or missing file, if there is one."""
    if fault := _fault(Path(name), variant):
        return InputError(f"the pipeline {name} must be complete, but {fault}")
    if variant is not None and "variant" in str(error):
        return InputError(
            f"the pipeline {name} has no files of the variant {variant!r}: correct generator.variant, or "
            "leave it out"
        )
    advice = (
        "copy its whole folder again, or update diffusers and transformers"
        if (Path(name) / INDEX).is_file()
        else "give a word of 'understudy list generators', such as mini, the path of a pipeline folder, or a "
        "hub name"
    )
    if isinstance(error, RevisionNotFoundError):
        advice = "correct generator.revision, or leave it out"
    return InputError(f"cannot load the generator {name!r}: {why_not_found(error)}; {advice}")


def _fault(folder: Path, variant: str | None) -> str | None:
    """The first damaged or missing file in the folder of a pipeline, and what to do; None without one.

    Args:
        folder: of the pipeline.
        variant: ``generator.variant``.
    """
    if not (index := folder / INDEX).is_file():
        return None
    if found := damage(index):
        return f"{INDEX} in it is {found[0]}: {found[1]}"
    stated = json.loads(index.read_text(encoding="utf-8"))
    for name, kind in stated.items():
        if not (isinstance(kind, list) and len(kind) == 2 and all(kind)):
            continue
        if fault := _unknown_class(name, *kind):
            return fault
        part = folder / name
        configs, weights = list(part.glob("*.json")), weights_in(part)
        for path in (*configs, *weights):
            if found := damage(path):
                return f"{path.relative_to(folder)} in it is {found[0]}: {found[1]}"
        if not configs or (part / "config.json" in configs and not weights):
            missing = "weights" if configs else "JSON file"
            return f"its folder {name} has no {missing}: copy the whole folder again"
        if fault := _misnamed(name, weights, variant):
            return fault
    return None


def _unknown_class(part: str, library: str, name: str) -> str | None:
    if library not in ("diffusers", "transformers") or hasattr(module := import_module(library), name):
        return None
    return (
        f"its {INDEX} names {library}.{name} as {part}, which {library} {module.__version__} does not have: "
        f"correct the name, or update {library}"
    )


def _misnamed(part: str, weights: list[Path], variant: str | None) -> str | None:
    """A file in another format than its name says, or weights under names that the libraries do not read."""
    for path in weights:
        if is_safetensors(path) != (path.suffix == ".safetensors"):
            to_torch = path.suffix == ".safetensors"
            ending, form = (".bin", "a PyTorch file") if to_torch else (".safetensors", "safetensors")
            return (
                f"the content of {part}/{path.name} in it is that of {form}: rename it to "
                f"{path.with_suffix(ending).name}"
            )
    read = [found for path in weights if (found := READ_WEIGHTS.match(path.name))]
    variants = {found["variant"] for found in read}
    if read and not variants & {*_READ_UNASKED, variant}:
        return (
            f"its folder {part} has only weights of the variant {listed(sorted(variants))}: set "
            f"generator.variant={min(variants)}"
        )
    if weights and not read:
        return (
            f"its folder {part} has weights under a name that diffusers does not read, {weights[0].name}: "
            "rename the file as in other pipelines, such as diffusion_pytorch_model.safetensors in unet"
        )
    return None
