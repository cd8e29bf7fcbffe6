"""Which classes zero-shot CLIP does not match with their words, though it knows the words of the others.

Symbols::

    p[c]     share of the images of class c that CLIP gives the words of c
    q[a, b]  share of the images of a and b that CLIP gives the right one of these two words
    K        classes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from understudy.functional.intervals import binomial_limits

_ERROR_OF_CLASSES, _ERROR_OF_OTHERS, _ERROR_OF_PAIRS = 0.03, 0.01, 0.01
"""Their sum is the share of sets without ambiguous words of which something may be said."""
_UNLIKE_OTHERS = 0.5
"""A class is matched if p[c] is at least this part of the mean of the other classes."""
_TOLD_APART = 0.8
"""Words of two classes are told apart if q[a, b] is at least this; guessing gives 0.5."""


@final
@dataclass(frozen=True)
class Unmatched:
    """A class whose images CLIP does not give its words.

    Attributes:
        label: of the class.
        right: images that CLIP gives the words of the class.
        images: how many it saw.
        taken_for: label of the class whose words most of the others got.
    """

    label: int
    right: int
    images: int
    taken_for: int


def unmatched_classes(labels: np.ndarray, probabilities: np.ndarray) -> list[Unmatched]:
    """Classes with p[c] below half of the mean of the others, beyond chance.

    A class is listed if the upper limit of p[c] lies below half of the lower limit of the mean (Clopper and
    Pearson 1934). Errors are divided among the K classes, so that a set whose classes are all matched gets a
    name in at most 1 of 25 cases, whatever K is; with few images of each class nothing is listed.

    Args:
        labels: class of each image, int (N,).
        probabilities: of each class given the image, (N, K).
    """
    classes = np.unique(labels)
    named = probabilities.argmax(axis=1)
    counts = np.array([(labels == label).sum() for label in classes])
    right = np.array([(named[labels == label] == label).sum() for label in classes])
    tail, tail_of_others = _ERROR_OF_CLASSES / len(classes), _ERROR_OF_OTHERS / len(classes)
    found = list[Unmatched]()
    for index, label in enumerate(classes.tolist()):
        others = np.arange(len(classes)) != index
        if not others.any():
            break
        mean = float((right[others] / counts[others]).mean())
        images = int(others.sum()) ** 2 / float((1 / counts[others]).sum())  # with this variance of the mean
        low, _ = binomial_limits(mean, images, tail=tail_of_others)
        _, high = binomial_limits(right[index] / counts[index], int(counts[index]), tail=tail)
        if high < _UNLIKE_OTHERS * low:
            wrong = named[(labels == label) & (named != label)]
            taken_for = int(np.bincount(wrong).argmax())
            found.append(Unmatched(label, int(right[index]), int(counts[index]), taken_for))
    return found


def confused_pairs(labels: np.ndarray, probabilities: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of classes with q[a, b] below 80%, beyond chance; guessing gives 50%.

    Errors are divided among the pairs, so that a set whose words are all told apart gets a pair in at most 1
    of 100 cases. Arguments are those of :func:`unmatched_classes`.
    """
    classes = np.unique(labels)
    wins = np.empty((len(classes), len(classes)))
    for index, label in enumerate(classes):
        of_class = probabilities[labels == label][:, classes]
        own = of_class[:, [index]]
        wins[index] = ((own > of_class) + 0.5 * (own == of_class)).mean(axis=0)
    counts = np.array([(labels == label).sum() for label in classes])
    shares = (wins + wins.T) / 2
    tail = _ERROR_OF_PAIRS / max(1, len(classes) * (len(classes) - 1) // 2)
    pairs = []
    for first, second in zip(*np.nonzero(np.triu(shares < _TOLD_APART, k=1)), strict=True):
        images = 4 / (1 / counts[first] + 1 / counts[second])
        if binomial_limits(float(shares[first, second]), float(images), tail=tail)[1] < _TOLD_APART:
            pairs.append((int(classes[first]), int(classes[second])))
    return pairs
