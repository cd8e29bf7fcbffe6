"""Find images that two sets share: exact copies, and near copies by perceptual hash.

A 64-bit perceptual hash (signs of DCT coefficients; Zauner 2010, as in ``imagehash.phash``) confuses small,
simple images, so the pixels of near copies must nearly agree as well. At 16 x 16 grey levels, the means may
differ by ``MAX_SHIFT`` of 255 levels (5% brightness), and the pixels by ``MAX_DIFFERENCE`` levels on average
once the difference of the means is subtracted. On ``digits``, JPEG at quality 90 with a 5% brightness change
leaves a difference of at most 4.2 levels; the closest two digits whose hashes agree to 2 bits differ by 9.8.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self, final

import imagehash
import numpy as np
from PIL import Image

from understudy.core.errors import InputError
from understudy.data.changed_copies import SIDE, changed_copies
from understudy.data.labelled_set import LabelledSet, pixel_hash
from understudy.data.recent import Recent
from understudy.functional.hamming import close_codes

Print = tuple[str, int, np.ndarray, np.ndarray]
"""What :func:`fingerprint` finds."""
MAX_SHIFT = 13.0
MAX_DIFFERENCE = 5.0
_SIDE = 16
BLANK: Print = ("", 0, np.zeros(_SIDE * _SIDE, dtype=np.uint8), np.zeros((SIDE, SIDE), dtype=np.uint8))
"""In place of the fingerprint of an image that has none yet."""
_THUMBNAILS_AT_ONCE = 50_000
_LISTED = 10  # pairs in a message
# The runs of a study read the same images.
_CHANGED = Recent[np.ndarray](room=2**20, size=lambda pairs: 1 + len(pairs))


@final
@dataclass(frozen=True, eq=False)
class Fingerprints:
    """Hashes and thumbnails of N images, which are compared instead of the images.

    Attributes:
        ids: id of each image.
        exact: hash of the decoded pixels of each image.
        perceptual: 64-bit perceptual hashes, uint64 of shape (N,).
        thumbnails: 16 x 16 grey levels, uint8 of shape (N, 256).
        pictures: 32 x 32 grey levels, uint8 of shape (N, 32, 32), for the search for changed copies.
    """

    ids: tuple[str, ...]
    exact: tuple[str, ...]
    perceptual: np.ndarray
    thumbnails: np.ndarray
    pictures: np.ndarray | None = None

    @classmethod
    def of(cls, ids: Sequence[str], images: Iterable[Image.Image]) -> Self:
        """Fingerprints of decoded RGB images; one image is in memory at a time."""
        rows = FingerprintRows()
        for image in images:
            rows.append(fingerprint(image))
        return cls(tuple(ids), *rows.columns(np.arange(len(rows))))

    @classmethod
    def of_set(cls, data: LabelledSet) -> Self:
        """Fingerprints of all images of a set."""
        return cls.of(data.ids, (data.image(index) for index in range(len(data))))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The fingerprints of several sets, one after the other."""
        pictures = [part.pictures for part in parts if part.pictures is not None]
        return cls(
            tuple(name for part in parts for name in part.ids),
            tuple(pixels for part in parts for pixels in part.exact),
            np.concatenate([part.perceptual for part in parts]),
            np.concatenate([part.thumbnails for part in parts]),
            np.concatenate(pictures) if len(pictures) == len(parts) else None,
        )

    def select(self, ids: Sequence[str]) -> Self:
        """The fingerprints of the images ``ids``, in that order."""
        place = {name: index for index, name in enumerate(self.ids)}
        keep = np.array([place[name] for name in ids], dtype=np.int64)
        return type(self)(
            tuple(ids),
            tuple(self.exact[index] for index in keep),
            self.perceptual[keep],
            self.thumbnails[keep],
            None if self.pictures is None else self.pictures[keep],
        )


@final
class FingerprintRows:
    """Results of :func:`fingerprint`, gathered in little memory."""

    def __init__(self) -> None:
        self._exact: list[str] = []
        self._bits = array("Q")
        self._thumbnails, self._pictures = bytearray(), bytearray()

    def __len__(self) -> int:
        return len(self._exact)

    def append(self, row: Print) -> None:
        """Add the fingerprint of the next image."""
        pixels, bits, thumbnail, picture = row
        self._exact.append(pixels)
        self._bits.append(bits)
        self._thumbnails += thumbnail.tobytes()
        self._pictures += picture.tobytes()

    def columns(self, chosen: np.ndarray) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]:
        """What :class:`Fingerprints` holds of some rows besides ids; nothing may be appended afterwards."""
        rows = slice(None) if np.array_equal(chosen, np.arange(len(self))) else chosen  # a slice is no copy
        return (
            tuple(np.array(self._exact, dtype=object)[rows].tolist()),
            np.array(self._bits, dtype=np.uint64)[rows],
            np.frombuffer(self._thumbnails, dtype=np.uint8).reshape(-1, _SIDE * _SIDE)[rows],
            np.frombuffer(self._pictures, dtype=np.uint8).reshape(-1, SIDE, SIDE)[rows],
        )


