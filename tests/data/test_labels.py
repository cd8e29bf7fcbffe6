"""Labels against declared class names and against each other: joined, refused or kept, never lost."""

from __future__ import annotations

import io
import tarfile
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from data_pictures import picture, write_folder
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.errors import InputError
from understudy.data.export import export
from understudy.data.labelled_set import LabelledSet, encode
from understudy.data.labels import Classes, find_classes, is_missing
from understudy.data.load import Splits, load_splits
from understudy.data.settings import DataSettings
from understudy.data.sources.samples import _number


def classes(labels: list[Any], declared: tuple[str, ...] | None = None, similar: str = "refuse") -> Classes:
    return find_classes(labels, declared, DataSettings(source="set", similar_labels=similar))


WORDS = st.text("abcdeé", min_size=2, max_size=5)
NAMES = st.lists(WORDS, min_size=2, max_size=5, unique=True)


WIDE = {"a": "\uff41", "b": "\uff42", "e": "\uff45"}
"""Wide letters, as Japanese keyboards write them."""


def spellings(name: str) -> st.SearchStrategy[str]:
    """The name with other case, spaces, invisible characters or wide letters, or accents stored otherwise."""
    return st.sampled_from(
        [
            *(name, name.upper(), name.title(), f" {name}", f"{name}\t", unicodedata.normalize("NFD", name)),
            *(f"{name}\u200b", f"\ufeff{name}", "".join(WIDE.get(each, each) for each in name)),
            name.translate(str.maketrans("ace", "\u0430\u0441\u0435")),
        ]
    )


@given(NAMES, st.sampled_from(["{} (1)", "{} - Copy", "{} - copy (2)", "{} copy", "{} copy 3", "Copy of {}"]))
def test_copied_folders_are_no_classes(names: list[str], form: str) -> None:
    copied = form.format(names[0])
    with pytest.raises(InputError, match=r"as copied folders do, such as 'cat \(1\)': .*similar_labels=join"):
        classes([*names, copied])
    assert classes([*names, names[0], copied], similar="join").key_of[copied] == names[0]
    assert copied in classes([*names, copied], similar="keep").keys
    assert copied in classes([*names[1:], copied]).keys


@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (["[0, 1]", "[1, 0]"], "2 of 2 classes look like several labels of one image: '[0, 1]', '[1, 0]';"),
        (
            ["cat", "dog", "cat|dog", "cow"],
            "1 of 4 classes look like several labels of one image: 'cat|dog';",
        ),
        (["cat", "dog", "dog; cat"], "1 of 3 classes look like several labels"),
    ],
)
def test_several_labels_of_one_image_are_named(labels: list[str], named: str) -> None:
    assert named in classes(labels).notes[0]
    assert classes(["black & white", "salt/pepper", "cat", "a (b)"]).notes == ()


@given(NAMES.flatmap(lambda names: st.tuples(st.just(names), st.tuples(*map(spellings, names)))), st.data())
def test_no_class_is_lost_or_made(named: tuple[list[str], tuple[str, ...]], data: st.DataObject) -> None:
    """Every class occurs once as it is and once in another spelling."""
    names, others = named
    labels = data.draw(st.permutations([*names, *names, *others]))
    for declared in (None, tuple(names)):
        joined = classes(labels, declared, "join")
        assert sorted(joined.keys) == sorted(names)
        assert [joined.key_of[label] for label in (*names, *others)] == [*names, *names]
        assert bool(joined.notes) == (set(others) != set(names) and not set(others) <= set(names))
        differs = [
            other
            for name, other in zip(names, others, strict=True)
            if unicodedata.normalize("NFC", other) != name
        ]
        if differs:
            with pytest.raises(InputError, match=r"similar_labels=join"):
                classes(labels, declared)
        else:
            assert classes(labels, declared).keys == joined.keys


@given(NAMES, st.integers(0, 3))
def test_labels_that_are_not_declared_are_named(names: list[str], number: int) -> None:
    with pytest.raises(InputError, match=r"among the declared class names, got 'zz'; declared are '") as told:
        classes([*names, "zz"], tuple(names), "join")
    assert all(repr(name) in str(told.value) for name in names)
    with pytest.raises(
        InputError, match=rf"label must be in \[0, {len(names)}\), .*got {len(names) + number}"
    ):
        classes([0, len(names) + number], tuple(names))
    assert classes([1, 0], tuple(names)).key_of[1] == names[1]


