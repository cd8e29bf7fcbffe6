"""Read every item of a source once: decode, check and fingerprint it; good items stay encoded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.listing import listed, shortened
from understudy.core.progress import Observer, Silent
from understudy.data.class_names import name_classes
from understudy.data.image_groups import provenance_of_groups
from understudy.data.inspect_all import FEW, inspect_all
from understudy.data.inspection import Inspected, fingerprint_once
from understudy.data.known_images import cache_folder
from understudy.data.labelled_set import LabelledSet
from understudy.data.labels import find_classes, is_missing
from understudy.data.leaks import BLANK, FingerprintRows, Fingerprints
from understudy.data.levels import Levels, Range, find_ranges, scaled
from understudy.data.settings import DataSettings
from understudy.data.sources.entries import printable
from understudy.data.sources.leftovers import FURTHER_PAGES, LeftOut, count_left_out
from understudy.data.sources.source import Contents, Item
from understudy.data.sources.split_names import RealSplit
from understudy.data.spool import Spool
from understudy.data.stored_images import StoredImages


@final
@dataclass(frozen=True, eq=False)
class Pool:
    """All good images of a source, before they are split.

    Attributes:
        images: images with the provenance columns ``source_path`` and, if the settings name groups,
            ``group``; their split has no meaning yet.
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
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    lost: tuple[RealSplit, ...] = ()


def read_pool(contents: Contents, settings: DataSettings, observer: Observer | None = None) -> Pool:
    """Read, check and name all items.

    Args:
        contents: of a source; read to the end.
        settings: how to read it.
        observer: shows a bar for a large source.

    Raises:
        InputError: for bad files (unless they are skipped), no images, classes without names, or identical
            images in two classes.
    """
    found = _read(contents, settings, observer or Silent())
    items, bad = found.items, found.bad
    if bad and not settings.skip_bad:
        raise _not_read(bad, total=len(bad) + len(items))
    left_out = count_left_out([*contents.left_out, *((path, FURTHER_PAGES) for path in found.with_pages)])
    ranges, levels = find_ranges(
        [(item.path, each) for item, each in zip(items, found.levels, strict=True)], settings
    )
    rows = _scaled_rows(found, ranges)
    pool = _labelled(found, rows, contents, settings)
    notes, lost = contents.notes + levels + pool.notes, sorted(found.bad_splits.difference(pool.declared))
    return replace(pool, skipped=tuple(bad), notes=notes, left_out=left_out, lost=tuple(lost))


def _labelled(found: _Read, rows: np.ndarray, contents: Contents, settings: DataSettings) -> Pool:
    """The items that have a label, with the names of their classes."""
    items = found.items
    given = [None if is_missing(item.label) else item.label for item in items]
    unlabelled = [item.path for item, label in zip(items, given, strict=True) if label is None]
    notes = _left_out(unlabelled, len(items), settings)
    kept = np.array([index for index, label in enumerate(given) if label is not None], dtype=np.int64)
    items, labels = [items[index] for index in kept], [label for label in given if label is not None]
    if not items:
        raise InputError(f"{settings.source} must hold images, but none of its files is a readable image")
    classes = find_classes(labels, contents.class_names, settings)
    class_names, prompt_names, words = name_classes(classes.keys, settings, numbered=classes.numbered)
    paths = [item.path for item in items]
    groups = provenance_of_groups(paths, (item.group for item in items), settings)
    ids = [item.id for item in items] if items[0].id else stable_ids(paths)
    prints = Fingerprints(tuple(ids), *found.prints.columns(rows[kept]))
    keys = [classes.key_of[label] for label in labels]
    _check_conflicts(items, prints, keys)
    label_of = {key: label for label, key in enumerate(classes.keys)}
    images = LabelledSet.from_files(
        StoredImages([found.files]).select(rows[kept]),
        [label_of[key] for key in keys],
        class_names=class_names,
        split="train",
        ids=ids,
        provenance={"source_path": paths} | groups,
    )
    declared = tuple(item.split for item in items)
    return Pool(images, declared, prints, prompt_names, notes=notes + classes.notes + words)


@final
@dataclass
class _Read:
    """What was read of a source.

    Attributes:
        items: those that can be used, without their bytes.
        levels: of each item.
        files: the bytes of each item, then those of scaled pictures.
        prints: fingerprints of the same images.
        with_pages: paths of files with further pages.
        bad: (path, reason) of each item that cannot be used.
        bad_splits: the splits of those.
    """

    items: list[Item] = field(default_factory=list)
    levels: list[Levels] = field(default_factory=list)
    files: Spool = field(default_factory=Spool)
    prints: FingerprintRows = field(default_factory=FingerprintRows)
    with_pages: list[str] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    bad_splits: set[RealSplit] = field(default_factory=set)

    def add(self, item: Item, found: Inspected | str) -> None:
        """Add an item, or the reason why it cannot be used."""
        path = printable(item.path)
        if isinstance(found, str):
            self.bad.append((path, found))
            self.bad_splits.update([item.split] if item.split else [])
            return
        self.items.append(replace(item, path=path, data=b""))
        self.levels.append(found.levels)
        self.files.append(item.data)
        self.prints.append(found.fingerprint or BLANK)
        if found.has_pages:
            self.with_pages.append(path)


def _read(contents: Contents, settings: DataSettings, observer: Observer) -> _Read:
    """Read and inspect all items; a bar shows that if they are many."""
    read, total = _Read(), contents.total or 0
    bar = observer if total > FEW else Silent()
    with bar.bar("read", total=total, unit="images") as advance:
        for item, found in inspect_all(contents.items, settings.max_pixels, remembers=settings.remember):
            read.add(item, found)
            advance(1)
    if settings.remember and len(read.items) > FEW:
        observer.say(
            f"read: hashes and grey thumbnails of the images are kept in {cache_folder()} for the next "
            "command (data.remember=false keeps none)"
        )
    return read


def _scaled_rows(read: _Read, ranges: Mapping[str, Range]) -> np.ndarray:
    """Where each item lies in the files, once pictures of some kinds are scaled to 8 bits; int64 (N,)."""
    rows = np.arange(len(read.items))
    for index, levels in enumerate(read.levels):
        if (scale := ranges.get(levels.kind)) is not None:
            rows[index] = len(read.files)
            read.files.append(data := scaled(read.files[index], scale))
            read.prints.append(fingerprint_once(data))
    return rows


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


def _check_conflicts(items: Sequence[Item], prints: Fingerprints, keys: Sequence[str]) -> None:
    """Check that no picture occurs in two classes."""
    by_pixels: dict[str, tuple[str, str]] = {}
    lines, blank = [], 0
    for item, pixels, thumbnail, key in zip(items, prints.exact, prints.thumbnails, keys, strict=True):
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