def fingerprint(image: Image.Image) -> Print:
    """Pixel hash, 64-bit perceptual hash, 16 x 16 and 32 x 32 grey levels of an RGB image.

    The levels are uint8 of shape (256,) and (32, 32).
    """
    return pixel_hash(image), *perceptual(image)


def perceptual(image: Image.Image) -> tuple[int, np.ndarray, np.ndarray]:
    """All but the first part of :func:`fingerprint`."""
    grey = image.convert("L")
    bits = np.packbits(imagehash.phash(grey).hash.ravel())
    thumbnail = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX)).ravel()
    picture = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))
    return int.from_bytes(bits.tobytes(), "big"), thumbnail, picture


def near_duplicates(
    a: LabelledSet | Fingerprints, b: LabelledSet | Fingerprints, *, max_distance: int
) -> list[tuple[str, str, int]]:
    """Find pairs of images that are copies, exact or up to compression and small changes of brightness.

    Time grows with the number of images and of pairs found (:mod:`understudy.functional.hamming`).

    Args:
        a: N images.
        b: M images.
        max_distance: how many of the 64 hash bits may differ; -1 finds exact copies only.

    Returns:
        (id in a, id in b, distance) in the order of a, then b. The distance is the number of different
        bits, or -1 for equal pixels.
    """
    first, second = _fingerprints(a), _fingerprints(b)
    found = _find(first, second, max_distance=max_distance)
    return [(first.ids[i], second.ids[j], distance) for i, j, distance in found]


def copies(prints: Fingerprints, *, max_distance: int, changed: np.ndarray | None = None) -> list[int]:
    """Number the groups of copies: images linked by copies, directly or in a chain, share a number.

    Args:
        prints: N images.
        max_distance: see :func:`near_duplicates`.
        changed: further links, int64 (links, 2), such as those of :func:`changed_links`.
    """
    from scipy.sparse import coo_array  # slow to import, and needed only to split a source
    from scipy.sparse.csgraph import connected_components

    found = _find(prints, prints, max_distance=max_distance)
    size = int(found.picture_a.max(initial=-1)) + 1
    p, q = found.p, found.q
    if changed is not None:
        further = found.picture_a[changed]
        p, q = np.concatenate([p, further[:, 0]]), np.concatenate([q, further[:, 1]])
    links = coo_array((np.ones(len(p), dtype=bool), (p, q)), shape=(size, size))
    return list(connected_components(links, directed=False)[1][found.picture_a].tolist())


def changed_links(prints: Fingerprints) -> np.ndarray:
    """Pairs of images that show the same picture, changed; int64 (pairs, 2).

    One image of each picture is searched for, because a thousand equal images would hide all others.
    """
    assert prints.pictures is not None
    _, first = np.unique(np.array(prints.exact, dtype=object), return_index=True)
    first = np.sort(first)
    pictures = prints.pictures[first]
    return np.asarray(first[_CHANGED.get(pictures.tobytes(), lambda: changed_copies(pictures))])


def check_leaks(splits: Sequence[tuple[LabelledSet, Fingerprints]], *, max_distance: int) -> None:
    """Check that no two splits share an image.

    Args:
        splits: sets of different splits with their fingerprints; messages name images by the provenance
            column ``source_path``.
        max_distance: see :func:`near_duplicates`.

    Raises:
        InputError: if they share images; the message lists the first ten pairs and says what to do.
    """
    lines: list[str] = []
    count = 0
    for (a, prints_a), (b, prints_b) in itertools.combinations(splits, 2):
        found = _find(prints_a, prints_b, max_distance=max_distance)
        count += found.count
        names = [dict(zip(part.ids, part.provenance("source_path"), strict=True)) for part in (a, b)]
        for i, j, distance in itertools.islice(found, _LISTED - len(lines)):
            what = "the same pixels" if distance < 0 else f"near copies, {distance} of 64 bits differ"
            paths = names[0][prints_a.ids[i]], names[1][prints_b.ids[j]]
            lines.append(f"  {paths[0]} ({a.split}) and {paths[1]} ({b.split}): {what}")
    if count:
        more = f"\n  and {count - _LISTED} more" if count > _LISTED else ""
        raise InputError(
            f"splits must not share images, got {count} pair{'s' * (count > 1)} of copies:\n"
            + "\n".join(lines)
            + f"{more}\n",
            "remove one image of each pair; or leave it out of train and keep all test images with --set "
            "data.shared_images=leave-out; or divide all images again with --set data.split_names=join; if "
            "the near copies are in fact different images, use --set data.near_duplicate_distance=-1",
        )


