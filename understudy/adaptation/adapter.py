"""The adapter folder: what adaptation learned, and which generator, images and tokens it was made for."""

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
from understudy.core.files import (
    again,
    check_tensors,
    read_json,
    read_list,
    readable,
    write_atomically,
    write_json,
)
from understudy.core.listing import listed
from understudy.data.labelled_set import LabelledSet
from understudy.generators.foreign import describe
from understudy.generators.generator import Adaptable

_PROJECTION = "visual_projection.safetensors"
_IMAGES = "images.json"
MEND_GIVEN = "copy the whole folder again, remove adapt.adapter to adapt again, or give another one"
"""What to do about a damaged adapter that the user gave, which no stage of the run makes again."""


def read_adapter_report(folder: Path, *, mend: str | None = None) -> dict[str, Any]:
    """Read the report that adaptation writes last into an adapter folder.

    Args:
        folder: the adapter.
        mend: what to do if it is damaged; by default, how a run makes it again.

    Raises:
        InputError: if there is no report, or it is damaged.
    """
    path = folder / "report.json"
    if not path.is_file():
        raise InputError(f"{folder} holds no finished adapter: report.json is missing: {mend or again(path)}")
    return read_json(path, mend=mend, keys=("method",))


def check_adapter(folder: Path, *, method: str) -> None:
    """Check that a folder holds an adapter that a run made with this method, whole and unchanged.

    Raises:
        InputError: naming what is there instead, the other method, or the missing, damaged or changed file.
    """
    if not (folder / "report.json").is_file():
        what, how = describe(folder)
        found = f"{folder} is {what}" if folder.exists() else f"nothing is at {folder}"
        raise InputError(
            f"adapt.adapter must be the folder of an adapter that understudy made, but {found}: {how}"
        )
    report = read_adapter_report(folder, mend=MEND_GIVEN)
    if report["method"] != method:
        raise InputError(
            f"the adapter in {folder} was made with adapt.method={report['method']}, but this run has "
            f"adapt.method={method}: give the method of the adapter with --set adapt.method="
            f"{report['method']}, or adapt again"
        )
    check_complete(folder, mend=MEND_GIVEN)
    # Adapters of early versions have no fingerprint of their files.
    if report.get("fingerprint", found := adapter_fingerprint(folder)) != found:
        raise InputError(
            f"the files of the adapter in {folder} are not those that were written: some are missing or were "
            f"changed since: {MEND_GIVEN}"
        )


def check_complete(folder: Path, *, mend: str | None = None) -> None:
    """Check that no file of an adapter is cut short, without reading its tensors; ``mend`` as above.

    Raises:
        InputError: naming the damaged file.
    """
    for path in sorted(folder.rglob("*")):
        if _is_further(path, folder):
            continue
        if path.suffix == ".safetensors":
            check_tensors(path, mend=mend)
        elif path.name == "config.json":
            read_json(path, mend=mend, keys=("_class_name",))


def apply_adapter(
    generator: Adaptable, folder: Path, *, scale: float = 1.0, visual: bool | None = None
) -> None:
    """Change a generator as adaptation changed it.

    Args:
        generator: generator without any adapter.
        folder: written by :func:`understudy.adaptation.fit.adapt`.
        scale: share of the change to apply; 1 applies all of it.
        visual: whether image features will condition the generator; not checked if None.

    Raises:
        InputError: if the adapter was made for other weights (with both fingerprints), or with visual
            guidance and is used without, or the reverse; or if a file is damaged.
    """
    report, fingerprint = read_adapter_report(folder), generator.fingerprint
    base = report.get("base")
    if base != fingerprint:
        raise InputError(
            f"the adapter in {folder} was made for a generator with fingerprint {base}, but this one has "
            f"{fingerprint}: use the generator that it was made for, with the same generator.precision and "
            "generator.image_encoder, or adapt again"
        )
    if visual is not None:
        check_guidance(folder, visual=visual)
    check_complete(folder)
    generator.load_adapter(folder, method=report["method"], scale=scale)


def check_guidance(folder: Path, *, visual: bool) -> None:
    """Check that an adapter made with visual guidance is used with it, and one made without is used without.

    Raises:
        InputError: with the kind of guidance that the adapter was made with.
    """
    kind = read_adapter_report(folder).get("visual", "none")
    if visual != (kind != "none"):
        raise InputError(
            f"the adapter in {folder} was made with visual.kind {kind!r}: set it, or adapt again"
        )


