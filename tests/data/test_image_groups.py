"""Images of one patient, writer or part: they stay in one split, whatever else links images."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_pictures import picture
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from understudy.core.errors import InputError
from understudy.data.image_groups import groups_of, joined, provenance_of_groups
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import Splits, load_splits
from understudy.data.settings import DataSettings
from understudy.settings import build

PATIENTS = 12
"""Of each class; each has three images."""
BY_PATIENT = r"patient_\d+"


def names(*, prefix: str = "") -> list[tuple[str, str]]:
    """Class and name of each image: patients of one class only."""
    return [
        (label, f"{prefix}patient_{number:02d}-{image}.png")
        for label, first in (("benign", 0), ("malignant", PATIENTS))
        for number in range(first, first + PATIENTS)
        for image in range(3)
    ]


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    picture(seed).save(buffer, format="PNG")
    return buffer.getvalue()


def write_folder(root: Path, *, files: Sequence[tuple[str, str]] | None = None) -> Path:
    for seed, (label, name) in enumerate(names() if files is None else files):
        path = root / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(seed))
    return root


def write_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for seed, (label, name) in enumerate(names()):
            archive.writestr(f"{label}/{name}", png(seed))
    return path


def table(patients: Sequence[object] | None = None) -> pa.Table:
    found = names()
    own = [name.partition("-")[0] for _, name in found] if patients is None else patients
    columns = {"image": [png(seed) for seed in range(len(found))], "label": [label for label, _ in found]}
    return pa.table(columns | {"patient": own})


def load(source: Path, **options: object) -> Splits:
    return load_splits(DataSettings(source=str(source), changed_copies=False, **options), seed=0)


def patients_of(images: LabelledSet) -> set[str]:
    return {str(name) for name in images.provenance("group")}


def check_apart(splits: Splits) -> None:
    found = [patients_of(part) for part in (splits.train, splits.val, splits.test)]
    assert sum(map(len, found)) == len(set.union(*found)) == 2 * PATIENTS
    assert all(part.counts.min() > 0 for part in (splits.train, splits.val, splits.test))


def test_a_pattern_finds_the_patient_in_the_path_of_folders_and_archives(tmp_path: Path) -> None:
    for source in (write_folder(tmp_path / "folder"), write_zip(tmp_path / "all.zip")):
        without = load(source)
        train, test = (
            {path.split("-")[0] for path in part.provenance("source_path")}
            for part in (without.train, without.test)
        )
        assert train & test, "images of a patient are divided if nothing says who is who"
        assert not without.train.has("group") and groups_of(without.test) is None
        splits = load(source, group_pattern=BY_PATIENT)
        check_apart(splits)
        (note,) = [note for note in splits.notes if note.startswith("groups: ")]
        assert note.endswith("of test; images of a group stay in one split, and intervals count groups")
        assert splits.train.provenance("group")[0].startswith("patient_")


@pytest.mark.parametrize(
    ("pattern", "group"),
    [(r"patient_\d+", "patient_07"), (r"patient_(\d+)", "07"), (r"(\w+)/patient_(\d+)(x?)", "benign/07/")],
)
def test_parts_in_brackets_are_the_group(pattern: str, group: str) -> None:
    settings = DataSettings(source="photos", group_pattern=pattern)
    assert provenance_of_groups(["benign/patient_07-1.png"], [None], settings) == {"group": [group]}


def write_parquet(path: Path) -> Path:
    pq.write_table(table(), path)
    return path


def write_arrow(path: Path) -> Path:
    Dataset(table()).save_to_disk(str(path))
    return path


@pytest.mark.parametrize("write", [write_parquet, write_arrow])
def test_a_column_names_the_patient(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    splits = load(write(tmp_path / "set.parquet"), group_column="patient")
    check_apart(splits)


def test_classes_that_share_patients_are_in_every_split(tmp_path: Path) -> None:
    """Every patient has healthy images, most of them; half also have a lesion, a quarter a rare one."""
    files = [
        (label, f"patient_{number:02d}-{label}{image}.png")
        for number in range(24)
        for label, count in (("healthy", 4), ("lesion", 2 * (number % 2)), ("rare", number % 4 == 3))
        for image in range(count)
    ]
    source = write_folder(tmp_path / "folder", files=files)
    for seed in range(5):
        settings = DataSettings(source=str(source), changed_copies=False, group_pattern=BY_PATIENT)
        splits = load_splits(settings, seed=seed)
        found = [patients_of(part) for part in (splits.train, splits.val, splits.test)]
        assert sum(map(len, found)) == len(set.union(*found)) == 24
        assert all(part.counts.min() > 0 for part in (splits.train, splits.val, splits.test))
        assert [len(names) for names in found] == [14, 5, 5]


def test_groups_that_leave_a_split_without_a_class_are_refused(tmp_path: Path) -> None:
    """All classes but one are rare in each patient, so that the other one is in few of them."""
    files = [(label, f"patient_{number}-{label}.png") for number in range(9) for label in ("a", "b")]
    source = write_folder(tmp_path / "folder", files=files)
    splits = load(source, group_pattern=BY_PATIENT)
    assert all(
        part.counts.tolist() == [len(part) // 2] * 2 for part in (splits.train, splits.val, splits.test)
    )
    lonely = [("c", f"patient_{number}-c.png") for number in range(2)]
    with pytest.raises(InputError, match="every class needs at least 3 .*'c' has 2"):
        load(write_folder(tmp_path / "more", files=[*files, *lonely]), group_pattern=BY_PATIENT)


def test_numbers_are_names_of_groups(tmp_path: Path) -> None:
    numbers = [float(index // 3) for index in range(6 * PATIENTS)]
    pq.write_table(table(numbers), tmp_path / "set.parquet")
    splits = load(tmp_path / "set.parquet", group_column="patient")
    check_apart(splits)
    assert patients_of(splits.train) <= {str(number) for number in range(2 * PATIENTS)}


def test_few_shots_keep_the_split(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "folder")
    few = load(source, group_pattern=BY_PATIENT, shots=2)
    assert patients_of(few.test) == patients_of(load(source, group_pattern=BY_PATIENT).test)
    assert not patients_of(few.train) & patients_of(few.test)


def test_a_copy_links_two_patients(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "folder")
    for one, other in ((0, 1), (2, 3), (4, 5), (6, 7)):
        copied = (source / "benign" / f"patient_{one:02d}-0.png").read_bytes()
        (source / "benign" / f"patient_{other:02d}-1.png").write_bytes(copied)
    splits = load(source, group_pattern=BY_PATIENT)
    check_apart(splits)
    for one, other in ((0, 1), (2, 3), (4, 5), (6, 7)):
        pair = {f"patient_{one:02d}", f"patient_{other:02d}"}
        assert sum(bool(pair & patients_of(part)) for part in (splits.train, splits.val, splits.test)) == 1


def test_splits_of_the_source_that_divide_a_patient_are_refused(tmp_path: Path) -> None:
    files = [(f"{split}/{label}", name) for split in ("train", "test") for label, name in names()]
    own = [
        (folder, name.replace("patient_", "patient_9") if folder.startswith("test") else name)
        for folder, name in files
    ]
    apart = write_folder(tmp_path / "apart", files=own)
    assert not patients_of(load(apart, group_pattern=BY_PATIENT).train) & patients_of(
        load(apart, group_pattern=BY_PATIENT).test
    )
    shared = write_folder(tmp_path / "shared", files=[*own, ("test/benign", "patient_00-7.png")])
    with pytest.raises(InputError, match=r"train and test both have images of patient_00: put the images"):
        load(shared, group_pattern=BY_PATIENT)
    joined_again = load(shared, group_pattern=BY_PATIENT, split_names="join")
    assert not patients_of(joined_again.train) & patients_of(joined_again.test)


def test_test_images_of_a_single_patient_are_refused(tmp_path: Path) -> None:
    test = [("test/benign", "patient_90-0.png"), ("test/malignant", "patient_90-1.png")]
    train = [(f"train/{label}", name) for label, name in names()]
    source = write_folder(tmp_path / "set", files=[*train, *test])
    with pytest.raises(InputError, match="test images must be of at least 2 groups, got only patient_90"):
        load(source, group_pattern=BY_PATIENT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"group_pattern": r"person_\d+"},
            r"\(data.group_pattern\), but 72 of 72 have none, such as benign",
        ),
        ({"group_pattern": r"patient_0\d"}, r"data.group_pattern\), but 42 of 72 have none"),
        ({"group_pattern": r"(x)?(y)?"}, r"\(data.group_pattern\), but 72 of 72 have none"),
        ({"group_pattern": r"(?:x)?"}, r"\(data.group_pattern\), but 72 of 72 have none"),
        ({"group_pattern": r"\w/(patient_0\d)?"}, r"\(data.group_pattern\), but 42 of 72 have none"),
        ({"group_pattern": "patient"}, "every class needs at least 3 different images .* images of a group"),
        (
            {"group_column": "patient"},
            r"\(data.group_column\), but 72 of 72 have none.*group_pattern finds",
        ),
    ],
)
def test_groups_that_are_not_found(options: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load(write_folder(tmp_path / "folder"), **options)


def test_a_column_that_is_missing_or_has_gaps(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    pq.write_table(table(), path)
    with pytest.raises(
        InputError, match=r"one column 'person' \(data.group_column\) besides the images, got image"
    ):
        load(path, group_column="person")
    own = [None if index < 3 else f"p{index // 3}" for index in range(6 * PATIENTS)]
    pq.write_table(table(own), path)
    with pytest.raises(InputError, match=r"but 3 of 72 have none, such as set.parquet#00000000"):
        load(path, group_column="patient")


@pytest.mark.parametrize(
    ("patients", "message"),
    [
        ([f"p{index // 3}" + " " * (index % 3) for index in range(72)], ""),
        ([f"p{index // 3}".encode() for index in range(72)], ""),
        ([" " if index == 5 else f"p{index // 3}" for index in range(72)], "but 1 of 72 have none"),
        (
            ["P7" if index == 21 else f"p{index // 3}" for index in range(72)],
            "differ in case alone .*'P7' and 'p7'",
        ),
        (
            [[f"p{index // 3}"] for index in range(72)],
            "must hold one number or name for each image, got list",
        ),
    ],
    ids=range(5),
)
def test_what_a_column_holds(patients: list[object], message: str, tmp_path: Path) -> None:
    pq.write_table(table(patients), tmp_path / "set.parquet")
    if message:
        with pytest.raises(InputError, match=message):
            load(tmp_path / "set.parquet", group_column="patient")
    else:
        splits = load(tmp_path / "set.parquet", group_column="patient")
        check_apart(splits)
        assert patients_of(splits.train) <= {f"p{number}" for number in range(24)}


def test_the_images_are_no_groups(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "set.parquet")
    with pytest.raises(InputError, match="one column 'image' .* besides the images"):
        load(tmp_path / "set.parquet", group_column="image")


def test_groups_of_one_image_and_few_groups_are_told(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "folder")
    assert "warning: every image is a group of its own" in " ".join(load(source, group_pattern=".*").notes)
    notes = " ".join(load(source, group_pattern=BY_PATIENT).notes)
    assert "warning: the test images are of 5 groups only" in notes or "of 4 groups only" in notes


def test_settings_that_name_no_groups() -> None:
    with pytest.raises(
        InputError, match=r"'data.group_pattern': must be a regular expression, such as patient_\\\\?d"
    ):
        build({"data": {"source": "digits", "group_pattern": "("}})


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_whatever_is_linked_is_one_unit(links: list[tuple[int, int]]) -> None:
    """Against a plain search: images are linked if they share a picture or a group, also in a chain."""
    copies, groups = zip(*links, strict=True)
    images = LabelledSet.from_images(
        [Image.new("RGB", (1, 1))] * len(links),
        [0] * len(links),
        class_names=("a",),
        split="train",
        provenance={"group": [f"g{group}" for group in groups]},
    )
    units = joined(copies, images)
    expected = list(range(len(links)))
    for _ in links:
        for i, one in enumerate(links):
            for j, other in enumerate(links):
                if one[0] == other[0] or one[1] == other[1]:
                    expected[i] = expected[j] = min(expected[i], expected[j])
    assert parts_of(units) == parts_of(expected)


def parts_of(numbers: Sequence[int]) -> set[tuple[int, ...]]:
    return {tuple(np.flatnonzero(np.array(numbers) == number).tolist()) for number in numbers}