def without_shared(
    splits: Sequence[tuple[LabelledSet, Fingerprints]], *, max_distance: int
) -> list[LabelledSet]:
    """Each set without the images of which a later set has copies, so that the last one stays whole.

    Args:
        splits: sets of different splits with their fingerprints.
        max_distance: see :func:`near_duplicates`.
    """
    kept = list[tuple[LabelledSet, Fingerprints]]()
    for data, prints in reversed(splits):
        is_shared = np.zeros(len(data), dtype=bool)
        for _, later in kept:
            found = _find(prints, later, max_distance=max_distance)
            is_shared |= np.isin(found.picture_a, found.p)
        left = data.select(np.flatnonzero(~is_shared))
        kept.append((left, prints.select(left.ids)))
    return [data for data, _ in reversed(kept)]


def _fingerprints(images: LabelledSet | Fingerprints) -> Fingerprints:
    return images if isinstance(images, Fingerprints) else Fingerprints.of_set(images)


@final
@dataclass(frozen=True, eq=False)
class _Copies:
    """Copies between two sets, stored by picture: images with equal pixels are one picture.

    A thousand equal images in both sets are stored as one pair, but are a million pairs of images.

    Attributes:
        picture_a: the picture that each image of a shows, numbered by first appearance, int64 (N,).
        picture_b: the same for b, numbered in any order, int64 (M,).
        p: pictures of a that have copies, int64 (pairs,).
        q: their copies in b, int64 (pairs,).
        distances: int64 (pairs,), see :func:`near_duplicates`.
    """

    picture_a: np.ndarray
    picture_b: np.ndarray
    p: np.ndarray
    q: np.ndarray
    distances: np.ndarray

    @property
    def count(self) -> int:
        """Number of pairs of images."""
        return int(np.bincount(self.picture_a)[self.p] @ np.bincount(self.picture_b)[self.q])

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """Yield (index in a, index in b, distance) in the order of a, then b."""
        images_b = np.argsort(self.picture_b, kind="stable")
        ends = np.cumsum(np.bincount(self.picture_b)).tolist()
        partners: dict[int, list[tuple[int, int]]] = {}
        for p, q, distance in zip(self.p.tolist(), self.q.tolist(), self.distances.tolist(), strict=True):
            shown = images_b[ends[q - 1] if q else 0 : ends[q]]
            partners.setdefault(p, []).extend((j, distance) for j in shown.tolist())
        ordered = {p: sorted(found) for p, found in partners.items()}
        for i in np.flatnonzero(np.isin(self.picture_a, self.p)).tolist():
            for j, distance in ordered[int(self.picture_a[i])]:
                yield i, j, distance


def _find(a: Fingerprints, b: Fingerprints, *, max_distance: int) -> _Copies:
    number: dict[str, int] = {}
    exact = [[number.setdefault(pixels, len(number)) for pixels in prints.exact] for prints in (a, b)]
    (exact_a, image_a, picture_a), (exact_b, image_b, picture_b) = (
        np.unique(np.array(each, dtype=np.int64), return_index=True, return_inverse=True) for each in exact
    )
    if max_distance < 0:
        _, p, q = np.intersect1d(exact_a, exact_b, assume_unique=True, return_indices=True)
        return _Copies(picture_a, picture_b, p, q, np.full(len(p), -1))
    found = [np.empty((3, 0), dtype=np.int64)]
    codes = a.perceptual[image_a], b.perceptual[image_b]
    for p, q, bits in close_codes(*codes, max_distance=max_distance):
        agree = _nearly_equal(a.thumbnails, b.thumbnails, image_a[p], image_b[q])
        found.append(np.stack([p[agree], q[agree], bits[agree].astype(np.int64)]))
    p, q, distances = np.concatenate(found, axis=1)
    return _Copies(picture_a, picture_b, p, q, np.where(exact_a[p] == exact_b[q], -1, distances))


def _nearly_equal(a: np.ndarray, b: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Whether thumbnails ``a[i]`` and ``b[j]`` agree up to a small brightness shift; bool (len(i),)."""
    agree = np.zeros(len(i), dtype=bool)
    for start in range(0, len(i), _THUMBNAILS_AT_ONCE):
        part = slice(start, start + _THUMBNAILS_AT_ONCE)
        difference = a[i[part]].astype(np.float32) - b[j[part]]
        shift = difference.mean(axis=1, keepdims=True)
        agree[part] = (np.abs(shift[:, 0]) <= MAX_SHIFT) & (
            np.abs(difference - shift).mean(axis=1) <= MAX_DIFFERENCE
        )
    return agree
