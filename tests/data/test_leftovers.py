"""What is not used is counted by reason, and a folder with two readings is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from data_pictures import picture, write_folder
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.errors import InputError
from understudy.data.export import export
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import Splits, load_splits
from understudy.data.settings import DataSettings
from understudy.data.sources import leftovers
from understudy.data.sources.tree import read_tree


def load(source: Path | str, **settings: Any) -> Splits:
    return load_splits(DataSettings(source=str(source), **settings), seed=0)


def counted(splits: Splits) -> dict[str, int]:
    return {each.reason: each.number for each in splits.left_out}


def tree(*names: str) -> tuple[set[str], dict[str, str]]:
    found = read_tree(names, "SET", DataSettings(source="SET"))
    return {item.path for item in found.items if not item.problem}, dict(found.left_out)


LEFT_BEHIND = [
    *("cat/@eaDir/1.png/SYNOPHOTO_THUMB_XL.jpg", "@eaDir/cat/1.jpg", "#recycle/1.png", "cat/Thumbs.db"),
    *("cat/Thumbs.db:encryptable", "cat/ehthumbs.db", "cat/desktop.ini", "cat/Icon\r", "cat/.DS_Store"),
    *("cat/._1.png", "__MACOSX/cat/._1.png", "lost+found/", "__pycache__/x.pyc", "cat/1.png:Zone.Identifier"),
    *("cat/.ipynb_checkpoints/1.png", ".git/1.png", "cat/.2.png", "cat/thumbs/1.png", "cat/Thumbnails/1.png"),
    *("data.yaml", "dataset_infos.json", "classes.txt", "labels.csv", "_annotations.coco.json", "LICENSE"),
    *("train.csv", "test_labels.tsv", "class_to_idx.json", "README", "README.dataset.txt", "CITATION.cff"),
    *("metadata.csv", "README.md", "cat/1.json", "cat/1.png.json", "cat/1.xmp", "cat/1.txt"),
    *("cat/masks/1.png", "cat/mask/1_mask.png", "cat/1_mask.png", "cat/ground_truth/1_gt.png"),
]
IMAGES = {f"{name}/{number}.png" for name in ("cat", "dog") for number in "1234"}


@given(st.sets(st.sampled_from(LEFT_BEHIND)), st.sampled_from(["", "train/", "set/", "seg_train/seg_train/"]))
def test_what_programs_leave_is_never_an_image(left: set[str], above: str) -> None:
    used, reasons = tree(*(above + name for name in (*IMAGES, *left)))
    assert used == {above + name for name in IMAGES}
    assert set(reasons) == {above + name for name in left}


@given(st.sets(st.sampled_from(["mask", "masks", "thumbs", "icon", "labels", "cat"]), min_size=2))
def test_classes_may_have_such_names(names: set[str]) -> None:
    paths = {f"{name}/{number}.png" for name in names for number in "123"}
    assert tree(*paths) == (paths, {})


def test_other_files_stay_bad_files(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"a/notes.txt: not an image"):
        load(tmp_path)


def test_images_of_the_cloud_are_missing(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3})
    for number in range(14):
        (tmp_path / "a" / f".{number}.png.icloud").write_bytes(b"bplist00")
    with pytest.raises(InputError, match=r"(?s)14 of 20 are not:.*only in iCloud, .*\n  and 4 more\n"):
        load(tmp_path)
    assert len(load(tmp_path, skip_bad=True).skipped) == 14


def test_counted_by_reason(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3, ".c": 2, "a/masks": 3, "b/more": 2, "a/@eaDir": 2})
    (tmp_path / "a" / ".x.png").write_text("")
    picture(70).save(tmp_path / "b" / "pages.gif", save_all=True, append_images=[picture(71)])
    picture(72).save(tmp_path / "b" / "pages.tif", save_all=True, append_images=[picture(73)])
    picture(74).save(tmp_path / "b" / "one.gif")
    os.symlink(tmp_path / "a", tmp_path / "c")
    splits = load(tmp_path)
    assert counted(splits) == {
        "further pages or frames of images, of which only the first is read": 2,
        "hidden, because the name begins with a dot": 1,
        "in folders @eaDir, which programs make": 2,
        "in the hidden folder .c": 2,
        "links to folders that are read anyway": 1,
        "masks of other images, in folders masks below a class": 3,
    }
    assert splits.notes[0] == (
        "folders: 2 of 11 files lie in folders below their class and belong to it: more (2)"
    )
    assert splits.left_out[1].sentence == "hidden, because the name begins with a dot: 1 (a/.x.png)"
    assert leftovers.LeftOut("x", 5, ("a", "b", "c")).sentence == "x: 5 (a, b, c and 2 more)"


def test_a_link_never_wins_over_a_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "z", {"b": 3})
    write_folder(tmp_path, {"y": 3}, start=10)
    os.symlink(tmp_path / "z", tmp_path / "a")
    splits = load(tmp_path)
    assert splits.train.class_names == ("y", "z")
    assert counted(splits) == {"links to folders that are read anyway": 1}


def test_a_split_that_links_to_another_is_no_split(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", {"a": 3, "b": 3})
    write_folder(tmp_path / "test", {"a": 3}, start=10)
    os.symlink(tmp_path / "train" / "b", tmp_path / "test" / "b")
    with pytest.raises(InputError, match=r"same classes, but test lacks b \(as in train/b/0.png\): add"):
        load(tmp_path)


def test_two_data_sets_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "digits", {"a": 4, "b": 4})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"'digits' is a built-in data set and also a path here: write ./digits"
    ):
        load("digits")
    assert load("./digits").train.class_names == ("a", "b")
    (tmp_path / "digits" / "x.tar").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"one data set, got 1 .tar files \(.*x.tar\) and folders of images \(a, b\)"
    ):
        load("./digits")
    shutil.copy(tmp_path / "digits" / "x.tar", tmp_path / "x.parquet")
    shutil.rmtree(tmp_path / "digits" / "a")
    with pytest.raises(InputError, match=r"got 1 .parquet files .* and 1 .tar files"):
        load(tmp_path)


MASK_FOLDERS = ["masks", "Mask", "SegmentationClass", "ground_truth", "annotations", "GT"]


@given(
    st.sampled_from(["images", "Imgs", "JPEGImages", "pictures"]),
    st.sets(st.sampled_from(MASK_FOLDERS), min_size=1, max_size=2),
    st.sampled_from(["", "train/", "set/"]),
)
def test_masks_beside_images_are_no_class(images: str, masks: set[str], above: str) -> None:
    inside = {f"{above}{images}/{name}" for name in IMAGES}
    used, reasons = tree(*inside, *(f"{above}{mask}/{name}" for mask in masks for name in IMAGES))
    assert used == inside
    assert set(reasons.values()) == {
        f"masks of other images, in folders {mask} beside folders of images" for mask in masks
    }
    with pytest.raises(InputError, match="holds images and their masks, as .* but no classes: put"):
        tree(*(f"{above}{name}/{number}.png" for name in (images, *masks) for number in "123"))


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize("pages", [1, 3])
def test_further_pages_are_counted_in_every_format(form: str, pages: int, tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3})
    others = [picture(90 + page) for page in range(1, pages)]
    picture(90).save(tmp_path / "a" / f"pages.{form.lower()}", form, save_all=pages > 1, append_images=others)
    if form == "TIFF":
        picture(80).save(
            tmp_path / "b" / "big.tif", "TIFF", save_all=True, append_images=others, big_tiff=True
        )
    found = counted(load(tmp_path))
    expected = 0 if pages == 1 else 2 if form == "TIFF" else 1
    assert found.get("further pages or frames of images, of which only the first is read", 0) == expected


@pytest.mark.parametrize("suffix", [".parquet", ".tar"])
def test_archives_and_unfinished_downloads_beside_shards_are_counted(
    suffix: str, small_set: LabelledSet, tmp_path: Path
) -> None:
    export(small_set, tmp_path, form="huggingface" if suffix == ".parquet" else "webdataset")
    folder = next(tmp_path.rglob(f"*{suffix}")).parent
    for name in ("train-1.tar.gz", f"train-2{suffix}.part", "more.zip", "README.txt"):
        (folder / name).write_bytes(b"x")
    assert counted(load(tmp_path)) == {"archives and unfinished downloads beside the files that are read": 3}


def test_runs_and_studies_below_the_images_are_no_classes(small_set: LabelledSet, tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "runs" / "one" / "stages").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "settings.yaml").touch()
    export(small_set, tmp_path / "runs" / "one" / "data", form="huggingface")
    (tmp_path / "runs" / "many").mkdir()
    (tmp_path / "runs" / "many" / "study.yaml").touch()
    splits = load(tmp_path)
    assert splits.train.class_names == ("a", "b")
    assert counted(splits) == {"folders of runs and studies": 2}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 4, "b": 4})
    os.mkfifo(tmp_path / "a" / "pipe.png")
    with pytest.raises(InputError, match=r"a/pipe.png: a pipe, socket or device, not a file"):
        load(tmp_path)


EMPTIED = [
    ("bird/.DS_Store",),
    ("bird/@eaDir/1.png", "bird/Thumbs.db"),
    ("bird/.1.png",),
    ("bird/thumbs/1.png",),
    ("bird/",),
]


@pytest.mark.parametrize("left", EMPTIED)
@pytest.mark.parametrize("above", ["", "set/", "train/"])
def test_a_class_without_images_is_named(left: tuple[str, ...], above: str) -> None:
    """A folder of which no file is used looks empty to the user, or does not: the class must not vanish."""
    others = {"test/" + name for name in IMAGES} if above == "train/" else set()
    names = [*(above + name for name in (*IMAGES, *left)), *others]
    items = read_tree(names, "SET", DataSettings(source="SET")).items
    assert [item.path for item in items if item.problem] == [f"{above}bird/"]


def test_folders_below_a_class_may_be_empty_of_images() -> None:
    names = [*IMAGES, "cat/more/.DS_Store", "cat/@eaDir/1.png", ".git/config", "@eaDir/cat/1.png"]
    items = read_tree(names, "SET", DataSettings(source="SET")).items
    assert {item.path for item in items if not item.problem} == IMAGES
    assert len(items) == len(IMAGES)


def test_empty_folders_of_archives_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "set", {"cat": 4, "dog": 4})
    (tmp_path / "set" / "bird").mkdir()
    for kind in ("zip", "tar"):
        place = shutil.make_archive(str(tmp_path / "set"), kind, tmp_path / "set")
        for source in (tmp_path / "set", place):
            with pytest.raises(
                InputError, match=r"every folder must hold images, but these hold none: bird/\n"
            ):
                load(source)
            assert load(source, skip_bad=True).skipped == (("bird/", "no image in this folder"),)


@pytest.mark.parametrize("name", ["train.txt", "test_list.csv", "splits.json", "validation.tsv"])
def test_lists_that_may_say_splits_are_named(name: str) -> None:
    def notes(*names: str, **options: Any) -> tuple[str, ...]:
        return read_tree(names, "SET", DataSettings(source="SET", **options)).notes

    assert notes(*IMAGES, name)[0].startswith(
        f"warning: {name} may say which images are for training and testing"
    )
    assert notes(*IMAGES, "classes.txt") == notes(*IMAGES, name, split_names="ignore") == ()
    given = [f"{split}/{image}" for split in ("train", "test") for image in IMAGES]
    assert not any("warning" in note for note in notes(*given, name))
