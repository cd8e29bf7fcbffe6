"""Choose images in rounds: those of which a classifier of the images chosen so far is most unsure.

Deliberate practice (Askari-Hemmat et al. 2025, arXiv:2502.15588), in the form that draws more images than it
keeps; docs/methods/curation.md says what differs from the paper.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from understudy.curation.scores import Classifier
from understudy.curation.selections import extreme
from understudy.data.labelled_set import LabelledSet
from understudy.functional.allocation import in_rounds
from understudy.functional.uncertainty import predictive_entropy


def most_unsure(
    good: np.ndarray,
    drawn: LabelledSet,
    quota: np.ndarray,
    *,
    rounds: int,
    trained_on: Callable[[LabelledSet], Classifier],
) -> np.ndarray:
    """Choose as many good images of each class as its quota, or all of them if there are fewer.

    The first round takes the first images of each class. Every later round trains a classifier on the images
    chosen so far, looks at images that no round has looked at, and takes those with the largest entropy.

    Args:
        good: which images may be chosen, bool (N,).
        drawn: N synthetic images, in the order in which they were drawn.
        quota: wanted images per class, int (num_classes,).
        rounds: number of rounds, each of which adds about the same number of images.
        trained_on: trains a classifier on synthetic images; called at most once per round but the first, and
            not at all if there is nothing to choose.

    Returns:
        Which images are chosen, bool (N,).
    """
    labels, available = drawn.labels, np.bincount(drawn.labels[good], minlength=len(quota))
    sizes = in_rounds(np.minimum(quota, available), rounds)
    seen, place = _seen(sizes, available), _place_in_class(good, labels)
    chosen: np.ndarray = good & (place < sizes[0][labels])
    for before, after in zip(range(rounds - 1), range(1, rounds), strict=True):
        fresh = good & (place >= seen[before][labels]) & (place < seen[after][labels])
        added, entropy = sizes[after] - sizes[before], np.zeros(len(drawn))
        if (np.bincount(labels[fresh], minlength=len(quota)) > added).any():
            candidates = np.flatnonzero(fresh)
            classifier = trained_on(drawn.select(np.flatnonzero(chosen)))
            entropy[candidates] = predictive_entropy(classifier.predict(drawn.select(candidates)))
        chosen = chosen | extreme(fresh, labels, entropy, added)
    return chosen


def _seen(sizes: np.ndarray, available: np.ndarray) -> np.ndarray:
    """Images of each class that each round and those before it have looked at, int64 (rounds, num_classes).

    The first round looks at what it takes. The rest is divided in proportion to what each round adds, so that
    a round never takes more than it looks at.
    """
    first, last = sizes[0], sizes[-1]
    return np.asarray(first + (available - first) * (sizes - first) // np.maximum(last - first, 1))


def _place_in_class(good: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The place of each good image among those of its class, int64 (N,); without meaning for the others."""
    place = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        place[good & (labels == label)] = np.arange((good & (labels == label)).sum())
    return place
