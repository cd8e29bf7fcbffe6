"""Read every item of a source once: decode, check and fingerprint it; good items stay encoded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.listing import listed, shortened
from understudy.data.class_names import read_class_names, words_in_prompts
from understudy.data.inspection import Inspected, fingerprint_once, inspect
from understudy.data.labelled_set import LabelledSet
from understudy.data.labels import find_classes, is_missing
from understudy.data.leaks import Fingerprints, Print
from understudy.data.levels import Range, find_ranges, scaled
from understudy.data.settings import DataSettings
from understudy.data.sources.entries import printable
from understudy.data.sources.leftovers import LeftOut, count_left_out, further_pages
from understudy.data.sources.source import Contents, Item
from understudy.data.sources.split_names import RealSplit


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
        left_out: files that are no images of the set, counted by reason.
        lost: splits of which every file was skipped.
    """

    images: LabelledSet
    declared: tuple[RealSplit | None, ...]
    fingerprints: Fingerprints
    prompt_names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    lost: tuple[RealSplit, ...] = ()


def read_pool(contents: Contents, settings: DataSettings) -> Pool:
    """Read, check and name all items.

    Raises:
        InputError: for bad files (unless they are skipped), no images, classes without names, or identical
            images in two classes.
    """
    items, inspected, bad, of_bad = _inspect_all(contents, settings.max_pixels)
    if bad and not settings.skip_bad:
        raise _not_read(bad, total=len(bad) + len(items))
    left_out = count_left_out([*contents.left_out, *further_pages(items)])
    ranges, levels = find_ranges(
        [(item.path, each.levels) for item, each in zip(items, inspected, strict=True)], settings
    )
    items, prints = _scale(items, inspected, ranges)
    found = [None if is_missing(item.label) else item.label for item in items]
    unlabelled = [item.path for item, label in zip(items, found, strict=True) if label is None]
    notes = contents.notes + levels + _left_out(unlabelled, len(items), settings)
    kept = [index for index, label in enumerate(found) if label is not None]
    items, prints = [items[index] for index in kept], [prints[index] for index in kept]
    labels = [label for label in found if label is not None]
    if not items:
        raise InputError(f"{settings.source} must hold images, but none of its files is a readable image")
    classes = find_classes(labels, contents.class_names, settings)
    class_names, prompt_names = _names(classes.keys, settings, numbered=classes.numbered)
    words = words_in_prompts(classes.keys, class_names, prompt_names)
    keys = [classes.key_of[label] for label in labels]
    _check_conflicts(items, prints, keys)
    ids = [item.id for item in items] if items[0].id else stable_ids([item.path for item in items])
    label_of = {key: label for label, key in enumerate(classes.keys)}
    images = LabelledSet.from_images(
        [item.data for item in items],
        [label_of[key] for key in keys],
        class_names=class_names,
        split="train",
        ids=ids,
        provenance={"source_path": [item.path for item in items]},
    )
    fingerprints = Fingerprints.from_rows(ids, prints)
    declared = tuple(item.split for item in items)
    notes += classes.notes + words
    lost = tuple(sorted(of_bad.difference(declared)))
    return Pool(images, declared, fingerprints, prompt_names, tuple(bad), notes, left_out, lost)


def _not_read(bad: Sequence[tuple[str, str]], *, total: int) -> InputError:
    """The error for files that are no readable images, and for folders (with a slash) without images."""
    folders = [path for path, _ in bad if path.endswith("/")]
    lines = shortened([f"{path}: {reason}" for path, reason in bad if not path.endswith("/")])
    told, what = "", "repair or remove these files"
    if len(folders) < len(bad):
        number = len(bad) - len(folders)
        are = "is" if number == 1 else "are"
        told = f"every file must be a readable image, but {number} of {total - len(folders)} {are} not:\n"
        told += "".join(f"  {line}\n" for line in lines)
    if folders:
        told += f"every folder must hold images, but these hold none: {listed(folders)}\n"
        what = "put images into these folders or remove them" + (f", {what}" if lines else "")
    return InputError(told, f"{what}, or leave them out with --skip-bad")


