"""Splits that rows and samples say, beside what names of files and folders say: the notes are true."""

from __future__ import annotations

import io
import json
import re
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
from understudy.data.sources.said_splits import SaidSplits
from understudy.data.sources.split_candidates import Candidate, may_say_split
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
@pytest.mark.parametrize("name", ["split", "Usage", "data_split", "fold", "eval_set"])
@pytest.mark.parametrize("said", [[*range(4)] * 3, [0.5, 1.5, 2, 3] * 3, [[1]] * 12, ["a", "b"] * 6])
def test_columns_that_may_say_splits_and_do_not_are_named(
    write: Any, name: str, said: Any, tmp_path: Path
) -> None:
    file = tmp_path / f"x.{write.__name__}"
    if name == "split" and said[0] == "a":
        return  # refused, as the test above shows
    write(file, said, name=name)
    splits, (note,) = opened(file)
    assert set(splits) == {None}
    kinds = "lists" if said[0] == [1] else "text" if said[0] == "a" else "numbers"
    assert re.match(rf"warning: the (column|field) {name} \({kinds}\) may say splits, but is not read", note)
    assert note.endswith(("write the words train, validation or test into a column split", "a field split"))
    assert opened(file, split_names="ignore")[1] == ()


# The split of each of the 12 images by the author, and the family of columns that say it.
TRUTH = ["train", "train", "val", "test", "test", "train"] * 2
TEXTS = {
    "train": ["train", "Training", "TRAIN", "train2017", "trainset", "seg_train", "x/train/1.png", " train "],
    "val": ["val", "Valid", "validation", "dev", "valset", "val2017"],
    "test": ["test", "Testing", "eval", "PrivateTest", "test_set", "coco/test/2.png"],
}
FLAGS = ["is_training", "isTrain", "train", "in_train_set", "is_test", "test", "TestFlag", "used_for_testing"]
TRUTH_VALUES = [(True, False), (1, 0), ("yes", "no"), ("True", "False"), ("1", "0"), (1.0, 0.0)]
NAMES = ["Usage", "data_split", "subset", "partition", "fold_name", "kind", "Split", "x", "dataset"]


@st.composite
def texts(draw: Any, truth: Sequence[str] = TRUTH) -> list[str]:
    """A column of text that says the truth, with one or several words for a split."""
    words = {
        split: draw(st.lists(st.sampled_from(each), min_size=1, max_size=3)) for split, each in TEXTS.items()
    }
    return [words[split][index % len(words[split])] for index, split in enumerate(truth)]


@st.composite
def flags(draw: Any) -> tuple[str, list[Any], list[str]]:
    """A column of truth values: its name, its values, and what they say if no other column is read."""
    name, (yes, no) = draw(st.sampled_from(FLAGS)), draw(st.sampled_from(TRUTH_VALUES))
    split, otherwise = ("train", "test") if "rain" in name else ("test", "train")
    says = [split if each == split else otherwise for each in TRUTH]
    return name, [yes if each == split else no for each in TRUTH], says


NOISE = {
    "caption": [f"a train and {n} tests, a photo" for n in range(12)],
    "width": [10] * 12,
    "id": [f"image-{n}" for n in range(12)],
    "vehicle": ["train", "car"] * 6,
    "is_blue": [True, False] * 6,
    "status": ["valid"] * 12,
    "class_name": ["a", "b"] * 6,
}
TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]


def write_columns(to: Path, kind: str, columns: Mapping[str, Any], types: Any = None) -> Path:
    """A Parquet file, a folder of ``save_to_disk`` or a tar with these columns or fields, in this order."""
    file = to / f"x.{kind}"
    if kind == "tar":
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        content = {
            f"{n}.json": json.dumps(row | {"label": "ab"[n % 2]}).encode() for n, row in enumerate(rows)
        }
        write_tar(file, {name: each for n in range(12) for name, each in ((f"{n}.png", b"x"),)} | content)
        return file
    arrays = {
        name: pa.array(values).cast(types) if types and isinstance(values[0], str) else pa.array(values)
        for name, values in columns.items()
    }
    table = pa.table(arrays | {"image": [b"x"] * 12, "label": ["a", "b"] * 6})
    if kind == "parquet":
        pq.write_table(table, file)
        return file
    file.mkdir()
    with pa.ipc.new_stream(file / "a.arrow", table.schema) as stream:
        stream.write_table(table, max_chunksize=5)
    (file / "state.json").write_text(json.dumps({"_data_files": [{"filename": "a.arrow"}]}))
    return file


