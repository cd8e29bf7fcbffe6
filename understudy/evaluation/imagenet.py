"""Classes of ImageNet-1K: which of a run's have their words, and which the folders of test sets stand for.

Folders of test sets are named by WordNet id, such as ``n01440764``, or by the number of the class. Order and
words of the classes are those of :mod:`understudy.data.imagenet_words`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.core.registry import Registry
from understudy.data.imagenet_words import words_by_id

Reader = Callable[[str], str | None]
"""Gives the WordNet id of the class that a folder name stands for; None if it stands for none."""

TEST_SETS: Registry[Reader] = Registry("test set of ImageNet's classes")


@cache
def _ids_by_word() -> Mapping[str, tuple[str, ...]]:
    """WordNet ids of the classes that share a word, by the word in lower case."""
    found: dict[str, dict[str, None]] = {}
    for identity, words in words_by_id().items():
        for word in words:
            found.setdefault(word.casefold(), {})[identity] = None
    return {word: tuple(ids) for word, ids in found.items()}


def similarly_named(names: Sequence[str]) -> dict[str, str]:
    """Classes of ImageNet whose words are those of a class, or end with them, by the name of the class.

    A network that knows ImageNet has seen images like those of such a class. Nothing is found for a word
    above those of ImageNet, such as *animal*, so that a class that is missing here may have been seen too.

    Args:
        names: words of the classes, as in prompts.

    Example:
        >>> similarly_named(["bottle", "Goldfish", "digit 3"])
        {'bottle': 'beer bottle, pill bottle, pop bottle, water bottle, wine bottle', 'Goldfish': 'goldfish'}
    """
    found = {}
    for name in names:
        word = name.casefold()
        alike = {
            words[0]: None
            for words in words_by_id().values()
            if any(each.casefold() == word or each.casefold().endswith(f" {word}") for each in words)
        }
        if alike:
            found[name] = ", ".join(alike)
    return found


@cache
def _ids_in_order() -> tuple[str, ...]:
    return tuple(words_by_id())


def _by_id(label: str) -> str | None:
    return label if label in words_by_id() else None


def _by_number_or_id(label: str) -> str | None:
    ids = _ids_in_order()
    if label.isascii() and label.isdigit() and int(label) < len(ids):
        return ids[int(label)]
    return _by_id(label)


TEST_SETS.register(
    "imagenet-v2", summary="new photographs, folders 0 to 999 (Recht et al. 2019, arXiv:1902.10811)"
)(_by_number_or_id)
TEST_SETS.register("imagenet-sketch", summary="sketches (Wang et al. 2019, arXiv:1905.13549)")(_by_id)
TEST_SETS.register(
    "imagenet-r",
    summary="art, toys and other renditions, 200 classes (Hendrycks et al. 2021, arXiv:2006.16241)",
)(_by_id)
TEST_SETS.register(
    "imagenet-a",
    summary="photographs that classifiers mistake, 200 classes (Hendrycks et al. 2021, arXiv:1907.07174)",
)(_by_id)


def imagenet_classes(name: str, labels: Sequence[str], class_names: Sequence[str]) -> dict[str, str]:
    """Which class of a run each label of a test set stands for.

    Args:
        name: one of :data:`TEST_SETS`.
        labels: labels of the test set.
        class_names: classes of the run, each a WordNet id or one of the words of its class, in upper or lower
            case, with spaces or underscores.

    Returns:
        Classes of the run by label, without labels of classes that the run does not have.

    Raises:
        InputError: for a label or a class that is none of ImageNet-1K, for words that several classes share,
            and for two classes of the run that are the same.

    Example:
        >>> imagenet_classes("imagenet-v2", ["0", "1", "2"], ["goldfish", "n01440764"])
        {'0': 'n01440764', '1': 'goldfish'}
    """
    found = {label: TEST_SETS[name](label) for label in labels}
    if unknown := [label for label, identity in found.items() if identity is None]:
        folders = "0 to 999, or WordNet ids" if name == "imagenet-v2" else "WordNet ids"
        raise InputError(
            f"the test set {name!r} must have folders named as its publishers do ({folders} such as "
            f"n01440764), got {listed(unknown)}: give the folder that contains these folders; if it is "
            "another set, give it another name"
        )
    of_run: dict[str, str] = {}
    for class_name in class_names:
        identity = _identity(name, class_name)
        if identity in of_run:
            raise InputError(
                f"the test set {name!r} needs classes that differ, but {of_run[identity]!r} and "
                f"{class_name!r} are both {identity} of ImageNet: name them by WordNet id, or give the set "
                "another name"
            )
        of_run[identity] = class_name
    return {label: of_run[identity] for label, identity in found.items() if identity in of_run}


def _identity(name: str, class_name: str) -> str:
    """WordNet id of a class of the run."""
    if class_name in words_by_id():
        return class_name
    ids = _ids_by_word().get(class_name.replace("_", " ").casefold(), ())
    if not ids:
        raise InputError(
            f"the test set {name!r} needs a run with classes of ImageNet-1K, named by WordNet id (n01440764) "
            f"or in its words (tench), got also {class_name!r}: rename the classes, or give the set another "
            "name"
        )
    if len(ids) > 1:
        raise InputError(
            f"the test set {name!r} needs classes that are not ambiguous, but {class_name!r} is "
            f"{' and '.join(ids)} of ImageNet: name this class by WordNet id"
        )
    return ids[0]
