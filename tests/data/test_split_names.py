"""Splits are read from names of folders and files, or refused with both readings; never guessed."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_pictures import picture, write_folder
from hypothesis import example, given
from hypothesis import strategies as st

from understudy.core.errors import InputError
from understudy.data.labelled_set import encode
from understudy.data.load import Splits, load_splits
from understudy.data.settings import DataSettings
from understudy.data.sources.layout import Places, find_places
from understudy.data.sources.shards import splits_of_parts
from understudy.data.sources.split_names import SPLIT_WORDS, SplitName, names_say_none, split_of

WORDS = {
    split: [word for word, each in SPLIT_WORDS.items() if each == split] for split in ("train", "val", "test")
}
CLASSES = ("bolt", "nut", "washer")


def load(source: Path | str, **settings: Any) -> Splits:
    return load_splits(DataSettings(source=str(source), **settings), seed=0)


def about_names(splits: Splits) -> list[str]:
    """Notes about splits, apart from the shares of classes."""
    return [note for note in splits.notes if not note.startswith("splits: the shares of")]


def places(*paths: str, split_names: Any = "read") -> Places:
    return find_places(
        [tuple(path.split("/")) for path in paths], "SET", DataSettings(source="SET", split_names=split_names)
    )


def tree(*tops: str) -> list[str]:
    return [f"{top}/{name}/{number}.png" for top in tops for name in CLASSES for number in range(2)]


@pytest.mark.parametrize("form", ["{split}/{name}/1.png", "{name}/{split}_1.png"])
def test_public_and_private_test_splits(form: str) -> None:
    """As in FER-2013, wherever the names stand; without a private one, the public one is for testing."""
    for names, splits in (
        (("Training", "PublicTest", "PrivateTest"), ("train", "val", "test")),
        (("Training", "PublicTest"), ("train", "test")),
        (("Training", "val", "PublicTest", "PrivateTest"), ("train", "val", "test", "test")),
    ):
        paths = [form.format(split=split, name=name) for split in names for name in CLASSES]
        found = places(*paths)
        assert found.splits == tuple(split for split in splits for _ in CLASSES)
        assert set(found.labels) == set(CLASSES)
    named = splits_of_parts(["Training.tar", "PublicTest.tar", "PrivateTest.tar"], "SET")
    assert list(named.values()) == ["train", "val", "test"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(("training_set", "train"), ("Testing", "test"), ("seg_train", "train"), ("dev", "val")),
        *(("imagenet1k-train-0000.tar", "train"), ("x.validation.01", "val"), ("train2017", "train")),
        *(("trainset", "train"), ("TestImages", "test"), ("cifar10-eval", "test"), ("évaluation", None)),
        *(("strainer", None), ("contest", None), ("pedestrian", None), ("valley", None), ("device", None)),
        *(("train-test", None), ("data", None), ("", None), ("latest", None), ("trainer", None)),
    ],
)
def test_a_split_is_a_word_between_other_characters_than_letters(name: str, split: str | None) -> None:
    assert split_of(name) == split


outer = st.text("ab1_-. ", max_size=4)
styles = st.sampled_from([str.lower, str.upper, str.title])


@given(
    val=st.sampled_from(["", *WORDS["val"]]),
    test=st.sampled_from(["", *WORDS["test"]]),
    train=st.sampled_from(WORDS["train"]),
    before=st.sampled_from(["", "seg_", "my-", "2019 "]),
    after=st.sampled_from(["", "_set", "1", "-images", ".v2"]),
    style=styles,
    wrapper=st.sampled_from(["", "archive/", "archive/data/"]),
)
@example(val="", test="testing", train="training", before="", after="", style=str.title, wrapper="")
def test_any_split_folders_above_the_classes(
    val: str, test: str, train: str, before: str, after: str, style: Any, wrapper: str
) -> None:
    names = {
        wrapper + style(f"{before}{word}{after}"): split
        for word, split in ((train, "train"), (val, "val"), (test, "test"))
        if word
    }
    if len(names) == 1 and SplitName(next(iter(names))).rest:
        return  # one folder: its name is the name of the data set
    paths = tree(*names)
    found = places(*paths)
    assert found.splits == tuple(names[path.rpartition("/")[0].rpartition("/")[0]] for path in paths)
    assert set(found.labels) == set(CLASSES)
    assert found.notes[0].startswith("splits: train: ")
    ignored = places(*paths, split_names="ignore")
    assert set(ignored.splits) == {None}


@given(st.sampled_from(WORDS["train"]), st.sampled_from(WORDS["test"] + WORDS["val"]), styles)
def test_any_split_folders_below_the_classes(train: str, held_out: str, style: Any) -> None:
    paths = [f"{name}/{style(word)}/1.png" for name in CLASSES for word in (train, held_out)]
    found = places(*paths)
    assert found.splits == ("train", SPLIT_WORDS[held_out]) * 3
    assert found.labels == tuple(name for name in CLASSES for _ in range(2))


@given(st.sampled_from(WORDS["train"]), st.sampled_from(WORDS["test"] + WORDS["val"]), outer, outer)
def test_any_split_in_shard_names(train: str, held_out: str, before: str, after: str) -> None:
    letters = [f"{before}-" if before else "", f"_{after}" if after else ""]
    names = [f"{letters[0]}{word}{letters[1]}-{number}.tar" for word in (train, held_out) for number in "01"]
    folders = [f"{name.rpartition('-')[0]}/{name}" for name in names]
    for each in (names, folders):
        found = splits_of_parts(each, "SET")
        assert list(found.values()) == ["train", "train", SPLIT_WORDS[held_out], SPLIT_WORDS[held_out]]


@given(st.lists(st.text("abtrainesvld _-1", min_size=1, max_size=12), min_size=2, max_size=5, unique=True))
def test_nothing_held_out_is_ever_trained_on_in_silence(names: list[str]) -> None:
    """Whatever the names: held-out folders are held out, or are said to be classes by a person."""
    held_out = {name for name in names if SplitName(name).is_plain and split_of(name) == "test"}
    try:
        found = places(*tree(*names))
    except InputError:
        return
    for path, split in zip(tree(*names), found.splits, strict=True):
        assert path.partition("/")[0] not in held_out or split == "test"


def test_a_folder_of_the_same_split_is_passed_over() -> None:
    found = places(*tree("archive/seg_train/seg_train", "archive/seg_test/seg_test"))
    assert set(found.labels) == set(CLASSES)
    assert found.splits == ("train",) * 6 + ("test",) * 6
    assert found.notes == ("splits: train: seg_train/, test: seg_test/ (from the folder names)",)
    assert set(places(*tree("train/images", "test/images")).labels) == set(CLASSES)


def test_names_of_files_say_splits_if_all_do() -> None:
    names = [
        f"{name}/{split}_{number}.png" for name in CLASSES for split in ("train", "test") for number in "12"
    ]
    found = places(*names)
    assert found.splits == ("train", "train", "test", "test") * 3
    assert found.notes == (
        "splits: train: train_1.png, train_2.png, test: test_1.png, test_2.png (from the file names)",
    )
    with pytest.raises(InputError, match=r"two ways, because of the file names.*split_names=ignore"):
        places(*names, "bolt/more.png")
    assert set(places(*(f"{name}/steam train {n}.png" for name in CLASSES for n in "12")).splits) == {None}


@pytest.mark.parametrize(
    "paths",
    [
        [f"{name}/1.png" for name in ("car", "train")],  # CIFAR-100 has a class train
        [f"{name}/1.png" for name in ("train station", "car")],
        [f"{name}/1.png" for name in ("steam train", "freight train")],
        [f"{name}/1.png" for name in ("valid", "invalid")],
        [f"{name}/1.png" for name in ("contest", "trainer", "valley", "pedestrian", "strainer")],
        [f"{name}/1.png" for name in ("test tube", "test strip")],
        ["bolt/1.png", "bolt/train/2.png", "nut/1.png"],
    ],
)
def test_classes_that_sound_like_splits(paths: list[str]) -> None:
    found = places(*paths)
    assert set(found.splits) == {None}
    assert found.labels == tuple(path.partition("/")[0] for path in paths)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            ["train station/1.png", "test tube/1.png"],
            r"two ways, because of the folder names 'test tube', 'train st",
        ),
        (tree("mytrain", "mytest"), r"two ways, because of the folder names 'mytest', 'mytrain'"),
        (tree("train", "unlabelled"), r"either splits or classes, got train next to unlabelled"),
        (["bolt/1.png", "nut/1.png", "test/1.png"], r"either splits or classes, got test next to bolt, nut"),
        (tree("train", "test", "extra"), r"got test, train next to extra: .*move extra elsewhere"),
        (["bolt/1.png", "bolt/test/2.png", "nut/1.png"], r"because of the folders below the classes 'test'"),
        (
            ["bolt/train/good/1.png", "bolt/test/good/2.png", "bolt/test/bad/2.png", "nut/train/good/1.png"],
            r"the classes stand above the folders test, train \(bolt, nut\), or below them \(bad, good\)",
        ),
        (
            ["train/bolt/1.png", "train/nut/test/2.png", "test/bolt/1.png"],
            r"folder in the train split 'nut/test'",
        ),
        (tree("train/train", "train/val", "test/test"), r"folder in the train split"),
        (["trainA/1.png", "trainB/1.png", "testA/1.png", "testB/1.png"], r"as classes\."),
    ],
)
def test_names_with_two_readings_are_refused(paths: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        places(*paths)
    places(*paths, split_names="ignore")


def test_the_only_folder_is_the_data_set() -> None:
    found = places(*tree("mnist_test"))
    assert set(found.splits) == {None}
    assert "the folder mnist_test says test, but it is the only one" in found.notes[0]
    assert places(*tree("pets")).notes == places(*tree("my_train_data")).notes == ()
    assert set(places(*tree("test_images")).splits) == {"test"}


def test_shard_names_with_two_readings_are_refused() -> None:
    for names in (["xtrain.tar", "xtest.tar"], ["train-test-0.tar", "val-1.tar"]):
        with pytest.raises(InputError, match=r"two ways, because of the file names"):
            splits_of_parts(names, "SET")
    with pytest.raises(
        InputError, match=r"if some file names say train, val or test, all must, .*: extra.tar"
    ):
        splits_of_parts(["train.tar", "extra.tar"], "SET")
    signs = splits_of_parts(["train-signs-train-0.tar", "train-signs-test-0.tar"], "SET")
    assert list(signs.values()) == ["train", "test"]


# Through every source


def parquet(path: Path, start: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": encode(picture(start + index)), "path": None} for index in range(12)]
    pq.write_table(pa.table({"image": images, "label": ["ab"[index % 2] for index in range(12)]}), path)


def tar(path: Path, start: int, folder: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "a") as archive:
        for index in range(12):
            for ending, data in (("png", encode(picture(start + index))), ("cls", b"ab"[index % 2 :][:1])):
                info = tarfile.TarInfo(f"{folder}{start + index}.{ending}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("write", [parquet, tar])
@pytest.mark.parametrize(
    "names",
    [
        ("x-train-0", "x-test-0"),
        ("training", "testing"),
        ("train/0", "test/0"),
        ("default/train/0", "default/test/0"),
    ],
)
def test_shards_of_any_name(tmp_path: Path, write: Any, names: tuple[str, str]) -> None:
    for number, name in enumerate(names):
        write(tmp_path / f"{name}.{write.__name__}", 50 * number)
    splits = load(tmp_path)
    assert len(splits.test) == 12
    assert all("test" in path for path in splits.test.provenance("source_path"))
    assert splits.notes[0].startswith("splits: train: ")
    divided = load(tmp_path, split_names="ignore")
    assert len(divided.train) > len(splits.train)
    assert about_names(divided) == []


@pytest.mark.parametrize("write", [parquet, tar])
def test_a_test_file_alone(tmp_path: Path, write: Any) -> None:
    file = tmp_path / f"x-test.{write.__name__}"
    write(file, 0)
    with pytest.raises(InputError, match=r"must have train images, got only test.*split_names=join"):
        load(tmp_path)
    for how in ("ignore", "join"):
        assert len(load(tmp_path, split_names=how).train) == 8
    assert "says test, but it is the only one" in load(file).notes[0]


def test_folders_inside_a_tar(tmp_path: Path) -> None:
    for number, folder in enumerate(("data/train/", "data/test/")):
        tar(tmp_path / "x.tar", 50 * number, folder)
    splits = load(tmp_path / "x.tar")
    assert len(splits.test) == 12
    assert splits.notes == ("splits: train: data/train/, test: data/test/ (from the folders in the tar)",)
    assert len(load(tmp_path / "x.tar", split_names="ignore").train) > len(splits.train)


def test_a_zip_is_read_like_a_folder(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path / "set", {"Training/a": 4, "Training/b": 4, "Testing/a": 2, "Testing/b": 2}
    )
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, file.relative_to(tmp_path))
    for source in (folder, tmp_path / "set.zip"):
        splits = load(source)
        assert splits.test.counts.tolist() == [2, 2]
        assert splits.notes == ("splits: train: Training/, test: Testing/ (from the folder names)",)


def test_shards_below_a_link_are_found_once(tmp_path: Path) -> None:
    parquet(tmp_path / "set" / "data" / "train-0.parquet", 0)
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set" / "data")
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    assert (
        sum(map(len, (load(tmp_path / "set").train, load(tmp_path / "set").val, load(tmp_path / "set").test)))
        == 12
    )


# Words that are not read

FOREIGN = [
    ("trn", "tst"),
    ("entrenamiento", "prueba"),
    ("Lernen", "Prüfung"),
    ("apprentissage", "essai"),
    ("fold1", "fold2"),
    ("original", "augmented"),
    ("224", "512"),
    ("训练", "测试"),
]


@given(
    names=st.sampled_from(FOREIGN),
    classes=st.lists(st.sampled_from(["bolt", "Nut", "washer", "10"]), min_size=2, unique=True),
    above=st.sampled_from(["", "archive/", "archive/data/"]),
    between=st.sampled_from(["", "images/"]),
    extra=st.sampled_from(["", "labels.csv", "stray.png"]),
    swapped=st.booleans(),
)
def test_folders_that_hold_the_same_folders_are_refused(
    names: tuple[str, str], classes: list[str], above: str, between: str, extra: str, swapped: bool
) -> None:
    """They may be splits in another language, versions of a set, or classes: the user says which."""
    paths = [
        f"{above}{top}/{between}{name if top == names[0] else name.lower()}/{number}.png"
        for top in names
        for name in classes
        for number in range(2)
    ]
    if swapped:  # the splits stand below the classes
        paths = [
            f"{above}{name}/{top}/{number}.png" for top in names for name in classes for number in range(2)
        ]
    paths += [f"{above}{names[0]}/{extra}"] * (bool(extra) and not swapped)
    with pytest.raises(InputError, match=r"in several ways, because its folders .* hold folders of"):
        places(*paths)
    assert set(places(*paths, split_names="ignore").labels) == set(classes if swapped else names)


def test_most_folders_hold_the_same_folders() -> None:
    with pytest.raises(InputError, match=r"\n  trn, tst are splits of one data set: rename them to train"):
        places(*tree("trn", "tst"), "unlabelled/1.png")


@pytest.mark.parametrize(
    "paths",
    [
        tree("animals")[:4] + [f"vehicles/{name}/1.png" for name in ("car", "bus")],
        [f"{name}/{kind}/1.png" for name in CLASSES for kind in ("images", "masks", "thumbs")],
        [f"{name}/{kind}1.png" for name in CLASSES for kind in ("", "left/", "right/")],
        [f"{name}/left/1.png" for name in CLASSES],
    ],
)
def test_folders_below_classes(paths: list[str]) -> None:
    found = places(*paths)
    assert found.labels == tuple(path.partition("/")[0] for path in paths)


@pytest.mark.parametrize("write", [parquet, tar])
@pytest.mark.parametrize("names", FOREIGN[:4])
def test_file_names_in_other_languages_are_named(tmp_path: Path, write: Any, names: tuple[str, str]) -> None:
    for number, name in enumerate(names):
        write(tmp_path / f"{name}.{write.__name__}", 50 * number)
    assert load(tmp_path).notes[0].startswith("splits: no word for a split is in the names of the files (")
    assert about_names(load(tmp_path, split_names="ignore")) == []


def test_numbers_and_checksums_of_files_are_no_splits() -> None:
    assert names_say_none([f"x-{number:05d}.tar" for number in range(3)], "files") == ()
    assert names_say_none([f"{word}.tar" for word in "abcdefgh"], "files") == ()


@given(
    st.lists(st.sampled_from(["orig", "aug", "v1", "x2", "masked"]), min_size=2, max_size=4, unique=True),
    st.lists(st.sampled_from(CLASSES), min_size=2, max_size=3, unique=True),
    st.sampled_from([("train",), ("train", "test"), ("data/Training", "data/Testing")]),
)
def test_versions_below_splits_are_refused(
    versions: list[str], names: list[str], tops: tuple[str, ...]
) -> None:
    """They would be taken for classes; a version moved up, or flat classes, are read."""
    paths = [
        f"{top}/{version}/{name}/{version}.png" for top in tops for version in versions for name in names
    ]
    with pytest.raises(InputError, match=r"two ways, because the folders .* in its splits hold") as told:
        places(*paths)
    split, outer, inner = tops[0].split("/")[-1], ", ".join(sorted(versions)), ", ".join(sorted(names))
    assert f"{outer} are versions of one data set" in str(told.value)
    assert f"move its folders up, as in {split}/{min(names)}/1.png" in str(told.value)
    assert f"move the images up, as in {split}/{min(versions)}/1.png" in str(told.value)
    assert f"folders of the same names, {inner}. " in str(told.value)
    moved = [path.replace(f"/{versions[0]}/", "/") for path in paths if f"/{versions[0]}/" in path]
    assert set(places(*moved).labels) == set(names)
    flat = [f"{top}/{version}/{name}.png" for top in tops for version in versions for name in names]
    assert set(places(*flat).labels) == set(versions)


def test_folders_below_classes_in_splits_are_no_versions() -> None:
    """Most classes have no folders of the same names, or only one."""
    for inside in (["bolt/left", "bolt/right", "nut", "washer"], [f"{name}/images" for name in CLASSES]):
        paths = [f"{top}/{each}/{n}.png" for top in ("train", "test") for each in inside for n in range(3)]
        assert set(places(*paths).labels) == set(CLASSES)