KINDS = st.sampled_from(["parquet", "arrow", "tar"])
SOME_NOISE = st.lists(st.sampled_from(list(NOISE)), unique=True)


@settings(deadline=None, max_examples=25)
@given(st.data(), KINDS, st.sampled_from(NAMES), st.sampled_from(TYPES), SOME_NOISE)
def test_the_split_that_a_column_says_is_read(
    data: st.DataObject, kind: str, name: str, types: pa.DataType, noise: list[str]
) -> None:
    """Whatever its name, type and place, and whatever stands beside it; flags agree or stand alone."""
    said = data.draw(st.dictionaries(st.just(name), texts(), max_size=1), label="text")
    flag, values, alone = data.draw(flags(), label="flag")
    if not said or data.draw(st.booleans(), label="both"):
        said |= {flag: values}
    columns = dict(data.draw(st.permutations(list((said | {each: NOISE[each] for each in noise}).items()))))
    with TemporaryDirectory() as folder:
        file = write_columns(Path(folder), kind, columns, types)
        splits, notes = opened(file)
        assert set(opened(file, split_names="ignore")[0]) == {None}
        assert opened(file, split_column=next(iter(said)))[0] == (TRUTH if name in said else alone)
    expected = TRUTH if name in said else alone
    assert splits == expected
    counts = ", ".join(
        f"{each}: {expected.count(each)}" for each in ("train", "val", "test") if each in expected
    )
    assert notes[0].startswith(f"splits: {counts} (from the ")
    assert all(each in notes[0] for each in said)
    assert not any(each.startswith("warning") for each in notes)


@settings(deadline=None, max_examples=15)
@given(st.data(), KINDS, st.lists(st.sampled_from(NAMES), min_size=2, max_size=2, unique=True))
def test_columns_that_contradict_each_other_are_refused(
    data: st.DataObject, kind: str, names: list[str]
) -> None:
    row = data.draw(st.integers(0, 11))
    others = [each for each in ("train", "val", "test") if each != TRUTH[row]]
    wrong = [*TRUTH[:row], data.draw(st.sampled_from(others)), *TRUTH[row + 1 :]]
    columns = {names[0]: data.draw(texts()), names[1]: data.draw(texts(wrong))}
    with TemporaryDirectory() as folder:
        file = write_columns(Path(folder), kind, columns)
        with pytest.raises(InputError, match="contradict each other about the split") as error:
            opened(file)
        assert all(f"{name!r} (" in str(error.value) for name in names)
        assert opened(file, split_column=names[0])[0] == TRUTH
        assert opened(file, split_column=names[1])[0] == wrong


@settings(deadline=None, max_examples=10)
@given(KINDS, SOME_NOISE)
def test_other_columns_say_no_split(kind: str, noise: list[str]) -> None:
    with TemporaryDirectory() as folder:
        file = write_columns(Path(folder), kind, {each: NOISE[each] for each in noise})
        assert opened(file) == ([None] * 12, ())


@pytest.mark.parametrize("write", ["parquet", "tar"])
def test_labels_are_no_splits(write: str, tmp_path: Path) -> None:
    """Classes may have the names of splits."""
    names = ["train", "test"] * 6
    if write == "tar":
        content = {f"{n}.json": json.dumps({"label": name}).encode() for n, name in enumerate(names)}
        write_tar(tmp_path / "x.tar", {f"{n}.png": b"x" for n in range(12)} | content)
    else:
        pq.write_table(pa.table({"image": [b"x"] * 12, "label": names}), tmp_path / "x.parquet")
    assert opened(tmp_path / f"x.{write}") == ([None] * 12, ())


@pytest.mark.parametrize("kind", ["parquet", "arrow", "tar"])
def test_fer_2013(kind: str, tmp_path: Path) -> None:
    """The public test set was open to choose models by: it is for validation, the private one for testing."""
    usage = ["Training"] * 6 + ["PublicTest", "PrivateTest"] * 3
    splits, notes = opened(write_columns(tmp_path, kind, {"Usage": usage}))
    assert splits == ["train"] * 6 + ["val", "test"] * 3
    assert notes[0].startswith("splits: train: 6, val: 3, test: 3 (from the ")
    assert notes[1].startswith("splits: PublicTest in the ")
    assert notes[1].endswith("Usage is read as validation, because there is a private test split")


