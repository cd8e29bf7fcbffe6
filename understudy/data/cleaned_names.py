"""Clean the names of folders into words for prompts: ``n02123045_tabby_cat`` becomes ``tabby cat``.

Bare ids of ImageNet's classes become their first word: ``n01440764`` is a ``tench``.

A name changes only where that is sure to help a text encoder, and two names never become the same words.
Abbreviations stay as they are, because the same letters mean different things in different sets; those that
show are named to the user.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from urllib.parse import unquote

from understudy.data.english_plurals import singular
from understudy.data.imagenet_words import words_by_id

_Names = tuple[str, ...]

_LETTER = r"[^\W\d_]"
_WNID = re.compile(rf"(?<![^\W_])n\d{{8}}[\s_.-]+(?=.*{_LETTER})|(?<={_LETTER})[\s_.-]+n\d{{8}}$")
_BARE_WNID = re.compile(r"n\d{8}")
_FILE_TYPES = re.compile(r"(?:\.(?:zip|tar|tgz|gz|rar|7z|jpe?g|png|webp|bmp|gif|tiff?))+$", re.IGNORECASE)
_COPY = re.compile(r"(?: - copy)? ?(?:\(\d{1,2}\))?$", re.IGNORECASE)
_UNPADDED = re.compile(rf"[1-9]\d*[\s_.-]+(?=.*{_LETTER})")
_PADDED_INDEX = re.compile(rf"^0\d+[\s_.-]+(?=.*{_LETTER})")
_INDEX_BEFORE = re.compile(
    rf"(?:class|category|label|cls|id)?[\s_-]*(\d+)[\s_.-]+(?=.*{_LETTER})", re.IGNORECASE
)
_INDEX_BEHIND = re.compile(rf"(?<={_LETTER})[_-]*(\d+)$")
_SLASH = re.compile(rf"(?<={_LETTER}{{2}})\s*/\s*(?={_LETTER}{{2}})")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WORD = re.compile(rf"{_LETTER}+")
_VOWEL = re.compile("[aeiouy]", re.IGNORECASE)
_ROMAN = re.compile("[IVX]+")
_TELLS_NOTHING = re.compile(r"(?:class|category|label|cls|id|folder)?[\s_-]*\d+|n\d{8}", re.IGNORECASE)


def words_of_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """The words that prompts use for each class, made from its name.

    Removed are underscores, and hyphens and dots between the words of a name without spaces; camel case; ids
    of WordNet beside words; ``01_``, and numbers that merely count the classes; ``%20``, ``.zip``, ``- Copy
    (2)``, quotes and brackets around the name; capitals of words in capitals, unless they are short or have
    no vowel; and the plural of common English nouns. A slash becomes a comma, and the bare id of a class of
    ImageNet its first word.

    Args:
        class_names: different names of the classes of one set.

    Returns:
        As many words: never empty, different for different names, and unchanged if cleaned again. Names
        without letters and digits stay as they are, and so do names that would become the words of another.

    Example:
        >>> words_of_names(["n02123045_tabby", "01_GoldenRetriever", "dogs"])
        ('tabby', 'Golden Retriever', 'dog')
        >>> words_of_names(["boeing_737", "digit 3", "cat-2", "cat"])
        ('boeing 737', 'digit 3', 'cat-2', 'cat')
    """
    words = tuple(class_names)
    while (cleaner := _cleaned_once(words)) != words:
        words = cleaner
    return words


def tells_nothing(words: str) -> bool:
    """Whether words are only a number or an id, such as ``7``, ``class 3`` and ``n01440764``."""
    return _TELLS_NOTHING.fullmatch(words) is not None


def abbreviations(words: Sequence[str]) -> list[str]:
    """Those words of classes that look like nothing but abbreviations.

    Every word of theirs has two letters or more, and no vowel, or capitals alone although other classes are
    not in capitals. Roman numbers do not count. Many abbreviations look like words (``mel``) and are missing.

    Args:
        words: of each class of a set, from :func:`words_of_names`.

    Example:
        >>> abbreviations(["bkl", "MEL", "nevus", "St Bernard", "type II"])
        ['bkl', 'MEL']
    """
    capitals_tell = any(each.upper() != each for each in words)
    return [
        each
        for each in words
        if (parts := _WORD.findall(each))
        and all(_is_abbreviation(part, capitals_tell=capitals_tell) for part in parts)
    ]


def _is_abbreviation(word: str, *, capitals_tell: bool) -> bool:
    if len(word) < 2 or not word.isascii() or _ROMAN.fullmatch(word):
        return False
    return not _VOWEL.search(word) or (capitals_tell and word.isupper())


def _cleaned_once(words: _Names) -> _Names:
    if any(map(_BARE_WNID.fullmatch, words)):
        words = _kept_apart(words, _words_of_ids(words))
    for pattern in (_INDEX_BEFORE, _INDEX_BEHIND):
        words = _without_indices(words, pattern)
    if not any(map(_UNPADDED.match, words)):  # 05_euro beside 10_euro is a value
        words = _kept_apart(words, tuple(_PADDED_INDEX.sub("", name) for name in words))
    for rule in _RULES:
        words = _kept_apart(words, tuple(map(rule, words)))
    return words


def _words_of_ids(words: _Names) -> _Names:
    """The first word of each class of ImageNet that is named by its id; a further one if others have that."""
    named = [words_by_id().get(name, (name,)) for name in words]
    firsts = Counter(each[0].casefold() for each in named)
    found = []
    for first, *others in named:
        further = [word for word in others if word.casefold() not in firsts]
        found.append(first if firsts[first.casefold()] == 1 or not further else further[0])
    return tuple(found)


def _kept_apart(before: _Names, after: _Names) -> _Names:
    """``after``, but ``before`` for names that lose all letters, or become equal to another (up to case)."""
    kept = [new if any(map(str.isalnum, new)) else old for old, new in zip(before, after, strict=True)]
    while True:
        groups = defaultdict(list)
        for index, words in enumerate(kept):
            groups[words.casefold()].append(index)
        clashing = [
            index
            for group in groups.values()
            for index in group
            if kept[index] != before[index]
            and any(
                kept[other] == kept[index] or before[other].casefold() != before[index].casefold()
                for other in group
                if other != index
            )
        ]
        if not clashing:
            return tuple(kept)
        for index in clashing:
            kept[index] = before[index]


def _without_indices(words: _Names, pattern: re.Pattern[str]) -> _Names:
    """Remove a number before or behind every name, if they merely count the classes from 0 or 1.

    Numbers with leading zeros before every name count too, though there may be gaps.
    """
    found = [pattern.match(name) if pattern is _INDEX_BEFORE else pattern.search(name) for name in words]
    digits = [match[1] for match in found if match]
    numbers = sorted(map(int, digits))
    if len(words) < 2 or len(digits) < len(words) or len(set(numbers)) < len(words):
        return words
    padded = pattern is _INDEX_BEFORE and any(number.startswith("0") and len(number) > 1 for number in digits)
    if not padded and (numbers[0] > 1 or numbers[-1] - numbers[0] != len(words) - 1):
        return words
    shorter = tuple(
        name[: match.start()] + name[match.end() :] for name, match in zip(words, found, strict=True) if match
    )
    return shorter if _kept_apart(words, shorter) == shorter else words


def _decoded(name: str) -> str:
    """``cat%20food`` as ``cat food``."""
    try:
        decoded = unquote(name, errors="strict")
    except UnicodeDecodeError:
        return name
    return decoded if decoded.isprintable() else name


def _without_leftovers(name: str) -> str:
    """The name without file types, marks of copies, and quotes or brackets around it."""
    name = _COPY.sub("", _FILE_TYPES.sub("", name))
    enclosed = len(name) > 2 and name[0] + name[-1] in ("''", '""', "``", "()", "[]", "<>")
    return name[1:-1] if enclosed and not re.search(r"[()\[\]<>\"'`]", name[1:-1]) else name


def _without_ids(name: str) -> str:
    return _WNID.sub("", name)


def _spaced(name: str) -> str:
    """The name with spaces between its words; a hyphen beside spaces, a letter or a number is spelling."""
    if name.isascii() and not re.search(r"[\s_]", name):
        name = re.sub(r"(?<=[A-Za-z]{2})-(?=[A-Za-z]{2})|(?<=[A-Za-z]{3})\.(?=[A-Za-z]{3})", " ", name)
    name = re.sub(r"[\s_]+", " ", name).strip()
    return re.sub(r"^[-.]+\s*(?=\w{2})|(?<=\w{3})\s*-+$", "", name)


def _split_humps(name: str) -> str:
    """``goldenRetriever`` as ``golden retriever``; ``McDonald`` and ``iPhone`` stay."""
    parts = _HUMP.split(name) if name.isascii() and name.isalpha() else [name]
    if len(parts) == 1 or min(map(len, parts)) < 2 or min(len(parts[0]), len(parts[-1])) < 3:
        return name
    return " ".join(part.lower() if name[0].islower() else part for part in parts)


def _lowered(name: str) -> str:
    """``GOLDEN RETRIEVER`` in lower case; ``MRI``, ``BMW``, ``HTML`` and ``VIII`` stay."""
    if not (name.isascii() and name.isupper()):
        return name
    return re.sub(r"\b(?=[A-Z]*[AEIOUY])(?![IVXLCDM]+\b)[A-Z]{4,}\b", lambda word: word[0].lower(), name)


def _with_commas(name: str) -> str:
    return _SLASH.sub(", ", name)


_RULES: tuple[Callable[[str], str], ...] = (
    _decoded,
    _without_leftovers,
    _without_ids,
    _spaced,
    _split_humps,
    _lowered,
    _with_commas,
    singular,
)
