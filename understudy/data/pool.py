"""Read every item of a source once: decode, check and fingerprint it; good items stay encoded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from PIL import Image, UnidentifiedImageError

from understudy.core.errors import InputError
from understudy.data.class_names import read_class_names, words_in_prompts
from understudy.data.decoding import open_image
from understudy.data.labelled_set import LabelledSet, decode_once, hash_once
from understudy.data.leaks import Fingerprints, perceptual
from understudy.data.settings import DataSettings
from understudy.data.sources.source import Contents, Item
from understudy.data.sources.split_names import RealSplit

_FORMATS = {"PNG", "JPEG", "MPO", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF"}
"""Formats that Pillow decodes itself; for some others it runs external programs."""


@final
@dataclass(frozen=True, eq=False)
class Pool:
    """All good images of a source, before they are split.

    Attributes:
        images: images with the provenance column ``source_path``; their split has no meaning yet.
        declared: split of each image if the source gives one.
        fingerprints: fingerprints of the images, in the same order.
        prompt_names: words for prompts by label.
        skipped: (path, reason) for each file left out.
        notes: what was taken for what, in sentences.
    """

    images: LabelledSet
    declared: tuple[RealSplit | None, ...]
    fingerprints: Fingerprints
    prompt_names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


def read_pool(contents: Contents, settings: DataSettings) -> Pool:
    """Read, check and name all items.

    Raises:
        InputError: for bad files (unless they are skipped), no images, classes without names, or identical
            images in two classes.
    """
    items, prints, bad = _check_all(contents, settings.max_pixels)
    if bad and not settings.skip_bad:
        listed = "\n".join(f"  {path}: {reason}" for path, reason in bad)
        raise InputError(
            f"every file must be a readable image, but {len(bad)} of {len(bad) + len(items)} are not:\n"
            f"{listed}\n",
            "repair or remove these files, or leave them out with --skip-bad",
        )
    if not items:
        raise InputError(f"{settings.source} must hold images, but none of its files is a readable image")
    keys = _label_keys(items, contents.class_names, settings.source)
    class_names, prompt_names = _names(keys, settings, numbered=isinstance(items[0].label, int))
    words = words_in_prompts(keys, class_names, prompt_names)
    label_of = {key: label for label, key in enumerate(keys)}
    _check_conflicts(items, [each[0] for each in prints])
    ids = [item.id for item in items] if items[0].id else stable_ids([item.path for item in items])
    images = LabelledSet.from_images(
        [item.data for item in items],
        [label_of[str(item.label)] for item in items],
        class_names=class_names,
        split="train",
        ids=ids,
        provenance={"source_path": [item.path for item in items]},
    )
    fingerprints = Fingerprints.from_rows(ids, prints)
    declared = tuple(item.split for item in items)
    return Pool(images, declared, fingerprints, prompt_names, tuple(bad), contents.notes + words)


def stable_ids(paths: Sequence[str]) -> list[str]:
    """Unique ids made from paths: ``real-`` and the first 12 or more hexadecimal digits of each SHA-256."""
    digests = [_sha256(path) for path in paths]
    length = next(n for n in range(12, 65) if len({digest[:n] for digest in digests}) == len(digests))
    return [f"real-{digest[:length]}" for digest in digests]


def _sha256(path: str) -> str:
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()


def _check_all(
    contents: Contents, max_pixels: int
) -> tuple[list[Item], list[tuple[str, int, np.ndarray]], list[tuple[str, str]]]:
    """Good items, their fingerprints, and (path, reason) for each bad item."""
    items, prints, bad = [], [], []
    for item in contents.items:
        found = item.problem or _inspect(item.data, max_pixels)
        if isinstance(found, str):
            bad.append((item.path, found))
        else:
            items.append(item)
            prints.append(found)
    return items, prints, bad


def _inspect(data: bytes, max_pixels: int) -> str | tuple[str, int, np.ndarray]:
    """The fingerprint of an image, or the reason why it cannot be used.

    The size in the header is checked before decoding.
    """
    try:
        with open_image(data) as opened:
            if opened.format not in _FORMATS:
                return f"the image format {opened.format} is not supported"
            if opened.width * opened.height > max_pixels:
                size = f"{opened.width} x {opened.height} pixels"
                return f"{size}, more than {max_pixels:,} (--set data.max_pixels=N)"
        image = decode_once(data)
    except UnidentifiedImageError:
        return "not an image"
    except Image.DecompressionBombError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - decoders raise errors of any kind
        return f"damaged image: {error or type(error).__name__}"
    return hash_once(data, image), *perceptual(image)


def _label_keys(items: Sequence[Item], declared: tuple[str, ...] | None, source: str) -> tuple[str, ...]:
    """How items name each class (its name, or its number as text), in the order of the labels."""
    if len({type(item.label) for item in items}) > 1:
        raise InputError(f"the labels of {source} must all be numbers or all be names, got both")
    keys = declared or tuple(str(label) for label in sorted({item.label for item in items}))
    if len(set(keys)) != len(keys):
        raise InputError(f"class names must differ, got {', '.join(keys)}")
    if len(keys) < 2:
        raise InputError(f"at least two classes are needed, got one: {keys[0]!r}")
    return keys


def _names(
    keys: tuple[str, ...], settings: DataSettings, *, numbered: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names and words for prompts, by label; numeric classes get names from the class names file."""
    if settings.class_names is not None:
        words = read_class_names(settings.class_names, keys)
        if numbered and len(set(words)) != len(words):
            raise InputError(
                f"class names file {settings.class_names} must give every class a different name, got "
                f"{', '.join(words)}"
            )
        return words if numbered else keys, words
    if numbered:
        raise InputError(
            f"every label needs a class name, but {settings.source} has only the numbers {', '.join(keys)}: "
            f"give --class-names FILE with {len(keys)} lines, one name per line, in the order of the labels"
        )
    return keys, keys


def _check_conflicts(items: Sequence[Item], exact: Sequence[str]) -> None:
    """Check that no picture occurs in two classes."""
    by_pixels: dict[str, Item] = {}
    lines = []
    for item, pixels in zip(items, exact, strict=True):
        first = by_pixels.setdefault(pixels, item)
        if first.label != item.label:
            lines.append(f"  {first.path} is {first.label!r}, {item.path} is {item.label!r}")
    if lines:
        raise InputError(
            "identical images must have the same class, but these do not:\n"
            + "\n".join(lines)
            + "\ncorrect the labels, or remove the images"
        )