def _left_out(unlabelled: Sequence[str], total: int, settings: DataSettings) -> tuple[str, ...]:
    """Say which images are left out because they have no label; without the setting, refuse them."""
    if not unlabelled:
        return ()
    told = f"{len(unlabelled):,} of {total:,} images have no label (null, empty text or -1)"
    if not settings.skip_unlabelled:
        raise InputError(
            f"{settings.source}: every image must have a label, but {told}, such as {listed(unlabelled)}: ",
            "label them, or leave them out with --set data.skip_unlabelled=true",
        )
    return (f"left out: {told}: {listed(unlabelled)}",)


def stable_ids(paths: Sequence[str]) -> list[str]:
    """Unique ids made from paths: ``real-`` and the first 12 or more hexadecimal digits of each SHA-256."""
    digests = [_sha256(path) for path in paths]
    length = next(n for n in range(12, 65) if len({digest[:n] for digest in digests}) == len(digests))
    return [f"real-{digest[:length]}" for digest in digests]


def _sha256(path: str) -> str:
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()


def _inspect_all(
    contents: Contents, max_pixels: int
) -> tuple[list[Item], list[Inspected], list[tuple[str, str]], set[RealSplit]]:
    """Good items, what is known about them, (path, reason) for each bad item, and the splits of bad items."""
    items, inspected, bad = [], [], []
    splits: set[RealSplit] = set()
    for found_item in contents.items:
        item = replace(found_item, path=printable(found_item.path))
        found = item.problem or inspect(item.data, max_pixels)
        if isinstance(found, str):
            bad.append((item.path, found))
            splits.update([item.split] if item.split else [])
        else:
            items.append(item)
            inspected.append(found)
    return items, inspected, bad, splits


def _scale(
    items: Sequence[Item], inspected: Sequence[Inspected], ranges: Mapping[str, Range]
) -> tuple[list[Item], list[Print]]:
    """Items with the pictures of some kinds scaled to 8 bits, and the fingerprints of all items."""
    done, prints = [], []
    for item, found in zip(items, inspected, strict=True):
        scale = ranges.get(found.levels.kind)
        item = item if scale is None else replace(item, data=scaled(item.data, scale))
        done.append(item)
        known = found.fingerprint if scale is None else None
        prints.append(fingerprint_once(item.data) if known is None else known)
    return done, prints


def _names(
    keys: tuple[str, ...], settings: DataSettings, *, numbered: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Class names and words for prompts, by label; numeric classes get names from the class names file."""
    if settings.class_names is not None:
        words = read_class_names(settings.class_names, keys)
        if numbered and len(set(words)) != len(words):
            raise InputError(
                f"class names file {settings.class_names} must give every class a different name, got "
                f"{listed(words)}"
            )
        return words if numbered else keys, words
    if numbered:
        raise InputError(
            f"every label needs a class name, but {settings.source} has only the numbers {listed(keys)}: ",
            f"give --class-names FILE with {len(keys)} lines, one name per line, in the order of the labels",
        )
    return keys, keys


def _check_conflicts(items: Sequence[Item], prints: Sequence[Print], keys: Sequence[str]) -> None:
    """Check that no picture occurs in two classes."""
    by_pixels: dict[str, tuple[str, str]] = {}
    lines, blank = [], 0
    for item, (pixels, _, thumbnail, _), key in zip(items, prints, keys, strict=True):
        path, first = by_pixels.setdefault(pixels, (item.path, key))
        if first != key:
            lines.append(f"  {path} is {first!r}, {item.path} is {key!r}")
            blank += int(np.ptp(thumbnail) == 0)
    if lines:
        reason = (
            f"{blank} of them have a single colour: only the first page of a file is read, and transparent "
            "pixels become white\n"
        )
        raise InputError(
            "identical images must have the same class, but these do not:\n"
            + "\n".join(shortened(lines))
            + "\n"
            + (reason if blank else "")
            + "correct the labels, or remove the images"
        )