@pytest.mark.parametrize(
    ("usage", "splits"),
    [
        (["Training", "PublicTest"], ["train", "test"]),
        (["Training", "PublicTest", "validation"], ["train", "test", "val"]),
        (["Training", "PublicTest", "PrivateTest", "val"], ["train", "test", "test", "val"]),
    ],
)
def test_a_public_test_split_is_for_testing_otherwise(
    usage: list[str], splits: list[str], tmp_path: Path
) -> None:
    rows = (usage * 6)[:12]
    assert opened(write_columns(tmp_path, "parquet", {"Usage": rows}))[0] == (splits * 6)[:12]


@pytest.mark.parametrize("name", ["train", "test", "val"])
def test_one_hot_flags(name: str, tmp_path: Path) -> None:
    """Two or three flags say all splits together; one alone says no validation."""
    one_hot = {f"is_{split}": [each == split for each in TRUTH] for split in ("train", "val", "test")}
    assert opened(write_columns(tmp_path, "tar", one_hot))[0] == TRUTH
    del one_hot[f"is_{name}"]
    assert opened(write_columns(tmp_path, "tar", one_hot))[0] == TRUTH
    with pytest.raises(InputError, match=r"'is_\w+' \(True\) and 'is_\w+' \(True\) contradict each other"):
        opened(write_columns(tmp_path, "tar", dict.fromkeys(one_hot, [True, False] * 6)))


@pytest.mark.parametrize(
    ("name", "values", "advice"),
    [
        *((name, [0, 1], "write the words train") for name in ("split", "Usage", "subset", "partition")),
        *((name, [False, True], "write the words train") for name in ("not_train", "train_test", "holdout")),
        ("CelebA_split", [0, 1], None),
        ("partition", [0, 1, 2], "write the words train"),
        ("is_valid", [False, True], "for val, use --set data.split_column=is_valid; if they are no splits"),
        ("valid", [0, 1], "for val, use --set data.split_column=valid"),
        ("test_result", [0, 1], None),
        ("fold", [0, 1], None),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "arrow", "tar"])
def test_values_that_do_not_say_which_split_are_refused(
    name: str, values: list[Any], advice: str | None, kind: str, tmp_path: Path
) -> None:
    """If other words stand in the name, only a warning names the column."""
    file = write_columns(tmp_path, kind, {name: (values * 6)[:12]})
    if advice is None:
        splits, (note,) = opened(file)
        assert set(splits) == {None}
        assert note.startswith("warning: the ")
        return
    with pytest.raises(InputError, match=rf"'{name}' may say splits, but .* do not say .*{advice}"):
        opened(file)
    assert opened(file, split_names="ignore") == ([None] * 12, ())
    assert opened(file, split_names="join")[0] == [None] * 12


def test_a_chosen_column_must_say_splits(tmp_path: Path) -> None:
    columns = {"is_valid": [False, True] * 6, "fold": [1, 2] * 6, "x": ["train", "test", "odd"] * 4}
    file = write_columns(tmp_path, "parquet", columns)
    assert opened(file, split_column="is_valid")[0] == ["train", "val"] * 6
    for name in ("label", "image", "missing"):
        with pytest.raises(InputError, match=rf"must have one column '{name}' \(data.split_column\)"):
            opened(file, split_column=name)
    with pytest.raises(InputError, match=r"'fold' \(data.split_column\) must hold the words .*, got 1, 2"):
        opened(file, split_column="fold")
    with pytest.raises(InputError, match=r"'x' must say train, validation or test, got 'odd'"):
        opened(file, split_column="x")


def test_names_of_images_say_splits_if_nothing_else_does(tmp_path: Path) -> None:
    names = [f"data/{'train' if n < 20 else 'test'}/{n}.png" for n in range(24)]
    columns = {"image": [b"x"] * 24, "label": ["a", "b"] * 12, "file_name": names}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    splits, notes = opened(tmp_path / "a.parquet")
    assert splits == ["train"] * 20 + ["test"] * 4
    assert notes == ("splits: train: 20, test: 4 (from the column file_name)",)
    columns["split"] = ["train", "test"] * 12
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert opened(tmp_path / "a.parquet")[0] == ["train", "test"] * 12


