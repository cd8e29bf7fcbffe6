"""Splits that rows and samples say, beside what names of files and folders say: the notes are true."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core.errors import InputError
from understudy.data.load import find_source
from understudy.data.settings import DataSettings
from understudy.data.sources.said_splits import may_say_split, not_read, split_said
from understudy.data.sources.split_names import split_of

ROWS = ["train", "Validation", "test"] * 4
READ = ["train", "val", "test"] * 4
Said = Sequence[Any] | None


def write_tar(path: Path, entries: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def parquet(path: Path, said: Said, *, name: str = "split") -> None:
    columns = {"image": [b"x"] * 12, "label": ["a", "b"] * 6}
    pq.write_table(pa.table(columns | ({} if said is None else {name: said})), path)


def tar(path: Path, said: Said, *, name: str = "split") -> None:
    entries = {}
    for index in range(12):
        content = {"label": "ab"[index % 2]} | ({} if said is None else {name: said[index]})
        entries |= {f"{index}.png": b"x", f"{index}.json": json.dumps(content).encode()}
    write_tar(path, entries)


def opened(place: Path, **options: Any) -> tuple[list[str | None], tuple[str, ...]]:
    """The split of each item, and the notes."""
    contents = find_source(str(place)).open(str(place), DataSettings(source=str(place), **options))
    return [item.split for item in contents.items], contents.notes


WRITERS = pytest.mark.parametrize("write", [parquet, tar])


@WRITERS
@settings(deadline=None)
@given(name=st.sampled_from(["data", "train", "x-test", "Validation-0", "eval"]), is_said=st.booleans())
def test_the_only_file_has_true_notes(write: Any, name: str, is_said: bool) -> None:
    """Rows say the splits, whatever the name; without them, images are divided, and notes say which."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.{write.__name__}"
        write(file, ROWS if is_said else None)
        splits, notes = opened(file)
        assert opened(file, split_names="ignore") == ([None] * 12, ())
    assert splits == (READ if is_said else [None] * 12)
    odd = [note for note in notes if "is the only one" in note]
    assert len(odd) == (name not in ("data", "train"))
    for note in odd:
        assert f"the file {file.name} says" in note
        assert note.endswith("the name is not read" if is_said else "are divided into train, val and test")
    assert any("from the" in note for note in notes) == is_said


@WRITERS
def test_rows_and_names_of_several_files(write: Any, tmp_path: Path) -> None:
    for name in ("train", "test"):
        write(tmp_path / f"{name}.{write.__name__}", [name] * 11 + [None])
    assert sorted(map(str, opened(tmp_path)[0])) == ["test"] * 12 + ["train"] * 12
    write(tmp_path / f"test.{write.__name__}", ["test"] * 11 + ["train"])
    with pytest.raises(
        InputError, match=r"'split'.* must say test, as the name of the file does, got 'train'"
    ):
        opened(tmp_path)
    assert set(opened(tmp_path, split_names="ignore")[0]) == {None}


@WRITERS
@pytest.mark.parametrize("said", [["extra"] * 12, [*ROWS[:11], None], [*ROWS[:11], "train test"], [""] * 12])
def test_rows_must_say_splits(write: Any, said: Any, tmp_path: Path) -> None:
    file = tmp_path / f"x.{write.__name__}"
    write(file, said)
    with pytest.raises(InputError, match=r"must say train, validation or test, got .*split_names=ignore"):
        opened(file)


@WRITERS
@pytest.mark.parametrize("said", [[0] * 12, [False, True] * 6, [[1]] * 12])
def test_splits_that_are_no_words_are_not_read(write: Any, said: Any, tmp_path: Path) -> None:
    file = tmp_path / f"x.{write.__name__}"
    write(file, said)
    splits, (note,) = opened(file)
    assert set(splits) == {None}
    what = "column" if write is parquet else "field"
    assert note.startswith(f"warning: the {what} split is not read, because it holds ")
    assert note.endswith("no text: write the words train, validation or test into it")
    assert opened(file, split_names="ignore")[1] == ()
    write(file, said, name="Is_Test")
    (note,) = opened(file)[1]
    assert note.startswith(
        f"warning: the {what} Is_Test may say splits, but only a {what} called split is read"
    )


def test_several_columns_that_may_say_splits() -> None:
    assert (
        "the columns fold, set may say splits"
        in not_read({"fold": "int64", "set": "string"}, kind="column")[0]
    )
    assert not_read({}, kind="column") == ()


@given(
    st.one_of(st.none(), st.text(), st.integers(), st.booleans()), st.sampled_from(["train", "test", None])
)
def test_a_value_says_a_split_or_is_refused(value: Any, of_name: Any) -> None:
    said = of_name if value is None else split_of(value) if isinstance(value, str) else None
    if said and of_name in (None, said):
        assert split_said(value, of_name, what="the column 'split'") == said
    else:
        with pytest.raises(InputError, match=r"the column 'split' must say .*, got"):
            split_said(value, of_name, what="the column 'split'")


def test_a_tar_of_class_folders_with_splits_inside(tmp_path: Path) -> None:
    """The name of the only tar is not read, and the note must not say that images are divided."""
    names = [f"{split}/{label}/{n}.png" for split in ("train", "test") for label in "ab" for n in range(3)]
    write_tar(tmp_path / "test.tar", dict.fromkeys(names, b"x"))
    splits, notes = opened(tmp_path / "test.tar")
    assert splits == ["test"] * 6 + ["train"] * 6
    assert notes[0] == "splits: the file test.tar says test, but it is the only one: the name is not read"
    write_tar(tmp_path / "test.tar", {name.partition("/")[2]: b"x" for name in names})
    assert "are divided into train" in opened(tmp_path / "test.tar")[1][0]


def test_a_folder_in_a_tar_of_another_split_is_refused(tmp_path: Path) -> None:
    for name, folder in (("train", "clean"), ("test", "train")):
        entries = {f"data/{folder}/{n}.{end}": b"a" for n in range(3) for end in ("png", "cls")}
        write_tar(tmp_path / f"{name}.tar", entries)
    with pytest.raises(
        InputError, match=r"test.tar .*because of the folders in a tar of the test split 'data/tr"
    ):
        opened(tmp_path)
    assert set(opened(tmp_path, split_names="ignore")[0]) == {None}


@pytest.mark.parametrize("name", ["txt", "class", "index", "label.txt"])
def test_labels_in_other_files_are_named(name: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {f"{n}.{end}": b"a" for n in range(3) for end in ("png", name)})
    source = find_source(str(tmp_path / "x.tar"))
    items = list(source.open(str(tmp_path / "x.tar"), DataSettings(source="x")).items)
    assert {item.problem for item in items} == {
        f"no class in .cls or .json, only .{name}: if the class is in .{name}, name that file .cls"
    }


@WRITERS
@pytest.mark.parametrize(
    "name", ["Usage", "data_split", "dataSplit", "is_training", "isTest", "train", "Partition", "eval_set"]
)
def test_columns_with_a_split_word_in_their_name_are_named(write, name, tmp_path):
    write(tmp_path / "a", ["x"] * 12, name=name)
    place = (tmp_path / "a").rename(tmp_path / ("a.parquet" if write is parquet else "a.tar"))
    notes = opened(place)[1]
    assert any(note.startswith("warning: ") and name in note for note in notes)


@pytest.mark.parametrize("name", ["label", "width", "settings", "restful", "latest", "trained", "offset"])
def test_other_columns_are_not(name):
    assert not may_say_split(name)
