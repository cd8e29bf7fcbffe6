from __future__ import annotations

import csv
import importlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from data_pictures import picture

from understudy.core.errors import InputError
from understudy.data.export import EXPORTS, export
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings


@pytest.mark.parametrize("split", ["train", "synthetic", "test"])
@pytest.mark.parametrize("form", list(EXPORTS))
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


@pytest.mark.parametrize("form", list(EXPORTS))
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


def test_unknown_form(tmp_path: Path, small_set: LabelledSet) -> None:
    with pytest.raises(InputError, match=r"unknown export form 'folders'; known: folder"):
        export(small_set, tmp_path / "x", form="folders")


@pytest.mark.parametrize("name", ["a/b", "..", "", ".a", "a "])
def test_class_names_that_are_no_folder_names(tmp_path: Path, name: str) -> None:
    data = LabelledSet.from_images([picture(0)], [0], class_names=(name,), split="train")
    with pytest.raises(InputError, match=r"usable as folder names"):
        export(data, tmp_path / "x", form="folder")


def test_folder_metadata(tmp_path: Path, small_set: LabelledSet) -> None:
    export(small_set, tmp_path, form="folder")
    rows = list(csv.DictReader((tmp_path / "metadata.csv").read_text().splitlines()))
    assert list(rows[0]) == ["file_name", "id", "label", "class_name", "source_path"]
    assert [row["id"] for row in rows] == small_set.ids
    assert (tmp_path / rows[3]["file_name"]).read_bytes() == small_set.encoded(3)


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