def test_numbers_counted_from_one() -> None:
    with pytest.raises(InputError, match=r"got 2: count from 0, not from 1"):
        classes([1, 2], ("a", "b"))


def test_similar_labels() -> None:
    labels = ["cat", "Cat", "Cat", "dog"]
    with pytest.raises(InputError, match=r"'Cat' \(2 images\) and 'cat' \(1 images\): correct them, or say"):
        classes(labels)
    assert classes(labels, similar="join").keys == ("Cat", "dog")
    assert classes(labels, similar="join").notes == ("labels: 'cat' as 'Cat'",)
    assert classes(labels, similar="keep").keys == ("Cat", "cat", "dog")


def test_letters_keep_their_case() -> None:
    assert classes(["r", "R"]).keys == ("R", "r")


def test_leading_zeros() -> None:
    with pytest.raises(InputError, match=r"'01' \(1 images\) and '1' \(1 images\)"):
        classes(["01", 1, 10])
    assert classes(["01", "02", 10]).keys == ("01", "02", "10")
    assert classes(["01", "02", 10]).key_of[10] == "10"
    assert classes(["01", 1, 10], similar="join").keys == ("01", "10")
    assert classes(["01", 1, 10], similar="keep").keys == ("01", "1", "10")
    with pytest.raises(InputError, match=r"all be numbers or all be names, got both, such as 1 and 'a1'"):
        classes(["a1", 1])


def test_numbers_sort_as_numbers() -> None:
    assert classes([10, 9]).keys == ("9", "10")
    assert classes([10, 9]).numbered


@pytest.mark.parametrize("label", [None, "", " \t", -1])
def test_missing(label: Any) -> None:
    assert is_missing(label)


@pytest.mark.parametrize("label", ["0", 0, "-1", "none", -2])
def test_not_missing(label: Any) -> None:
    assert not is_missing(label)


def test_folders_that_differ_in_case(tmp_path: Path) -> None:
    write_folder(tmp_path, {"Cat": 5})
    write_folder(tmp_path, {"cat": 5, "dog": 5}, start=10)
    with pytest.raises(InputError, match=r"'Cat' \(5 images\) and 'cat' \(5 images\)"):
        load(tmp_path)
    assert load(tmp_path, similar_labels="join").train.class_names == ("Cat", "dog")


def load(source: Path, **options: Any) -> Splits:
    return load_splits(DataSettings(source=str(source), **options), seed=0)


@pytest.mark.parametrize("names", [("two\nlines", "b"), (" a", "a b"), ("a\u2028b", "c"), ("x", "y")])
def test_our_webdataset_keeps_every_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    images = [picture(index) for index in range(12)]
    data = LabelledSet.from_images(images, [0, 1] * 6, class_names=names, split="train")
    export(data, tmp_path / "set", form="webdataset")
    assert load(tmp_path / "set").train.class_names == names


def write_tar(path: Path, make: Any, more: dict[str, bytes] | None = None) -> Path:
    """A tar of twelve samples; ``make`` gives the files of a sample from key, class and PNG."""
    entries = dict(more or {})
    for index in range(12):
        entries |= make(f"{index:04d}", index % 2, encode(picture(index)))
    with tarfile.open(path, "w") as tar:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    "files",
    [
        {"./KEY.png": None, "./KEY.cls": b"CLASS"},
        {"KEY.input.png": None, "KEY.output.cls": b"CLASS"},
        {"v1.0.KEY.png": None, "v1.0.KEY.cls": b"CLASS"},
        {"KEY.png": None, "KEY.cls": b"\xef\xbb\xbfCLASS"},
        {"KEY.png": None, "KEY.json": b'"CLASS"'},
        {"KEY.png": None, "KEY.json": b"null", "KEY.cls": b"CLASS"},
        {"KEY.png": None, "KEY.json": b"[1]", "KEY.cls": b"CLASS"},
        {"KEY.bmp": None, "KEY.seg.png": None, "KEY.cls": b"CLASS"},
    ],
)
def test_samples_of_a_tar(tmp_path: Path, files: dict[str, bytes | None]) -> None:
    def make(key: str, kind: int, data: bytes) -> dict[str, bytes]:
        return {
            name.replace("KEY", key): data if content is None else content.replace(b"CLASS", b"ab"[kind:][:1])
            for name, content in files.items()
        }

    file = write_tar(tmp_path / "x.tar", make, {"README.md": b"about", ".hidden": b""})
    splits = load(file)
    assert splits.train.class_names == ("a", "b")
    assert sum(len(part) for part in (splits.train, splits.val, splits.test)) == 12