def test_a_list_among_words_is_refused(tmp_path: Path) -> None:
    for name in ("split", "Usage"):
        file = write_columns(tmp_path, "tar", {name: ["train", "test", ["test"]] * 4})
        with pytest.raises(InputError, match=rf"'{name}' must say train, validation or test, got \['test'\]"):
            opened(file)


def test_words_that_are_mostly_splits_must_all_be(tmp_path: Path) -> None:
    file = write_columns(tmp_path, "parquet", {"subset": ["train", "test", "unlabelled"] * 4})
    with pytest.raises(InputError, match=r"'subset' must say train, validation or test, got 'unlabelled'"):
        opened(file)
    file = write_columns(tmp_path, "parquet", {"test_name": ["blood test", "x-ray", "test strip"] * 4})
    assert opened(file)[1][0].startswith("warning: the column test_name (text) may say splits")


@pytest.mark.parametrize(
    ("name", "value", "split"),
    [
        *(("Usage", "PublicTest", "test"), ("is_test", True, "test"), ("is_train", "no", "test")),
        *(("subset", "dev", "val"), ("subset", "train", None), ("is_train", 1, None), ("is_test", 0, None)),
        *(("is_valid", True, None), ("status", "valid", None), ("fold", 1, None)),
    ],
)
def test_a_column_that_says_one_split_is_not_read(name: str, value: Any, split: Any, tmp_path: Path) -> None:
    splits, notes = opened(write_columns(tmp_path, "parquet", {name: [value] * 12}))
    told = f"splits: the column {name} says {split} for every image, so all are divided"
    assert (set(splits), notes) == ({None}, (told,) if split else ())


def test_a_column_of_some_files(tmp_path: Path) -> None:
    """Rows without a value follow the name of their file; if it says none, they are refused."""
    for name, said in (("train", ["train"] * 12), ("test", None), ("val", ["val"] * 12)):
        parquet(tmp_path / f"{name}.parquet", said, name="Usage")
    assert sorted(map(str, opened(tmp_path)[0])) == ["test"] * 12 + ["train"] * 12 + ["val"] * 12
    for name in ("train", "test", "val"):
        (tmp_path / f"{name}.parquet").rename(tmp_path / f"{len(name)}{name[0]}.parquet")
    with pytest.raises(InputError, match=r"'Usage' must say train, validation or test, got None"):
        opened(tmp_path)


def test_class_labels_and_bytes_say_splits(tmp_path: Path) -> None:
    """The hub's type of class labels is numbers with names; old writers store text as bytes."""
    feature = {"Usage": {"names": ["train", "test"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": feature}})}
    for values in ([0, 1] * 6, [b"train", b"test"] * 6):
        table = pa.table({"image": [b"x"] * 12, "label": ["a", "b"] * 6, "Usage": values})
        pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
        assert opened(tmp_path / "a.parquet")[0] == ["train", "test"] * 6


def test_columns_that_cannot_be_read(tmp_path: Path) -> None:
    """They stop nothing, unless they may say splits by their names."""
    odd = pa.array([b"\xff"] * 12, pa.binary()).view(pa.string())
    for name in ("caption", "Usage"):
        table = pa.table({"image": [b"x"] * 12, "label": ["a", "b"] * 6, name: odd})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    assert opened(tmp_path / "caption.parquet") == ([None] * 12, ())
    with pytest.raises(InputError, match=r"the column 'Usage' may say splits, but cannot be read: "):
        opened(tmp_path / "Usage.parquet")


@given(
    st.one_of(st.none(), st.text(), st.integers(), st.booleans()), st.sampled_from(["train", "test", None])
)
def test_a_value_says_a_split_or_is_refused(value: Any, of_name: Any) -> None:
    candidate = Candidate("split")
    candidate.add([value])
    said = SaidSplits("column", {"split": candidate.by_words})
    blank = value is None or (isinstance(value, str) and not value.strip())
    expected = of_name if blank else split_of(value) if isinstance(value, str) else None
    if expected and of_name in (None, expected):
        assert said.split([value], of_name) == expected
    else:
        with pytest.raises(InputError, match=r"the column 'split' must say .*, got"):
            said.split([value], of_name)


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


@pytest.mark.parametrize("name", ["label", "width", "settings", "restful", "latest", "trained", "offset"])
def test_names_without_a_word_for_splits(name: str) -> None:
    assert not may_say_split(name)
