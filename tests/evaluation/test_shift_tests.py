"""Further test sets: every format, all or some classes of the run, and no overlap with train images."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_pictures import picture, write_folder
from PIL import Image, ImageOps

from understudy.core.errors import InputError
from understudy.data.copy_groups import shared_sentences
from understudy.data.export import export
from understudy.data.labelled_set import LabelledSet, encode
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings
from understudy.evaluation.shift_tests import load_test_set

NAMES = ("zebra", "ant", "cow")  # not in sorted order


def load(
    path: Path, *, learned_from: tuple[LabelledSet, ...] = (), **settings: Any
) -> tuple[LabelledSet, list[int]]:
    chosen = DataSettings(source="digits", **settings)
    found = load_test_set("ink", path, class_names=NAMES, learned_from=learned_from, settings=chosen)
    return found.images, found.classes


def pictures(start: int, count: int, *, split: str) -> LabelledSet:
    images = [picture(start + index) for index in range(count)]
    paths = {"source_path": [f"own/{index}.png" for index in range(count)]}
    return LabelledSet.from_images(
        images, np.arange(count) % 3, class_names=NAMES, split=split, provenance=paths
    )


def test_folder_with_the_classes_of_the_run(tmp_path: Path) -> None:
    data, classes = load(write_folder(tmp_path / "set", {"ant": 2, "cow": 1, "zebra": 3}))
    assert (data.split, data.class_names, classes) == ("test", NAMES, [0, 1, 2])
    assert data.counts.tolist() == [3, 2, 1]
    assert data.provenance("source_path")[0] == "ink/ant/0.png"
    np.testing.assert_array_equal(np.asarray(data.image(0)), np.asarray(picture(0)))


@pytest.mark.parametrize("form", ["folder", "huggingface", "webdataset"])
def test_all_forms_that_are_exported(form: str, tmp_path: Path) -> None:
    exported = pictures(0, 12, split="train")
    export(exported, tmp_path / "set", form=form)
    data, classes = load(tmp_path / "set")
    assert classes == [0, 1, 2]
    assert sorted(
        zip(data.labels.tolist(), (data.image(index).tobytes() for index in range(12)), strict=True)
    ) == sorted(
        zip(exported.labels.tolist(), (exported.image(index).tobytes() for index in range(12)), strict=True)
    )


def test_zip_with_some_of_the_classes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for number, name in enumerate(("cow/1.png", "zebra/1.png", "cow/2.png")):
            archive.writestr(name, encode(picture(number)))
    data, classes = load(tmp_path / "set.zip")
    assert classes == [0, 2]
    assert data.class_names == NAMES
    assert data.counts.tolist() == [1, 0, 2]


def test_words_for_prompts_do_not_rename_declared_classes(tmp_path: Path) -> None:
    """The set has numbers and declares their names; the file of the run has words."""
    pictures(0, 6, split="test").save(tmp_path / "test.parquet")
    (tmp_path / "names.txt").write_text("ant: a red ant\ncow: a brown cow\nzebra: a striped zebra\n")
    data, classes = load(tmp_path / "test.parquet", class_names=tmp_path / "names.txt")
    assert (data.counts.tolist(), classes) == ([2, 2, 2], [0, 1, 2])


def test_what_a_run_wrote(tmp_path: Path) -> None:
    pictures(0, 6, split="test").save(tmp_path / "test.parquet")
    data, classes = load(tmp_path / "test.parquet")
    assert (len(data), classes) == (6, [0, 1, 2])


def test_declared_classes_without_images_do_not_count(tmp_path: Path) -> None:
    names = {
        "huggingface": json.dumps(
            {"info": {"features": {"label": {"names": ["cow", "dog", "ant"], "_type": "ClassLabel"}}}}
        )
    }
    table = pa.table(
        {
            "image": [{"bytes": encode(picture(number)), "path": None} for number in range(4)],
            "label": [0, 2, 2, 0],
        }
    )
    pq.write_table(table.replace_schema_metadata(names), tmp_path / "set.parquet")
    data, classes = load(tmp_path / "set.parquet")
    assert classes == [1, 2]
    assert data.labels.tolist() == [2, 1, 1, 2]


def test_the_test_split_is_taken_where_there_is_one(tmp_path: Path) -> None:
    classes = dict.fromkeys(NAMES, 2)
    for number, split in enumerate(("train", "test")):
        write_folder(tmp_path / "set" / split, classes, start=6 * number)
    data, _ = load(tmp_path / "set")
    assert len(data) == 6
    assert all("/test/" in path for path in data.provenance("source_path"))
    (tmp_path / "set" / "test").rename(tmp_path / "set" / "val")
    assert len(load(tmp_path / "set")[0]) == 12
    only = write_folder(tmp_path / "only" / "test", classes)
    assert len(load(only.parent)[0]) == 6


def test_numbered_labels_are_named_as_those_of_the_run(tmp_path: Path) -> None:
    table = pa.table(
        {
            "image": [{"bytes": encode(picture(number)), "path": None} for number in range(6)],
            "label": [0, 1, 2] * 2,
        }
    )
    pq.write_table(table, tmp_path / "set.parquet")
    (tmp_path / "names.txt").write_text("zebra\nant\ncow\n")
    data, _ = load(tmp_path / "set.parquet", class_names=tmp_path / "names.txt")
    assert data.labels.tolist() == [0, 1, 2] * 2
    with pytest.raises(InputError, match="every label needs a class name"):
        load(tmp_path / "set.parquet")
    some, classes = load(
        write_folder(tmp_path / "named", {"cow": 2, "ant": 2}), class_names=tmp_path / "names.txt"
    )
    assert (len(some), classes) == (4, [1, 2])  # words for prompts are not for these


def test_unknown_classes(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", {"ant": 2, "dog": 1, "emu": 1})
    with pytest.raises(
        InputError,
        match=r"'ink' .* must have classes of the run \(zebra, ant, cow\), got also dog, emu: rename",
    ):
        load(path)


def test_one_class_is_no_test(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least two classes are needed"):
        load(write_folder(tmp_path / "one", {"ant": 2}))
    names = {
        "huggingface": json.dumps(
            {"info": {"features": {"label": {"names": list(NAMES), "_type": "ClassLabel"}}}}
        )
    }
    table = pa.table(
        {"image": [{"bytes": encode(picture(0)), "path": None}], "label": [1]}
    ).replace_schema_metadata(names)
    pq.write_table(table, tmp_path / "one.parquet")
    with pytest.raises(InputError, match="must have test images of two classes or more, got only ant"):
        load(tmp_path / "one.parquet")


@pytest.mark.parametrize("copy", ["exact", "near"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_images_that_were_learned_from(split: str, copy: str, tmp_path: Path) -> None:
    known = pictures(0, 9, split=split)
    path = write_folder(tmp_path / "set", {"ant": 3, "cow": 3}, start=20)
    if copy == "exact":
        picture(4).save(path / "ant" / "more.png")  # own/4.png
    else:
        picture(4).save(path / "ant" / "more.jpg", quality=90)
    with pytest.raises(InputError) as caught:
        load(path, learned_from=(known,))
    assert "the test set 'ink' must be new to the classifiers" in str(caught.value)
    what = "the same pixels" if copy == "exact" else "near copies"
    assert (
        f"own/4.png ({split}) and ink/ant/more.{'png' if copy == 'exact' else 'jpg'} (test): {what}"
        in str(caught.value)
    )
    assert str(caught.value).endswith(
        "\nremove these images from the test set; if the near copies are in fact different images, start a "
        "new run with --set data.near_duplicate_distance=-1"
    )
    if copy == "near":
        assert len(load(path, learned_from=(known,), near_duplicate_distance=-1)[0]) == 7


def test_changed_copies_of_images_that_were_learned_from(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "set", {"ant": 3, "cow": 3}, start=20)
    # The run may have other images with the same paths, and so with the same ids.
    known = load(write_folder(tmp_path / "known", {"ant": 3, "cow": 3}))[0].with_split("val")
    ImageOps.mirror(known.image(4)).save(path / "ant" / "more.png")

    def found(**settings: Any) -> Mapping[str, Any]:
        chosen = DataSettings(source="digits", **settings)
        learned_from = [pictures(40, 9, split="train"), known]
        return load_test_set(
            "ink", path, class_names=NAMES, learned_from=learned_from, settings=chosen
        ).copies

    copies = found()
    assert copies["all_kinds"] and "changed copies (flips, " in copies["looked_for"]
    assert copies["shared"] == [
        {
            "split": "test",
            "in": "val",
            "images": 1,
            "of": 7,
            "examples": [["ink/ant/more.png", "ink/cow/1.png"]],
        }
    ]
    (sentence,) = shared_sentences(copies["shared"], test="images of the test set 'ink'")
    assert sentence == (
        "1 of 7 images of the test set 'ink' have a changed copy among the validation images, such as "
        "ink/ant/more.png of ink/cow/1.png"
    )
    assert found(changed_copies=False)["shared"] == []


def test_bad_files_and_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'ink' must be a folder.*nothing is at digits"):
        load(Path("digits"))  # which would be the images of the run
    path = write_folder(tmp_path / "set", {"ant": 2, "cow": 2})
    (path / "ant" / "bad.png").write_bytes(b"no image")
    with pytest.raises(InputError) as caught:
        load(path)
    assert str(caught.value) == (
        f"the test set 'ink' ({path}): every file must be a readable image, but 1 of 5 is not:\n"
        "  ant/bad.png: not an image\n"
        "change the files of the test set, because a run keeps its settings; for a new run instead: repair "
        "or remove these files, or leave them out with --skip-bad"
    )
    assert len(load(path, skip_bad=True)[0]) == 4
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="must hold class folders with images"):
        load(tmp_path / "empty")


def twelve_bits(folder: Path) -> None:
    for name in ("ant", "cow"):
        (folder / name).mkdir(parents=True)
        for index in range(3):
            levels = np.arange(64, dtype=np.uint16).reshape(8, 8) * (60 + index)
            Image.fromarray(levels).save(folder / name / f"{index}.png")


def splits_beside_classes(folder: Path) -> None:
    for name in ("train", "test", "ant"):
        write_folder(folder, {name: 1})


def two_readings(folder: Path) -> None:
    for name in ("mytrain", "mytest"):
        write_folder(folder, {name: 1})


def numbers_without_names(folder: Path) -> None:
    folder.mkdir()
    rows = [{"image": {"bytes": encode(picture(index))}, "label": index} for index in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "test.parquet")


def no_labels(folder: Path) -> None:
    folder.mkdir()
    rows = [
        {"image": {"bytes": encode(picture(index))}, "label": "ant" if index else ""} for index in range(3)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "test.parquet")


def similar_labels(folder: Path) -> None:
    folder.mkdir()
    rows = [
        {"image": {"bytes": encode(picture(index))}, "label": ("ant", "Ant ", "cow")[index]}
        for index in range(3)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "test.parquet")


def other_columns(folder: Path) -> None:
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist([{"scan": b"", "answer": "ant"}]), folder / "test.parquet")


@pytest.mark.parametrize(
    "write",
    [
        twelve_bits,
        splits_beside_classes,
        two_readings,
        numbers_without_names,
        no_labels,
        similar_labels,
        other_columns,
    ],
)
def test_no_option_is_advised_that_a_finished_run_refuses(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    """It keeps its settings, so only the files of the test set can change."""
    write(tmp_path / "set")
    with pytest.raises(InputError, match=r"^the test set 'ink' \(.*\): ") as caught:
        load(tmp_path / "set")
    problem, advice, for_a_new_run = str(caught.value).partition(
        "change the files of the test set, because a run keeps its settings; for a new run instead: "
    )
    assert advice
    assert "--" not in problem
    assert "--" in for_a_new_run


def test_the_images_of_the_run_are_refused_as_a_test_of_it(tmp_path: Path) -> None:
    splits = load_splits(DataSettings(source="digits"), seed=0)
    splits.train.save(tmp_path / "set.parquet")
    with pytest.raises(InputError, match="must be new to the classifiers.*got 600 pairs"):
        load_test_set(
            "again",
            tmp_path / "set.parquet",
            class_names=splits.train.class_names,
            learned_from=[splits.train, splits.val],
            settings=DataSettings(source="digits"),
        )
