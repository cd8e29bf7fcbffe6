"""Find images that two sets share: exact copies, and near copies by perceptual hash.

A 64-bit perceptual hash (signs of DCT coefficients; Zauner 2010, as in ``imagehash.phash``) confuses small,
simple images, so the pixels of near copies must nearly agree as well. At 16 x 16 grey levels, the means may
differ by ``MAX_SHIFT`` of 255 levels (5% brightness), and the pixels by ``MAX_DIFFERENCE`` levels on average
once the difference of the means is subtracted. On ``digits``, JPEG at quality 90 with a 5% brightness change
leaves a difference of at most 4.2 levels; the closest two digits whose hashes agree to 2 bits differ by 9.8.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self, final

import imagehash
import numpy as np
from PIL import Image

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet, pixel_hash

MAX_SHIFT = 13.0
MAX_DIFFERENCE = 5.0
_SIDE = 16
_PAIRS_AT_ONCE = 4_000_000
_THUMBNAILS_AT_ONCE = 50_000


@final
@dataclass(frozen=True, eq=False)
class Fingerprints:
    """Hashes and thumbnails of N images, which are compared instead of the images.

    Attributes:
        ids: id of each image.
        exact: hash of the decoded pixels of each image.
        perceptual: 64-bit perceptual hashes, uint64 of shape (N,).
        thumbnails: 16 x 16 grey levels, uint8 of shape (N, 256).
    """

    ids: tuple[str, ...]
    exact: tuple[str, ...]
    perceptual: np.ndarray
    thumbnails: np.ndarray

    @classmethod
    def of(cls, ids: Sequence[str], images: Iterable[Image.Image]) -> Self:
        """Fingerprints of decoded RGB images; one image is in memory at a time."""
        return cls.from_rows(ids, [fingerprint(image) for image in images])

    @classmethod
    def from_rows(cls, ids: Sequence[str], rows: Sequence[tuple[str, int, np.ndarray]]) -> Self:
        """Fingerprints from the results of :func:`fingerprint`."""
        bits = np.array([row[1] for row in rows], dtype=np.uint64)
        thumbnails = np.array([row[2] for row in rows], dtype=np.uint8).reshape(len(rows), _SIDE * _SIDE)
        return cls(tuple(ids), tuple(row[0] for row in rows), bits, thumbnails)

    @classmethod
    def of_set(cls, data: LabelledSet) -> Self:
        """Fingerprints of all images of a set."""
        return cls.of(data.ids, (data.image(index) for index in range(len(data))))

    def select(self, ids: Sequence[str]) -> Self:
        """The fingerprints of the images ``ids``, in that order."""
        place = {name: index for index, name in enumerate(self.ids)}
        keep = np.array([place[name] for name in ids], dtype=np.int64)
        return type(self)(
            tuple(ids),
            tuple(self.exact[index] for index in keep),
            self.perceptual[keep],
            self.thumbnails[keep],
        )


def fingerprint(image: Image.Image) -> tuple[str, int, np.ndarray]:
    """Pixel hash, 64-bit perceptual hash and 16 x 16 grey levels (uint8 of shape (256,)) of an RGB image."""
    grey = image.convert("L")
    bits = np.packbits(imagehash.phash(grey).hash.ravel())
    thumbnail = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX)).ravel()
    return pixel_hash(image), int.from_bytes(bits.tobytes(), "big"), thumbnail


def near_duplicates(
    a: LabelledSet | Fingerprints, b: LabelledSet | Fingerprints, *, max_distance: int
) -> list[tuple[str, str, int]]:
    """Find pairs of images that are copies, exact or up to compression and small changes of brightness.

    Every image of ``a`` is compared with every image of ``b``, in blocks of limited size.

    Args:
        a: N images.
        b: M images.
        max_distance: how many of the 64 hash bits may differ; -1 finds exact copies only.

    Returns:
        (id in a, id in b, distance) in the order of a, then b. The distance is the number of different
        bits, or -1 for equal pixels.
    """
    first, second = _fingerprints(a), _fingerprints(b)
    i, j, distances = _pairs(first, second, max_distance=max_distance)
    return [
        (first.ids[p], second.ids[q], distance)
        for p, q, distance in zip(i.tolist(), j.tolist(), distances.tolist(), strict=True)
    ]


def copies(prints: Fingerprints, *, max_distance: int) -> list[int]:
    """Number the groups of copies: images linked by copies, directly or in a chain, share a number.

    Args:
        prints: N images.
        max_distance: see :func:`near_duplicates`.
    """
    from scipy.sparse import coo_array  # slow to import, and needed only to split a source
    from scipy.sparse.csgraph import connected_components

    i, j, _ = _pairs(prints, prints, max_distance=max_distance)
    links = coo_array((np.ones(len(i), dtype=bool), (i, j)), shape=(len(prints.ids), len(prints.ids)))
    return list(connected_components(links, directed=False)[1].tolist())


def check_leaks(splits: Sequence[tuple[LabelledSet, Fingerprints]], *, max_distance: int) -> None:
    """Check that no two splits share an image.

    Args:
        splits: sets of different splits with their fingerprints; messages name images by the provenance
            column ``source_path``.
        max_distance: see :func:`near_duplicates`.

    Raises:
        InputError: if they do, listing the first ten pairs and what to do.
    """
    lines = []
    for (a, prints_a), (b, prints_b) in itertools.combinations(splits, 2):
        name_a, name_b = (dict(zip(part.ids, part.provenance("source_path"), strict=True)) for part in (a, b))
        for p, q, distance in near_duplicates(prints_a, prints_b, max_distance=max_distance):
            what = "the same pixels" if distance < 0 else f"near copies, {distance} of 64 bits differ"
            lines.append(f"  {name_a[p]} ({a.split}) and {name_b[q]} ({b.split}): {what}")
    if lines:
        more = f"\n  and {len(lines) - 10} more" if len(lines) > 10 else ""
        raise InputError(
            f"splits must not share images, got {len(lines)} pairs:\n" + "\n".join(lines[:10]) + more + "\n"
            "remove one image of each pair, or, if near copies are different images, "
            "--set data.near_duplicate_distance=-1"
        )


def _fingerprints(images: LabelledSet | Fingerprints) -> Fingerprints:
    return images if isinstance(images, Fingerprints) else Fingerprints.of_set(images)


def _pairs(
    a: Fingerprints, b: Fingerprints, *, max_distance: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of copies in ``a`` and in ``b``, and their distances; each int64 of shape (pairs,)."""
    _, exact = np.unique(np.array(a.exact + b.exact), return_inverse=True)
    exact_a, exact_b = exact[: len(a.exact)], exact[len(a.exact) :]
    found = [np.empty((3, 0), dtype=np.int64)]
    rows = max(1, _PAIRS_AT_ONCE // max(1, len(b.ids)))
    for start in range(0, len(a.ids), rows):
        block = slice(start, start + rows)
        if max_distance < 0:
            i, j = np.nonzero(exact_a[block, None] == exact_b[None, :])
            found.append(np.stack([i + start, j, np.full(len(i), -1)]))
            continue
        bits = np.bitwise_count(a.perceptual[block, None] ^ b.perceptual[None, :])
        i, j = np.nonzero(bits <= max_distance)
        agree = _nearly_equal(a.thumbnails, b.thumbnails, i + start, j)
        i, j = i[agree], j[agree]
        found.append(
            np.stack(
                [i + start, j, np.where(exact_a[i + start] == exact_b[j], -1, bits[i, j].astype(np.int64))]
            )
        )
    first, second, distances = np.concatenate(found, axis=1)
    return first, second, distances


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