def save_images(folder: Path, sets: Sequence[LabelledSet]) -> None:
    """Record which real images an adapter has seen, for :func:`check_unseen`."""
    write_json(folder / _IMAGES, sorted(_digests(sets)))


def check_unseen(folder: Path, *, seen: Sequence[LabelledSet], test: LabelledSet, few_shots: bool) -> None:
    """Check that an adapter was fitted to no image that is off limits for the run.

    Args:
        folder: adapter folder; one without a record of its images passes.
        seen: train and validation images of the run.
        test: test images of the run.
        few_shots: whether ``data.shots`` is set; the adapter must then have seen no other images.

    Raises:
        InputError: with the number of forbidden images.
    """
    if not (folder / _IMAGES).exists():
        return
    known = set(read_list(folder / _IMAGES, mend=MEND_GIVEN))
    leaked = len(known & _digests([test]))
    if leaked:
        raise InputError(
            f"the adapter in {folder} was fitted to {leaked} test images of this run: use the seed of the "
            "run that made it, or adapt again"
        )
    others = len(known - _digests(seen))
    if few_shots and others:
        raise InputError(
            f"the adapter in {folder} was fitted to {others} images that are not among the data.shots of "
            "this run: adapt again with these shots"
        )


def _digests(sets: Sequence[LabelledSet]) -> set[str]:
    return {
        hashlib.sha256(data.encoded(index)).hexdigest()[:16] for data in sets for index in range(len(data))
    }


def check_tokens(folder: Path, tokens: Sequence[str]) -> None:
    """Check that an adapter has the learned tokens that prompts will use.

    Args:
        folder: adapter folder.
        tokens: token of each class; empty strings if there are none.

    Raises:
        InputError: naming the tokens of the adapter and of the run.
    """
    wanted = [name for name in dict.fromkeys(tokens) if name]
    found = read_adapter_report(folder).get("tokens", [])
    if wanted != found:
        raise InputError(
            f"the adapter in {folder} was made with {_listed(found)}, but this run has {_listed(wanted)}: "
            "use the same adapt.method, adapt.token and classes as then, or adapt again"
        )


def _listed(tokens: Sequence[str]) -> str:
    return f"the tokens {listed(tokens)}" if tokens else "no learned token"


def copy_adapter(source: Path, to: Path, *, shared: bool = False, mend: str | None = None) -> None:
    """Copy a finished adapter without its checkpoint and further generators; the report is copied last.

    Args:
        source: adapter folder.
        to: folder to copy to.
        shared: leave out the digests of its train images, with which anyone could check whether an image was
            among them.
        mend: what to do if it is damaged; by default, how a run makes it again.

    Raises:
        InputError: if there is no finished adapter, or a file of it is damaged.
    """
    read_adapter_report(source, mend=mend)
    check_complete(source, mend=mend)
    left_out = shutil.ignore_patterns("checkpoint.pt", "report.json", "member-*", ".*", *([_IMAGES] * shared))
    shutil.copytree(source, to, dirs_exist_ok=True, ignore=left_out)
    write_atomically(to / "report.json", lambda path: shutil.copy(source / "report.json", path))


def adapter_fingerprint(folder: Path) -> str:
    """SHA-256 over the safetensors files of an adapter folder, shortened."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        if not _is_further(path, folder):
            digest.update(_ordered(path.read_bytes()))
    return digest.hexdigest()[:16]


def _is_further(path: Path, folder: Path) -> bool:
    """Whether a file is part of the adapter of a further generator, which may be half written."""
    return path.relative_to(folder).parts[0].startswith("member-")


def _ordered(content: bytes) -> bytes:
    """A safetensors file with its metadata in alphabetical order; the library writes it in random order."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return content[:8] + ordered.ljust(length) + content[8 + length :]


def save_projection(folder: Path, projection: nn.Linear) -> None:
    """Write the linear map from image features to text states."""
    state = {name: value.detach().cpu().contiguous() for name, value in projection.state_dict().items()}
    write_atomically(folder / _PROJECTION, lambda path: safetensors.torch.save_file(state, path))


def load_projection(folder: Path) -> nn.Linear | None:
    """Read the map that :func:`save_projection` wrote, on the CPU; None if the folder has none."""
    if not (folder / _PROJECTION).exists():
        return None
    with readable(folder / _PROJECTION):
        state = safetensors.torch.load_file(folder / _PROJECTION)
    width, features = state["weight"].shape
    projection = nn.Linear(features, width).requires_grad_(requires_grad=False)
    projection.load_state_dict(state)
    return projection
