from __future__ import annotations

import importlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from data_pictures import picture
from tiny_job import tree

from understudy.core.errors import InputError
from understudy.data.export import EXPORTS, export
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings

READ = [form for form in EXPORTS if form != "fiftyone"]
"""Forms that are also sources."""


@pytest.mark.parametrize("split", ["train", "synthetic", "test"])
@pytest.mark.parametrize("form", READ)
def test_sources_read_what_exports_write(
    tmp_path: Path, small_set: LabelledSet, form: str, split: str
) -> None:
    export(small_set.with_split(split), tmp_path / "out", form=form)  # type: ignore[arg-type]
    # The names of a test set's shards say that nothing may be trained on it.
    names = {"split_names": "ignore"} if split == "test" else {}
    splits = load_splits(DataSettings(source=str(tmp_path / "out"), **names), seed=0)
    found = {}
    for part in (splits.train, splits.val, splits.test):
        found |= {part.encoded(index): part.class_names[part.labels[index]] for index in range(len(part))}
    assert found == {
        small_set.encoded(index): small_set.class_names[small_set.labels[index]]
        for index in range(len(small_set))
    }
    expected = tuple(sorted(small_set.class_names)) if form == "folder" else small_set.class_names
    assert splits.train.class_names == expected


@pytest.mark.parametrize("form", READ)
def test_jpeg_stays_jpeg(tmp_path: Path, form: str) -> None:
    images = []
    for index in range(6):
        buffer = io.BytesIO()
        picture(index).save(buffer, format="JPEG")
        images.append(buffer.getvalue())
    export(
        LabelledSet.from_images(images, [0, 1] * 3, class_names=("a", "b"), split="train"),
        tmp_path / "out",
        form=form,
    )
    splits = load_splits(DataSettings(source=str(tmp_path / "out")), seed=0)
    assert splits.train.encoded(0) in images


@pytest.mark.parametrize("form", list(EXPORTS))
def test_refuses_a_folder_in_use(tmp_path: Path, small_set: LabelledSet, form: str) -> None:
    (tmp_path / "mine.txt").write_text("x")
    for target in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(InputError, match=r"must be a new or empty folder"):
            export(small_set, target, form=form)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError, SystemExit])
@pytest.mark.parametrize("exists", [False, True])
def test_an_interrupted_export_leaves_nothing(exists, stop, tmp_path, small_set, monkeypatch) -> None:
    to = tmp_path / "to"
    if exists:
        to.mkdir()

    def half(data: LabelledSet, folder: Path) -> None:
        (folder / "cat").mkdir(parents=True)
        (folder / "cat" / "0.png").write_bytes(data.encoded(0))
        raise stop

    monkeypatch.setitem(EXPORTS._things, "folder", half)
    with pytest.raises(stop):
        export(small_set, to, form="folder")
    assert [path.name for path in tmp_path.rglob("*")] == ["to"] * exists


@pytest.mark.parametrize("form", list(EXPORTS))
def test_what_a_killed_export_left_is_replaced(form: str, tmp_path: Path, small_set: LabelledSet) -> None:
    export(small_set, tmp_path / "whole", form=form)
    (tmp_path / "empty").mkdir()
    for left in (".new.tmp", "empty/.empty.tmp"):
        (tmp_path / left / "cat").mkdir(parents=True)
        (tmp_path / left / "cat" / "half.png").write_bytes(b"half")
    expected = tree(tmp_path / "whole")
    for name in ("new", "empty"):
        export(small_set, tmp_path / name, form=form)
        assert tree(tmp_path / name) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new", "whole"]


def test_an_empty_working_directory_stays_the_same_folder(tmp_path, small_set, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    export(small_set, Path(), form="huggingface")
    assert [path.as_posix() for path in sorted(Path().rglob("*.parquet"))] == [
        "data/train-00000-of-00001.parquet"
    ]
    assert tmp_path.stat().st_ino == before


def test_unknown_form(tmp_path: Path, small_set: LabelledSet) -> None:
    with pytest.raises(InputError, match=r"unknown export form 'folders'; known: fiftyone, folder"):
        export(small_set, tmp_path / "x", form="folders")


@pytest.mark.parametrize("name", ["a/b", "..", "", ".a", "a ", "a.", "a\nb", "a:b", "a\x00"])
def test_class_names_that_are_no_folder_names(tmp_path: Path, name: str) -> None:
    data = LabelledSet.from_images([picture(0)], [0], class_names=(name,), split="train")
    with pytest.raises(InputError, match=r"usable as folder names"):
        export(data, tmp_path / "x", form="folder")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["test", "Train", "test strip", "eval-board", "dev", "valid_2"])
def test_class_names_that_readers_of_folders_take_for_splits(name: str, tmp_path: Path) -> None:
    """datasets' imagefolder would read the images of this class alone, and without labels."""
    data = LabelledSet.from_images([picture(0), picture(1)], [0, 1], class_names=("cat", name), split="train")
    with pytest.raises(InputError, match=rf"a class folder for a split .* got '{name}': export as"):
        export(data, tmp_path / "x", form="folder")
    for form in ("webdataset", "huggingface", "fiftyone"):
        export(data, tmp_path / form, form=form)


