"""The adapter folder: what adaptation learned, and what it was made for."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from understudy.core.errors import InputError
from understudy.core.files import write_atomically, write_json
from understudy.data.labelled_set import LabelledSet
from understudy.generators.generator import Generator

_PROJECTION = "visual_projection.safetensors"
_IMAGES = "images.json"


def read_adapter_report(folder: Path) -> dict[str, Any]:
    """What adaptation wrote last into an adapter folder.

    Raises:
        InputError: if there is nothing.
    """
    path = folder / "report.json"
    if not path.is_file():
        raise InputError(f"{folder} holds no finished adapter: report.json is missing")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} must be JSON, but: {error}") from None
    if not isinstance(report, dict) or "method" not in report:
        raise InputError(f"{path} must be the report of an adaptation, with its method, got {str(report)[:60]}")
    return report


def apply_adapter(generator: Generator, folder: Path, *, scale: float = 1.0, visual: bool | None = None) -> None:
    """Change a generator as it was adapted.

    Args:
        generator: as it came, not adapted.
        folder: written by :func:`understudy.adaptation.fit.adapt`.
        scale: how much of the change is applied; 1 is all.
        visual: whether image features will condition the generator; not checked if not given.

    Raises:
        InputError: if the adapter was made for other weights (both fingerprints are named), or with visual guidance and will be used
            without it, or the reverse.
    """
    report, fingerprint = read_adapter_report(folder), generator.fingerprint
    base = report.get("base")
    if base != fingerprint:
        raise InputError(
            f"the adapter in {folder} was made for a generator with fingerprint {base}, and this one has {fingerprint}: name the generator "
            "that it was made for, with the same generator.precision and generator.image_encoder, or adapt anew"
        )
    if visual is not None:
        require_guidance(folder, visual=visual)
    generator.load_adapter(folder, method=report["method"], scale=scale)


def require_guidance(folder: Path, *, visual: bool) -> None:
    """Refuse an adapter that was made with image features to be used without them, or the reverse.

    Raises:
        InputError: naming the kind that it was made with.
    """
    kind = read_adapter_report(folder).get("visual", "none")
    if visual != (kind != "none"):
        raise InputError(
            f"the adapter in {folder} was made with visual.kind {kind!r}, which this run must have as well: set it, or adapt anew"
        )


def save_images(folder: Path, sets: Sequence[LabelledSet]) -> None:
    """Note which real images an adapter was made from, so that it is not used where they are to be unseen."""
    write_json(folder / _IMAGES, sorted(_digests(sets)))


def require_unseen(folder: Path, *, seen: Sequence[LabelledSet], test: LabelledSet, few_shots: bool) -> None:
    """Refuse an adapter that knows images which a run must not have seen.

    Args:
        folder: of the adapter; one that does not say what it was made from passes.
        seen: train and validation images of the run.
        test: its test images.
        few_shots: whether the run is about few images, so that others would be help from outside.

    Raises:
        InputError: saying how many there are.
    """
    if not (folder / _IMAGES).exists():
        return
    known = set(json.loads((folder / _IMAGES).read_text(encoding="utf-8")))
    leaked = len(known & _digests([test]))
    if leaked:
        raise InputError(f"the adapter in {folder} was made from {leaked} images that are test images of this run: use the seed of its run")
    others = len(known - _digests(seen))
    if few_shots and others:
        raise InputError(
            f"the adapter in {folder} was made from {others} images that this run with data.shots does not have: adapt with these shots"
        )


def _digests(sets: Sequence[LabelledSet]) -> set[str]:
    return {hashlib.sha256(data.encoded(index)).hexdigest()[:16] for data in sets for index in range(len(data))}


def require_tokens(folder: Path, tokens: Sequence[str]) -> None:
    """Refuse an adapter that has other tokens than prompts will use.

    Args:
        folder: of the adapter.
        tokens: of every class; empty strings without any.

    Raises:
        InputError: naming both.
    """
    wanted, found = [name for name in dict.fromkeys(tokens) if name], read_adapter_report(folder).get("tokens", [])
    if wanted != found:
        raise InputError(
            f"the adapter in {folder} was made with {_listed(found)}, and this run has {_listed(wanted)}: set adapt.method and adapt.token "
            "as there, with the same classes, or adapt anew"
        )


def _listed(tokens: Sequence[str]) -> str:
    return f"the tokens {', '.join(tokens[:3])}{' ...' * (len(tokens) > 3)}" if tokens else "no learned token"


def copy_adapter(source: Path, to: Path, *, shared: bool = False) -> None:
    """Copy a finished adapter, without the checkpoints of its making; the report comes last.

    Args:
        source: folder of the adapter.
        to: where it is copied to.
        shared: leave out which images it was made from: whoever has an image could look whether it is among them.

    Raises:
        InputError: if there is none.
    """
    read_adapter_report(source)
    shutil.copytree(
        source, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("checkpoint.pt", "report.json", ".*", *([_IMAGES] * shared))
    )
    write_atomically(to / "report.json", lambda path: shutil.copy(source / "report.json", path))


def adapter_fingerprint(folder: Path) -> str:
    """SHA-256 over the safetensors files of an adapter folder, shortened."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(_ordered(path.read_bytes()))
    return digest.hexdigest()[:16]


def _ordered(content: bytes) -> bytes:
    """A safetensors file with its metadata in alphabetical order: the library writes them in a random one."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return content[:8] + ordered.ljust(length) + content[8 + length :]


def save_projection(folder: Path, projection: nn.Linear) -> None:
    """Write the map from image features to text states."""
    state = {name: value.detach().cpu().contiguous() for name, value in projection.state_dict().items()}
    write_atomically(folder / _PROJECTION, lambda path: safetensors.torch.save_file(state, path))


def load_projection(folder: Path) -> nn.Linear | None:
    """What :func:`save_projection` wrote, on the CPU, or None."""
    if not (folder / _PROJECTION).exists():
        return None
    state = safetensors.torch.load_file(folder / _PROJECTION)
    width, features = state["weight"].shape
    projection = nn.Linear(features, width).requires_grad_(requires_grad=False)
    projection.load_state_dict(state)
    return projection
