"""Names are bytes: they are compared as text, shown as text, and kept to open the file."""

from __future__ import annotations

import os
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import pytest
from data_pictures import picture
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.errors import InputError
from understudy.data.labelled_set import encode
from understudy.data.load import Splits, load_splits
from understudy.data.settings import DataSettings
from understudy.data.sources.entries import Entry, is_undecoded, printable, stored_bytes
from understudy.data.sources.tree import read_tree

SETTINGS = DataSettings(source="SET")


def load(source: Path | str, **settings: Any) -> Splits:
    return load_splits(DataSettings(source=str(source), **settings), seed=0)


def write(root: Path, classes: dict[bytes, int], *, file: bytes = b"%d.png", start: int = 0) -> Path:
    for number, (name, count) in enumerate(classes.items()):
        folder = os.path.join(os.fsencode(root), name)
        os.makedirs(folder)
        for index in range(count):
            with open(os.path.join(folder, file % index), "wb") as out:
                out.write(encode(picture(start + 50 * number + index)))
    return root


def total(splits: Splits) -> int:
    return len(splits.train) + len(splits.val) + len(splits.test)


@given(
    st.lists(
        st.binary(min_size=1, max_size=6).filter(lambda b: not {0, 47} & set(b) and b[:1] != b"."),
        min_size=2,
        unique=True,
    )
)
def test_names_of_any_bytes_are_read_or_refused_with_a_word(folders: list[bytes]) -> None:
    names = [f"{os.fsdecode(folder)}/{number}.png" for folder in folders for number in range(2)]
    for name in names:
        assert stored_bytes(name).decode("utf-8", "surrogateescape") == name
        printable(name).encode()
    try:
        tree = read_tree(names, "SET", SETTINGS)
    except InputError as error:
        str(error).encode()
        return
    for item in tree.items:
        (item.path + str(item.label)).encode()
    assert set(tree.names) | {path for path, _ in tree.left_out} >= {
        name for name in names if not is_undecoded(name)
    }


@given(st.sampled_from(["café", "thé", "naïve", "Ångström", "한국"]), st.permutations(["NFC", "NFD"]))
def test_accents_are_compared_composed(name: str, forms: list[Any]) -> None:
    entries = [Entry(f"{unicodedata.normalize(form, name)}/1.png") for form in forms]
    assert entries[0].parts == entries[1].parts
    assert entries[0].name != entries[1].name


def test_splits_of_two_systems_agree(tmp_path: Path) -> None:
    for split, form, count in (("train", "NFD", 6), ("test", "NFC", 3)):
        names = [unicodedata.normalize(form, name).encode() for name in ("café", "thé")]  # type: ignore[arg-type]
        write(tmp_path / split, dict.fromkeys(names, count), start=1000 * (split == "test"))
    splits = load(tmp_path)
    assert splits.train.class_names == ("café", "thé")
    assert splits.test.counts.tolist() == [3, 3]
    assert "'café', 'thé' differ only in how accents are stored" in splits.notes[1]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    write(tmp_path / "files", {b"a": 4, b"b": 4}, file=b"th\xe9%d.png")
    splits = load(tmp_path / "files")
    assert total(splits) == 8
    assert all("th\\xe9" in path for path in splits.train.provenance("source_path"))
    write(tmp_path / "classes", {b"K\xfche": 4, b"Pferde": 4})
    with pytest.raises(
        InputError, match=r"must be UTF-8, but 'K\\xfche' is not: it reads 'Kühe' in cp1252, .*name_encoding"
    ):
        load(tmp_path / "classes")
    assert load(tmp_path / "classes", name_encoding="latin-1").train.class_names == ("Kühe", "Pferde")
    with pytest.raises(InputError, match=r"ascii does not fit 'K\\xfche/0.png'"):
        load(tmp_path / "classes", name_encoding="ascii")
    with pytest.raises(InputError, match=r"an encoding that Python knows, such as cp1252, .*got 'klingon'"):
        load(tmp_path / "classes", name_encoding="klingon")


def test_bad_files_with_such_names_are_named(tmp_path: Path) -> None:
    write(tmp_path, {b"a": 4, b"b": 4})
    with open(os.path.join(os.fsencode(tmp_path), b"a", b"\xff.png"), "wb") as out:
        out.write(b"no")
    with pytest.raises(InputError, match=r"a/\\xff.png: not an image"):
        load(tmp_path)


def write_zip(path: Path, names: dict[str, bytes], slash: bytes = b"/") -> Path:
    """A zip without the flag for UTF-8; names are written with stand-ins of equal length."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            for index in range(4):
                archive.writestr(zipfile.ZipInfo(f"{name}/{index}.png"), encode(picture(50 * number + index)))
    data = path.read_bytes()
    for name, raw in names.items():
        assert len(name) == len(raw)
        data = data.replace(name.encode() + b"/", raw + slash)
    path.write_bytes(data)
    return path


def test_zips_of_windows_programs(tmp_path: Path) -> None:
    back = load(write_zip(tmp_path / "a.zip", {"cat": b"cat", "dog": b"dog"}, slash=b"\\"))
    assert back.train.class_names == ("cat", "dog")
    assert back.notes == ("folders: the zip has backslashes between folders, which are read as slashes",)
    utf8 = load(write_zip(tmp_path / "b.zip", {"K##he": "Kühe".encode(), "dog": b"dog"}))
    assert utf8.train.class_names == ("Kühe", "dog")
    names = {"####": "香蕉".encode("gbk"), "***": b"dog"}
    with pytest.raises(InputError, match=r"it reads .*'香蕉' in gbk"):
        load(write_zip(tmp_path / "c.zip", names))
    assert load(tmp_path / "c.zip", name_encoding="gbk").train.class_names == ("dog", "香蕉")
    flagged = tmp_path / "d.zip"
    with zipfile.ZipFile(flagged, "w") as archive:
        for number, name in enumerate(("Kühe", "Hühner")):
            for index in range(4):
                archive.writestr(f"{name}/{index}.png", encode(picture(50 * number + index)))
    assert load(flagged).train.class_names == ("Hühner", "Kühe")
