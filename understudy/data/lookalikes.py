"""Names with letters of another alphabet that look like Latin ones, such as a Cyrillic c in ``cat``.

The table is the part of Unicode's confusables (UTS 39) that looks the same in most fonts, for the alphabets
that people write beside the Latin one.
"""

from __future__ import annotations

import re
import unicodedata

_CYRILLIC = (
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0405\u0406\u0408",
    "ABEKMHOPCTYXSIJ",
)
_CYRILLIC_SMALL = (
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0455\u0456\u0458\u04bb\u0501\u051b\u051d",
    "aeopcyxsijhdqw",
)
_GREEK = (
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7",
    "ABEZHIKMNOPTYX",
)
_GREEK_SMALL = ("\u03b1\u03b9\u03ba\u03bd\u03bf\u03c1\u03c5\u03c7", "aikvopux")
_WORD = re.compile(r"\w+")
_LATIN = {
    ord(letter): latin
    for letters, alike in (_CYRILLIC, _CYRILLIC_SMALL, _GREEK, _GREEK_SMALL)
    for letter, latin in zip(letters, alike, strict=True)
}


def in_latin(name: str) -> str | None:
    r"""The name with Latin letters in place of those that look like them; None if that changes nothing.

    A word is changed only if all of its letters are Latin then: Russian words stay as they are. So do single
    letters, which may be classes of several alphabets.

    Example:
        >>> in_latin("\u0441at"), in_latin("cat"), in_latin("\u043a\u043e\u0442")
        ('cat', None, None)
    """
    changed = _WORD.sub(lambda word: _latin_word(word[0]), name)
    return None if changed == name or len(name) == 1 else changed


def letters_alike(name: str) -> str:
    """The letters of a name that look Latin and are not, such as ``'x' is CYRILLIC SMALL LETTER HA``."""
    found = dict.fromkeys(letter for letter in name if ord(letter) in _LATIN)
    return " and ".join(f"{letter!r} is {unicodedata.name(letter)}" for letter in found)


def is_mixed(name: str) -> bool:
    """Whether letters that look Latin stand in one word with Latin ones."""
    return any(
        (latin := _latin_word(word)) != word
        and any(one == two and one.isalpha() for one, two in zip(word, latin, strict=True))
        for word in _WORD.findall(name)
    )


def _latin_word(word: str) -> str:
    latin = word.translate(_LATIN)
    letters = (letter for letter in latin if letter.isalpha())
    return latin if all(unicodedata.name(letter, "").startswith("LATIN") for letter in letters) else word