@pytest.mark.parametrize(
    ("label", "number"),
    [
        ("0", 0),
        ("0.0", 0),
        ("1.00", 1),
        (1.0, 1),
        (True, 1),
        ("-1", None),
        ("--1", "--1"),
        ("²", "²"),
        ("01", "01"),
    ],
)
def test_numbers_in_a_tar(label: Any, number: Any) -> None:
    assert is_missing(_number(label)) if number is None else _number(label) == number


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"png": None, "jpg": None, "cls": b"a"}, r"several images of one key: .png, .jpg, .cls"),
        ({"png": None, "PNG": None, "cls": b"a"}, r"several images of one key: .png, .png \(again\)"),
        ({"png": None, "json": b'{"label": [1]}'}, r"no class in .cls, nor as class_name"),
        ({"png": None, "json": b'{"label": null}'}, r"12 of 12 images have no label"),
        ({"png": None, "json": b'{"label": 5, "class_name": null}'}, r"two classes are needed, got one: '5'"),
        ({"png": None, "json": b'{"label": true}'}, r"two classes are needed, got one: '1'"),
    ],
)
def test_tars_that_are_refused(tmp_path: Path, files: dict[str, bytes | None], told: str) -> None:
    def make(key: str, _kind: int, data: bytes) -> dict[str, bytes]:
        return {f"{key}.{ending}": data if content is None else content for ending, content in files.items()}

    with pytest.raises(InputError, match=told):
        load(write_tar(tmp_path / "x.tar", make))


def test_names_files_in_a_folder_of_a_tar(tmp_path: Path) -> None:
    def make(key: str, kind: int, data: bytes) -> dict[str, bytes]:
        return {f"set/{key}.png": data, f"set/{key}.cls": str(kind).encode()}

    file = write_tar(tmp_path / "x.tar", make, {"set/classes.txt": b"b\na\n"})
    assert load(file).train.class_names == ("b", "a")


@pytest.mark.parametrize(
    ("one", "other", "letter"),
    [
        ("cat", "\u0441at", "CYRILLIC SMALL LETTER ES"),
        ("Bob", "\u0412ob", "CYRILLIC CAPITAL LETTER VE"),
        ("cop", "\u0441\u043e\u0440", "CYRILLIC SMALL LETTER ER"),
        ("red nose", "red n\u03bfse", "GREEK SMALL LETTER OMICRON"),
        ("c\u0430t", "\u0441at", "CYRILLIC SMALL LETTER A"),
        ("AXE 1", "\u0391XE 1", "GREEK CAPITAL LETTER ALPHA"),
    ],
)
def test_letters_that_look_alike(one: str, other: str, letter: str) -> None:
    with pytest.raises(InputError, match=rf"that look alike, .* is .*{letter}.*similar_labels=join"):
        classes([one, other, one, "dog"])
    assert classes([one, other, one, "dog"], similar="join").key_of[other] == one
    assert set(classes([one, other, "dog"], similar="keep").keys) == {one, other, "dog"}
    alone = classes([other, "dog"])
    assert set(alone.keys) == {other, "dog"}
    is_mixed = other != "\u0441\u043e\u0440"
    assert bool(alone.notes) == is_mixed
    assert all(
        note.startswith("warning: words in 1 of 2 class names mix letters of two") for note in alone.notes
    )


@pytest.mark.parametrize(
    "labels",
    [
        ["\u043a\u043e\u0442", "kot"],
        ["\u0410", "A", "\u0391", "B"],
        ["TGF\u03b2", "TGFb"],
        ["\u0421\u043e\u0432\u0430", "CoBa"],
        ["\u03bcm", "um"],
        ["\u79cb\u7530", "Akita"],
        ["A \u0441\u043b\u043e\u043d", "A cat"],
    ],
)
def test_other_names_of_two_alphabets_are_classes(labels: list[str]) -> None:
    """Words that do not look Latin, and single letters."""
    found = classes(labels)
    assert set(found.keys) == set(labels)
    assert found.notes == ()