@pytest.mark.parametrize("name", ["contest", "strainer", "device", "pre-trained?", "evaluator"])
def test_other_names_with_these_letters(name: str, tmp_path: Path) -> None:
    data = LabelledSet.from_images([picture(0)], [0], class_names=(name.strip("?"),), split="train")
    export(data, tmp_path / "x", form="folder")


def with_provenance() -> LabelledSet:
    """Four images with what a table must tell apart: numbers, texts of digits, empty texts and nothing."""
    return LabelledSet.from_images(
        [picture(index) for index in range(4)],
        [0, 1, 0, 1],
        class_names=("cat, big", "hundé"),
        split="synthetic",
        ids=["001", "002", "003", "004"],
        provenance={"score": [0.5, None, 1.0, 0.25], "flag": ["", "copy", "", ""], "number": [7, 8, 9, 10]},
    )


def test_folder_metadata(tmp_path: Path, small_set: LabelledSet) -> None:
    export(small_set, tmp_path, form="folder")
    rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert list(rows[0]) == ["file_name", "id", "label", "class_name", "source_path"]
    assert [row["id"] for row in rows] == small_set.ids
    assert (tmp_path / rows[3]["file_name"]).read_bytes() == small_set.encoded(3)


def test_rows_keep_their_types(tmp_path: Path) -> None:
    export(with_provenance(), tmp_path, form="folder")
    lines = (tmp_path / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    first, second = (json.loads(line) for line in lines[:2])
    assert (first["id"], first["label"], first["score"], first["flag"]) == ("001", 0, 0.5, "")
    assert (second["score"], second["flag"], second["class_name"]) == (None, "copy", "hundé")


def test_folders_load_with_datasets(tmp_path: Path, small_set: LabelledSet) -> None:
    datasets = pytest.importorskip("datasets")
    export(small_set, tmp_path / "to", form="folder")
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "to"), cache_dir=str(tmp_path / "cache")
    )["train"]
    assert sorted(loaded["id"]) == sorted(small_set.ids)
    assert {row["id"]: row["label"] for row in loaded} == dict(
        zip(small_set.ids, small_set.labels.tolist(), strict=True)
    )


def test_fiftyone(tmp_path: Path) -> None:
    """As FiftyOne documents its form: a sample is a file, tags, labels and fields; the form has no version,
    so that the reader infers the fields.
    """
    data = with_provenance()
    export(data, tmp_path, form="fiftyone")
    about = json.loads((tmp_path / "metadata.json").read_text(encoding="utf-8"))
    assert about == {"media_type": "image", "info": {"classes": list(data.class_names)}}
    samples = json.loads((tmp_path / "samples.json").read_text(encoding="utf-8"))["samples"]
    assert len(samples) == len(data)
    for index, sample in enumerate(samples):
        assert (tmp_path / sample["filepath"]).read_bytes() == data.encoded(index)
        label = {"_cls": "Classification", "label": data.class_names[data.labels[index]]}
        assert sample["ground_truth"] == label
        assert sample["tags"] == ["synthetic"]
        assert "id" not in sample, "which is FiftyOne's own"
        assert sample["image_id"] == data.ids[index]
        assert sample["score"] == data.provenance("score")[index]
        assert sample["number"] == data.provenance("number")[index]


def test_fields_that_fiftyone_has_itself_get_another_name(tmp_path: Path) -> None:
    own = {"filepath": ["x"], "tags": ["y"], "metadata": ["z"], "created_at": ["now"]}
    data = LabelledSet.from_images([picture(0)], [0], class_names=("a",), split="test", provenance=own)
    export(data, tmp_path, form="fiftyone")
    (sample,) = json.loads((tmp_path / "samples.json").read_text())["samples"]
    assert sample["filepath"] == "data/00000000.png"
    assert {name: [sample[f"image_{name}"]] for name in own} == own


def test_shards(tmp_path: Path, small_set: LabelledSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("understudy.data.export"), "_SHARD_IMAGES", 5)
    export(small_set, tmp_path / "web", form="webdataset")
    export(small_set.with_split("val"), tmp_path / "hub", form="huggingface")
    tars = sorted((tmp_path / "web").glob("*.tar"))
    assert [tar.name for tar in tars] == ["train-000000.tar", "train-000001.tar", "train-000002.tar"]
    with tarfile.open(tars[2]) as tar:
        assert tar.getnames() == [
            f"{key:08d}.{ending}" for key in (10, 11) for ending in ("png", "cls", "json")
        ]
    files = sorted((tmp_path / "hub" / "data").glob("*"))
    assert [file.name for file in files] == [
        f"validation-{number:05d}-of-00003.parquet" for number in range(3)
    ]
    ids = [name for file in files for name in pq.read_table(file)["id"].to_pylist()]
    assert ids == small_set.ids
    assert (
        np.concatenate([LabelledSet.load(file).labels for file in files]).tolist()
        == small_set.labels.tolist()
    )
