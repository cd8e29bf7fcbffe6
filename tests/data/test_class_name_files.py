from __future__ import annotations

import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.errors import InputError
from understudy.data.class_names import read_class_names, words_in_prompts

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
        (
            '{"0": "a"}',
            "got JSON: write a line for each class, such as 'cat: words for",
        ),
        ('["a",\n"b",\n"c"]', "such as 'cat: a' and 'dog: b', and so on for all 3"),
        ('{"dog": "a big dog", "x": 1}', "such as 'cat: words for prompts' and 'dog: a big dog', and so on"),
        ('{"cat": "a cat", ', "got JSON: .* such as 'cat: words for prompts' and 'dog: words for prompts'"),
        ("a\nb\n", r"for each of 3 classes \(cat, dog, dog: small\), got 2 lines: write a line for each"),
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
        ("cat:\ndog: b\ndog: small: c\n", "class 'cat' must have words after its name"),
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


NUMBERS = ("1", "10", "11", "12", "2", "3")
SPELT = ("one", "ten", "eleven", "twelve", "two", "three")


def read(text: str, class_names: tuple[str, ...]) -> tuple[str, ...]:
    with TemporaryDirectory() as folder:
        (Path(folder) / "names.txt").write_bytes(text.encode("utf-8"))
        return read_class_names(Path(folder) / "names.txt", class_names)


names = st.lists(
    st.one_of(
        st.integers(0, 40).map(str),
        st.text("abcé -", min_size=1, max_size=5).map(str.strip).filter(bool),
        st.integers(0, 9999).map("n{:08d}".format),
    ),
    min_size=2,
    max_size=12,
    unique_by=lambda name: unicodedata.normalize("NFC", name),
)


@given(
    names, st.sampled_from([":", "\t", "=", ",", ";", " : ", ", ", "\t\t"]), st.randoms(use_true_random=False)
)
def test_a_key_wins_over_the_order(class_names: list[str], separator: str, random: object) -> None:
    ordered = tuple(sorted(class_names))
    words = {name: f"words of {index}" for index, name in enumerate(class_names)}
    lines = [f"{name}{separator}{words[name]}" for name in class_names]
    random.shuffle(lines)  # type: ignore[attr-defined]
    for form in ("NFC", "NFD"):
        for text in ("\n".join(lines), "\r\n".join(lines) + "\r\n", "\ufeff" + "\n".join(lines)):
            assert read(unicodedata.normalize(form, text), ordered) == tuple(words[name] for name in ordered)


@given(st.integers(2, 30), st.integers(0, 3), st.booleans())
def test_numbered_folders_take_words_in_order_only_if_all_sort_alike(
    count: int, start: int, padded: bool
) -> None:
    numbers = [f"{number:02d}" if padded else str(number) for number in range(start, start + count)]
    class_names = tuple(sorted(numbers))
    text = "\n".join(f"word {chr(0x4E00 + index)}" for index in range(count))
    if list(class_names) == numbers:
        assert read(text, class_names) == tuple(text.split("\n"))
    else:
        with pytest.raises(InputError, match=r"the order of the classes is ambiguous: .*'class: words'"):
            read(text, class_names)


@pytest.mark.parametrize(
    ("text", "class_names", "expected"),
    [
        ("1 one\n2 two\n3 three\n10 ten\n11 eleven\n12 twelve", NUMBERS, SPELT),
        ("n01\ttench\nn00\tgoldfish", ("n00", "n01"), ("goldfish", "tench")),
        ("n01 tench, Tinca tinca\nn00 goldfish", ("n00", "n01"), ("goldfish", "tench, Tinca tinca")),
        ("1,one\n2,two", ("001", "002"), ("one", "two")),
        ('"b","a crane, a bird"\n"a","a machine"', ("a", "b"), ("a machine", "a crane, a bird")),
        ("ant\nZebra", ("Zebra", "ant"), ("Zebra", "ant")),
        ("a cat, small\na dog, large", ("x", "y"), ("a cat, small", "a dog, large")),
        ("b = two\na = one", ("a", "b"), ("one", "two")),
    ],
)
def test_forms_of_keys(text: str, class_names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert read(text, class_names) == expected


@pytest.mark.parametrize(
    ("text", "class_names", "message"),
    [
        ("one\ntwo\nthree\nfour\nfive\nsix", NUMBERS, r"is 'two' the class '10' or '2'\?"),
        ("a\nb", ("Zebra", "ant"), r"is 'a' the class 'Zebra' or 'ant'\?"),
        ("tench\tn01\ngoldfish\tn00", ("n00", "n01"), r"unknown class 'tench'"),
        ("cat, a\ndgo, b", ("cat", "dog"), r"unknown class 'dgo'"),
        (
            "dog\na cat",
            ("cat", "dog"),
            r"the line 'dog' names the class 'dog' but stands in the place of another",
        ),
    ],
)
def test_order_is_not_guessed(text: str, class_names: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(text, class_names)


def test_what_to_know_about_words() -> None:
    assert words_in_prompts(("a", "b"), ("a", "b"), ("a", "b")) == ()
    (mapping,) = words_in_prompts(("1", "10"), ("1", "10"), ("one", "ten"))
    assert mapping == "words: 1 = one, 10 = ten"
    (same,) = words_in_prompts(("R", "r", "x"), ("R", "r", "x"), ("R", "r", "x"))
    assert "the classes 'R' and 'r' have the same words" in same
    assert "'crane | bird'" in same
    (bare,) = words_in_prompts(NUMBERS, NUMBERS, NUMBERS)
    assert bare.startswith("words: 6 of 6 classes are bare numbers or ids in prompts (1, 10, 11, 12, 2, 3)")
    many = [str(number) for number in range(12)]
    (mapping,) = words_in_prompts(many, many, [f"word {each}" for each in many])
    assert mapping.endswith("9 = word 9 and 2 more")
    skin = ("bkl", "mel", "nevus", "nv")
    (short,) = words_in_prompts(skin, skin, skin, cleaned=True)
    assert short.startswith("words: a text encoder may not know what seem to be abbreviations (bkl, nv)")
    assert words_in_prompts(skin, skin, skin) == ()  # the words of a file are meant
