"""Every source and every export form keeps the same promises."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_pictures import write_folder
from sklearn.datasets import load_digits

from understudy.data.export import EXPORTS, export
from understudy.data.labelled_set import LabelledSet
from understudy.data.leaks import near_duplicates
from understudy.data.load import find_source, load_splits
from understudy.data.settings import DataSettings
from understudy.data.sources.digits import read_digits
from understudy.data.sources.source import SOURCES


def make_zip(to: Path, data: LabelledSet) -> Path:
    with zipfile.ZipFile(to / "set.zip", "w") as archive:
        for file in sorted(write_folder(to / "folder", dict.fromkeys(data.class_names, 4)).rglob("*.png")):
            archive.write(file, file.relative_to(to / "folder"))
    return to / "set.zip"


def exported(form: str) -> Callable[[Path, LabelledSet], Path]:
    def make(to: Path, data: LabelledSet) -> Path:
        export(data, to / form, form=form)
        return to / form

    return make


def make_saved(to: Path, data: LabelledSet) -> Path:
    """As `save_to_disk` of the datasets package writes a set: an Arrow stream with the columns of Parquet."""
    export(data, to / "parquet", form="huggingface")
    table = pq.read_table(next((to / "parquet").rglob("*.parquet")))
    (to / "saved").mkdir()
    with pa.ipc.new_stream(to / "saved/data-00000-of-00001.arrow", table.schema) as stream:
        stream.write_table(table)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}
    (to / "saved/state.json").write_text(json.dumps(state))
    return to / "saved"


EXAMPLES: dict[str, Callable[[Path, LabelledSet], Path | str]] = {
    "folder": exported("folder"),
    "zip": make_zip,
    "arrow": make_saved,
    "parquet": exported("huggingface"),
    "webdataset": exported("webdataset"),
    "digits": lambda _to, _data: "digits",
}


def test_digits_are_those_of_scikit_learn() -> None:
    levels, labels = read_digits()
    known = load_digits()
    np.testing.assert_array_equal(levels, known.images)
    np.testing.assert_array_equal(labels, known.target)


OFFLINE = [name for name in SOURCES if name != "hub"]  # the hub needs a network


@pytest.mark.parametrize("name", OFFLINE)
def test_source(name: str, tmp_path: Path, small_set: LabelledSet) -> None:
    location = str(EXAMPLES[name](tmp_path, small_set))
    assert [other for other in SOURCES if SOURCES[other].accepts(location)] == [name]
    assert find_source(location) is SOURCES[name]
    splits = load_splits(DataSettings(source=location), seed=0)
    parts = (splits.train, splits.val, splits.test)
    assert [part.split for part in parts] == ["train", "val", "test"]
    assert all((part.counts > 0).all() for part in parts)
    assert len({part.class_names for part in parts}) == 1
    assert len(splits.prompt_names) == splits.train.num_classes
    ids = [each for part in parts for each in part.ids]
    assert len(set(ids)) == len(ids)
    assert near_duplicates(splits.train, splits.test, max_distance=2) == []
    again = load_splits(DataSettings(source=location), seed=0)
    assert all(
        part.columns.equals(other.columns) and list(part.files) == list(other.files)
        for part, other in zip(parts, (again.train, again.val, again.test), strict=True)
    )


@pytest.mark.parametrize("name", [name for name in OFFLINE if name != "digits"])
def test_source_knows_its_number_of_items_for_a_bar(
    name: str, tmp_path: Path, small_set: LabelledSet
) -> None:
    location = str(EXAMPLES[name](tmp_path, small_set))
    contents = SOURCES[name].open(location, DataSettings(source=location))
    assert contents.total == sum(1 for _ in contents.items) > 0


def test_tars_of_class_folders_know_their_number_of_images(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", {"cat": 3, "dog": 4})
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        tar.add(folder, ".")
    location = str(tmp_path / "set.tar")
    contents = SOURCES["webdataset"].open(location, DataSettings(source=location))
    assert contents.total == sum(1 for _ in contents.items) == 7


def test_hub_names_are_no_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert SOURCES["hub"].accepts("org/name")
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert not any(
        SOURCES["hub"].accepts(text) for text in ("org/name", "name", "/org/name", "a/b/c", "./name")
    )


@pytest.mark.parametrize("form", list(EXPORTS))
def test_export(form: str, tmp_path: Path, small_set: LabelledSet) -> None:
    export(small_set, tmp_path / "a", form=form)
    export(small_set, tmp_path / "b", form=form)
    files = [
        sorted(path.relative_to(root) for path in root.rglob("*"))
        for root in (tmp_path / "a", tmp_path / "b")
    ]
    assert files[0] == files[1]
    assert EXPORTS.summary(form)
