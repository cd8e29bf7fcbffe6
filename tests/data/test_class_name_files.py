from __future__ import annotations

from pathlib import Path

import pytest

from understudy.core.errors import InputError
from understudy.data.class_names import read_class_names

CLASSES = ("cat", "dog", "dog: small")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "names.txt"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a cat\n\n a dog \na puppy", ("a cat", "a dog", "a puppy")),
        ("\ufeffa cat\na dog\na puppy\n", ("a cat", "a dog", "a puppy")),
        ("dog: small: a puppy\ncat : a cat\ndog: a dog: grown\n", ("a cat", "a dog: grown", "a puppy")),
        ("cat | big cat\ndog\ndog|  toy ", ("cat (big cat)", "dog", "dog (toy)")),
        (
            "dog: small: crane | bird: wading\ncat: crane | construction machine\ndog: b",
            (
                "crane (construction machine)",
                "b",
                "crane (bird: wading)",
            ),
        ),
    ],
)
def test_both_forms(file: Path, text: str, expected: tuple[str, ...]) -> None:
    file.write_text(text, encoding="utf-8")
    assert read_class_names(file, CLASSES) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb\n", r"for each of 3 classes \(cat, dog, dog: small\), got 2 lines"),
        ("cat: a\nbird: b\ndog: c\n", "unknown class 'bird'; known: cat, dog"),
        ("cat: a\nplain\ndog: c\n", "unknown class 'plain'"),
        ("cat: a\ncat: b\ndog: c\n", "class 'cat' must have one line, got two"),
        (
            "a\nb |\nc\n",
            r"'\|' must stand between words and one kind of thing \('crane \| bird'\), got 'b \|'",
        ),
        ("a\n| b\nc\n", r"got '\| b'"),
        ("a\n|\nc\n", r"got '\|'"),
        ("a\nb | c | d\nc\n", r"got 'b \| c \| d'"),
        ("cat: | a\ndog: b\ndog: small: c\n", r"got '\| a'"),
        ("cat:\ndog: b\ndog: small: c\n", "class 'cat' must have words after the colon"),
    ],
)
def test_errors(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        read_class_names(file, CLASSES)


def test_unreadable(file: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read: No such file"):
        read_class_names(file, CLASSES)
    file.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(InputError, match=r"must be UTF-8 text"):
        read_class_names(file, CLASSES)


def test_a_class_name_with_a_bar_is_no_kind(file: Path) -> None:
    file.write_text("b: x\na|b: crane | bird\n")
    assert read_class_names(file, ("a|b", "b")) == ("crane (bird)", "x")
