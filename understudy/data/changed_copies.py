"""Find images that are the same picture, changed: flipped, turned, cropped, of other light, blurred or noisy.

Every image is compared with every other by the low frequencies of its grey thumbnail, in the eight flips and
turns of a square (:mod:`understudy.functional.orientations`), and as a crop; in large sets an index finds the
most similar pairs (:mod:`understudy.data.alike_images`). These are then moved, turned and scaled to fit
(:mod:`understudy.functional.alignment`). They count as one picture if the
correlation is nearly 1, and so is the correlation of the details that remain once the surroundings of 7 x 7
pixels are subtracted, compared with how alike the images of this set are anyway. Sets of similar images, such
as digits, have pairs at all distances, and copies stand out from them by a gap: the limit is lowered until
there are few pairs just above it. So different digits are hardly ever taken for copies of one another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import uniform_filter

from understudy.core.threads import in_threads
from understudy.data.alike_images import alike_pairs
from understudy.functional.alignment import agreement, align, scaling
from understudy.functional.orientations import ORIENTATIONS, low_frequencies, oriented, turned, window

SIDE = 32
"""Width and height of the thumbnails, in pixels."""
LOOKED_FOR = (
    "flips, turns by 90 degrees and by up to 5 degrees, central crops of 85% or more, shifts of 3%, other "
    "brightness and contrast, blur, noise, grey, compression and other sizes"
)
NOT_LOOKED_FOR = (
    "crops from a corner or of less than 80%, turns by 10 degrees or more, light that turns large parts "
    "black or white, inverted, pasted and redrawn pictures"
)
MOST_DIFFERENT = 0.2
"""Largest distance sqrt(2 - 2 rho) of aligned thumbnails."""
DETAIL_SHARES = (0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05, 0.02, 0.0)
"""Limits for the distance of their details, as a share of the distance to the images that resemble an image
anyway; the first that leaves few pairs just above it is used."""
_LEAST_ALIKE = 0.75  # correlation of low frequencies
_PARTNERS = 2  # pairs per image that are compared in full
_CROP = 0.85
_COARSE = ((0.75, 1), (0.9, 3))  # least correlation at half the size after so many steps
_STEPS = 5  # at full size
_AT_ONCE = 128
_SAMPLE = 2048  # images that an image is compared with, to see how alike the images of the set are
_ALIKE = (32, 0.05)  # of them so many, or this share if it is larger, may be copies of one picture
_JUST_ABOVE = 1.25  # up to so many times the limit
_FEW = 0.5  # pairs just above the limit, for each pair below
_FARTHEST = 0.8  # the distance to the images that resemble an image anyway, at most


def changed_copies(
    thumbnails: np.ndarray,
    *,
    most_different: float = MOST_DIFFERENT,
    detail_shares: Sequence[float] = DETAIL_SHARES,
) -> np.ndarray:
    """Pairs of images that are the same picture, changed.

    Args:
        thumbnails: grey levels, uint8 (N, 32, 32), of different images.
        most_different: see :data:`MOST_DIFFERENT`.
        detail_shares: see :data:`DETAIL_SHARES`.

    Returns:
        Pairs (i, j) with i < j, int64 (pairs, 2); of a picture with many copies, enough of them to link all.
    """
    whole, centre = low_frequencies(thumbnails), low_frequencies(thumbnails, part=_CROP)
    turns = [turned(whole, g) for g in ORIENTATIONS]
    pairs = alike_pairs(whole, turns, symmetric=True, count=_PARTNERS, least=_LEAST_ALIKE)
    crops = alike_pairs(
        whole, [turned(centre, g) for g in (0, 1)], symmetric=False, count=_PARTNERS, least=_LEAST_ALIKE
    )
    pairs = np.unique(np.concatenate([pairs, crops]), axis=0)
    usual = _usual_distance(whole, np.unique(pairs))
    halves = np.concatenate(in_threads(lambda part: _smoothed(_halved(part), times=1), _parts(thumbnails)))

    def shares(some_pairs: np.ndarray) -> np.ndarray:
        """Distance of the details of each pair as a share of the usual one; infinite if they do not fit."""
        i, j = some_pairs.T
        g, a = _coarse(halves, whole, centre, i, j)
        some = np.flatnonzero(np.isfinite(a).all(axis=(1, 2)))
        i, j = i[some], j[some]
        whole_distance, detail = _distances(thumbnails, i, j, g[some], a[some])
        relative = detail / np.maximum(np.minimum(usual[i], usual[j]), 1e-6)
        share = np.full(len(some_pairs), np.inf)
        share[some] = np.where(whole_distance <= most_different, relative, np.inf)
        return share

    share = np.concatenate(in_threads(shares, _parts(pairs)))
    return pairs[share <= _limit(share, detail_shares)]


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    """Rows in parts small enough for the cache."""
    return np.split(rows, range(_AT_ONCE, len(rows), _AT_ONCE))


def _limit(share: np.ndarray, limits: Sequence[float]) -> float:
    """The first limit with few pairs just above it, compared with those below."""
    for limit in limits:
        below, above = (share <= limit).sum(), (share <= _JUST_ABOVE * limit).sum()
        if above - below <= _FEW * below:
            return limit
    return 0.0


def _start(
    whole: np.ndarray, centre: np.ndarray, i: np.ndarray, j: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each pair, the g and the scale from which j fits i best."""
    versions = [(whole[i], whole[j], 1.0), (centre[i], whole[j], 1 / _CROP), (whole[i], centre[j], _CROP)]
    products = np.array(
        [[np.einsum("nf,nf->n", x, turned(y, g)) for g in ORIENTATIONS] for x, y, _ in versions]
    )
    best = products.reshape(len(versions) * len(ORIENTATIONS), -1).argmax(axis=0)
    scales = np.array([scale for *_, scale in versions])
    return best % len(ORIENTATIONS), scales[best // len(ORIENTATIONS)]


def _coarse(
    halves: np.ndarray, whole: np.ndarray, centre: np.ndarray, i: np.ndarray, j: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """g, and A for full size, from thumbnails of half the size; A is NaN where they do not fit."""
    g, scale = _start(whole, centre, i, j)
    a = scaling(len(i), scale)
    left = np.arange(len(i))
    for least, steps in _COARSE:
        x, y = halves[i[left]], _oriented(halves[j[left]], g[left])
        rho, a[left] = align(x, y, window(SIDE // 2), a[left], steps=steps)
        a[left[rho <= least]] = np.nan
        left = left[rho > least]
    return g, a * np.array([1, 1, 2], dtype=np.float32)


def _distances(
    thumbnails: np.ndarray, i: np.ndarray, j: np.ndarray, g: np.ndarray, a: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distances of the thumbnails and of their details once j, in orientation g, is aligned to i."""
    x, y = _smoothed(thumbnails[i]), _oriented(_smoothed(thumbnails[j]), g)
    rho, a = align(x, y, window(SIDE), a, steps=_STEPS)
    x, y = (part - uniform_filter(part, (0, 7, 7)) for part in (x, y))
    return _distance(rho), _distance(agreement(x, y, window(SIDE), a))


def _oriented(images: np.ndarray, g: np.ndarray) -> np.ndarray:
    turned = images.copy()
    for each in ORIENTATIONS:
        turned[g == each] = oriented(images[g == each], each)
    return turned


def _halved(images: np.ndarray) -> np.ndarray:
    return np.asarray(images.reshape(-1, SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4)))


def _usual_distance(whole: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Distance by low frequencies to the images that resemble an image anyway, float (N,); 0 for the others.

    It is that to the 32nd nearest of a sample, or to the nearest 5% of it, because fewer may be its copies.
    """
    sample = whole[np.random.default_rng(0).permutation(len(whole))[:_SAMPLE]]
    nearest = max(_ALIKE[0], round(_ALIKE[1] * len(sample)))
    usual = np.zeros(len(whole))
    if len(sample) <= nearest:
        usual[images] = _FARTHEST
        return usual

    def distances(some: np.ndarray) -> np.ndarray:
        most = np.max([turned(whole[some], g) @ sample.T for g in ORIENTATIONS], axis=0)
        return _distance(np.partition(most, -nearest - 1, axis=1)[:, -nearest - 1])

    usual[images] = np.concatenate(in_threads(distances, _parts(images)))
    return np.minimum(usual, _FARTHEST)


def _smoothed(images: np.ndarray, *, times: int = 2) -> np.ndarray:
    """Binomial filter of 5 x 5 pixels: thumbnails of turned or resized images differ by interpolation."""
    levels: np.ndarray = images.astype(np.float32)
    for _ in range(times):
        wide = np.pad(levels, ((0, 0), (1, 1), (1, 1)), mode="edge")
        rows = (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) / 4
        levels = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4
    return levels


def _distance(rho: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(np.maximum(2 - 2 * rho, 0)))
