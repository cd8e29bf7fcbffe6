"""The same images and labels, in whatever Arrow types a tool writes them, are the same data set."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_pictures import picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from understudy.core.errors import InputError
from understudy.data.labelled_set import encode
from understudy.data.pool import Pool, read_pool
from understudy.data.settings import DataSettings
from understudy.data.sources.arrow import ArrowSource
from understudy.data.sources.parquet import ParquetSource

NAMES = ("disc", "square", "cross")
NUMBERS = [index % 3 for index in range(9)]
FILES = [encode(picture(index)) for index in range(9)]
TEXTS = [NAMES[number] for number in NUMBERS]
TEXT_TYPES = (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary())
BYTE_TYPES = (pa.binary(), pa.large_binary(), pa.binary_view())
NUMBER_TYPES = (pa.int8(), pa.uint8(), pa.int32(), pa.int64(), pa.uint64(), pa.float32(), pa.float64())


def metadata(names: Any = NAMES, *, label: str = "label") -> dict[str, str]:
    feature = {"names": names, "_type": "ClassLabel"}
    return {"huggingface": json.dumps({"info": {"features": {label: feature}}})}


def write(path: Path, columns: dict[str, Any], *, about: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata(about), path)
    return path


def read(source: Path, **options: Any) -> Pool:
    chosen = DataSettings(source=str(source), **options)
    kind = ArrowSource() if ArrowSource().accepts(str(source)) else ParquetSource()
    return read_pool(kind.open(str(source), chosen), chosen)


def text_columns() -> st.SearchStrategy[pa.Array]:
    dictionary = st.sampled_from([pa.int8(), pa.uint16(), pa.int64()]).map(
        lambda index: pa.array(TEXTS).dictionary_encode().cast(pa.dictionary(index, pa.string()))
    )
    return st.sampled_from([pa.array(TEXTS).cast(kind) for kind in TEXT_TYPES]) | dictionary


def number_columns() -> st.SearchStrategy[pa.Array]:
    plain = [pa.array(NUMBERS).cast(kind) for kind in NUMBER_TYPES]
    decimals = [
        pa.array([Decimal(number) for number in NUMBERS], pa.decimal128(20, places)) for places in (0, 3)
    ]
    return st.sampled_from([*plain, *decimals, pa.array(NUMBERS).dictionary_encode()])


def image_columns() -> st.SearchStrategy[pa.Array]:
    kinds = st.sampled_from(BYTE_TYPES)
    plain = kinds.map(lambda kind: pa.array(FILES, kind))
    structs = st.tuples(kinds, st.sampled_from(TEXT_TYPES[:3]), st.booleans()).map(
        lambda kind: pa.array(
            [{"bytes": data, "path": "a.png" if kind[2] else None} for data in FILES],
            pa.struct([("path", kind[1]), ("bytes", kind[0])]),
        )
    )
    return plain | structs | st.just(pa.array(FILES).dictionary_encode())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    image_columns(),
    text_columns() | number_columns(),
    st.sampled_from(["label", "labels", "cls"]),
    st.sampled_from(["image", "img", "jpg"]),
)
def test_types_do_not_matter(
    tmp_path: Path, images: pa.Array, labels: pa.Array, name: str, image: str
) -> None:
    found = read(write(tmp_path / "a.parquet", {image: images, name: labels}, about=metadata(label=name)))
    assert found.images.class_names == NAMES
    assert found.images.labels.tolist() == NUMBERS
    assert [found.images.encoded(index) for index in range(9)] == FILES


@pytest.mark.parametrize(
    "about",
    [
        {"huggingface": "no JSON"},
        {"huggingface": "[]"},
        {"huggingface": json.dumps({"info": None})},
        {"huggingface": json.dumps({"info": {"features": None}})},
        {"huggingface": json.dumps({"info": {"features": {"label": [{"names": NAMES}]}}})},
        {"huggingface": json.dumps({"info": {"features": {"label": {"names": None}}}})},
        {"huggingface": json.dumps({"info": {"features": {"label": {"names": []}}}})},
    ],
)
def test_broken_metadata_is_no_metadata(tmp_path: Path, about: dict[str, str]) -> None:
    file = write(tmp_path / "a.parquet", {"image": FILES, "label": TEXTS}, about=about)
    assert read(file).images.class_names == ("cross", "disc", "square")


def test_numbered_names(tmp_path: Path) -> None:
    numbered = {str(number): name for number, name in reversed(list(enumerate(NAMES)))}
    file = write(tmp_path / "a.parquet", {"image": FILES, "label": NUMBERS}, about=metadata(numbered))
    assert read(file).images.class_names == NAMES
    write(file, {"image": FILES, "label": NUMBERS}, about=metadata({"1": "a", "2": "b", "3": "c"}))
    with pytest.raises(InputError, match=r"must be numbered from 0 to 2, got 1, 2, 3"):
        read(file)


def test_booleans_are_numbers(tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {"image": FILES, "label": [number == 0 for number in NUMBERS]})
    with pytest.raises(InputError, match=r"has only the numbers 0, 1: give --class-names"):
        read(file)
    (tmp_path / "names.txt").write_text("other\ndisc\n")
    found = read(file, class_names=tmp_path / "names.txt").images
    assert [found.class_names[label] for label in found.labels[:3]] == ["disc", "other", "other"]


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ({"label": [[number] for number in NUMBERS]}, r"label must hold one number or name .*, got list"),
        ({"label": [{"a": 1}] * 9}, r"label must hold one number or name .*, got struct"),
        ({"label": [0.5, *NUMBERS[1:]]}, r"labels must be whole numbers or names, got 0.5"),
        ({"image": [[0.5]] * 9}, r"image must hold encoded image files .*, got list"),
        ({"image": [["a"]] * 9}, r"image must hold encoded image files .*, got list"),
        ({"img": FILES}, r"several image columns, image and img: .* data.image_column"),
        ({"class": TEXTS}, r"several label columns, label and class: "),
        ({"image": ["iVBORw0KGgo="] * 9}, r"#00000000: no image bytes, and no file 'iVBORw0KGgo='"),
        ({"image": pa.nulls(9)}, r"#00000000: no image bytes"),
        ({"label": pa.nulls(9)}, r"9 of 9 images have no label"),
        ({"label": [float("nan")] * 9}, r"9 of 9 images have no label"),
    ],
)  # fmt: skip
def test_other_columns_are_refused(tmp_path: Path, column: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        read(write(tmp_path / "a.parquet", {"image": FILES, "label": TEXTS} | column))


def test_columns_are_chosen(tmp_path: Path) -> None:
    other = [NAMES[(number + 1) % 3] for number in NUMBERS]
    file = write(
        tmp_path / "a.parquet", {"photo": FILES, "image": FILES[::-1], "label": TEXTS, "kind": other}
    )
    found = read(file, image_column="photo", label_column="kind").images
    assert found.encoded(0) == FILES[0]
    assert found.class_names[found.labels[0]] == "square"
    with pytest.raises(InputError, match=r"one column 'photos' \(data.image_column\), got photo"):
        read(file, image_column="photos")
    with pytest.raises(InputError, match=r"the columns image and label, got photo: .*image_column=NAME"):
        read(write(tmp_path / "b.parquet", {"photo": FILES}))


def test_types_in_the_metadata_find_columns_of_other_names(tmp_path: Path) -> None:
    features = {"photo": {"_type": "Image"}, "species": {"names": NAMES, "_type": "ClassLabel"}}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    columns = {"photo": FILES, "species": NUMBERS, "page": TEXTS}
    assert read(write(tmp_path / "a.parquet", columns, about=about)).images.class_names == NAMES


def test_fine_labels_come_before_coarse_ones(tmp_path: Path) -> None:
    columns = {"img": FILES, "fine_label": TEXTS, "coarse_label": ["thing", "other", "thing"] * 3}
    assert read(write(tmp_path / "a.parquet", columns)).images.class_names == ("cross", "disc", "square")


def test_files_must_have_the_same_columns(tmp_path: Path) -> None:
    write(tmp_path / "a" / "x-0.parquet", {"image": FILES, "label": TEXTS})
    write(tmp_path / "a" / "x-1.parquet", {"image": FILES, "labels": TEXTS})
    with pytest.raises(InputError, match=r"the columns \(image, label\) and .*, but these differ: x-1"):
        read(tmp_path / "a")


def test_hidden_test_labels_are_left_out_on_request(tmp_path: Path) -> None:
    write(tmp_path / "a" / "train.parquet", {"image": FILES, "label": NUMBERS}, about=metadata())
    hidden = [encode(picture(100 + index)) for index in range(3)]
    write(tmp_path / "a" / "test.parquet", {"image": hidden, "label": [-1] * 3}, about=metadata())
    with pytest.raises(
        InputError, match=r"3 of 12 .* no label .*test.parquet#00000000.*skip_unlabelled=true"
    ):
        read(tmp_path / "a")
    found = read(tmp_path / "a", skip_unlabelled=True)
    assert len(found.images) == 9
    assert any(note.startswith("left out: 3 of 12 images have no label") for note in found.notes)


def test_paths_are_read_beside_the_table(tmp_path: Path) -> None:
    names = [f"pictures/{index}.png" for index in range(9)]
    (tmp_path / "a" / "pictures").mkdir(parents=True)
    for name, data in zip(names, FILES, strict=True):
        (tmp_path / "a" / name).write_bytes(data)
    (tmp_path / "outside.png").write_bytes(FILES[0])
    columns = {"image": names, "label": TEXTS}
    found = read(write(tmp_path / "a" / "b.parquet", columns)).images
    assert [found.encoded(index) for index in range(9)] == FILES
    columns["image"] = [{"bytes": None, "path": name} for name in names]
    assert len(read(write(tmp_path / "a" / "b.parquet", columns)).images) == 9
    (tmp_path / "a" / "b.parquet").rename(tmp_path / "a" / "pictures" / "b.parquet")
    assert len(read(tmp_path / "a").images) == 9  # relative to the data set, not to the file
    for outside in ("../outside.png", str(tmp_path / "outside.png"), "pictures", "a\0b", "x" * 5000):
        columns["image"] = [{"bytes": None, "path": outside}, *columns["image"][1:]]
        with pytest.raises(InputError, match=r"1 of 9 is not:\n  b.parquet#00000000: no image bytes, and"):
            read(write(tmp_path / "a" / "b.parquet", columns))


def test_pointers_and_damaged_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(InputError, match=r"but it is a pointer of Git LFS: .*git lfs pull"):
        read(tmp_path / "a.parquet")
    file = write(tmp_path / "b.parquet", {"image": FILES, "label": TEXTS})
    data = bytearray(file.read_bytes())
    data[4:2000] = bytes(1996)
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"b.parquet: rows from 0 on cannot be read"):
        read(file)


def save_to_disk(folder: Path, start: int = 0, label: str = "label") -> Path:
    """As the `datasets` package does it."""
    files = [encode(picture(start + index)) for index in range(9)]
    table = pa.table({"image": [{"bytes": data, "path": None} for data in files], label: NUMBERS})
    table = table.replace_schema_metadata(metadata())
    folder.mkdir(parents=True)
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as stream:
        stream.write_table(table, max_chunksize=4)
    entries = [{"filename": "data-00000-of-00001.arrow"}]
    (folder / "state.json").write_text(json.dumps({"_data_files": entries}))
    return folder


def test_folders_of_save_to_disk(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "test")):
        save_to_disk(tmp_path / "set" / split, start=50 * number)
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    found = read(tmp_path / "set")
    assert found.declared == ("train",) * 9 + ("test",) * 9
    assert found.images.provenance("source_path")[9] == "test#00000000"
    assert found.images.class_names == NAMES
    assert set(read(tmp_path / "set", split_names="ignore").declared) == {None}
    found = read(tmp_path / "set" / "test")
    assert set(found.declared) == {None}
    assert "the folder test says test, but it is the only one: its images are divided" in found.notes[0]
    assert read(tmp_path / "set" / "test", split_names="ignore").notes == ()


def test_damaged_folders_of_save_to_disk(tmp_path: Path) -> None:
    folder = save_to_disk(tmp_path / "a")
    arrow, state = folder / "data-00000-of-00001.arrow", folder / "state.json"
    data = arrow.read_bytes()
    arrow.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"arrow: rows from \d+ on cannot be read"):
        read(folder)
    arrow.write_bytes(b"no")
    with pytest.raises(InputError, match=r"must be an Arrow stream"):
        read(folder)
    for text in ("{}", '{"_data_files": [1]}', "no"):
        state.write_text(text)
        with pytest.raises(InputError, match=r"state.json is damaged: write the folder again"):
            read(folder)
    state.write_text('{"_data_files": []}')
    with pytest.raises(InputError, match=r"must hold Arrow files, but none is listed"):
        read(folder)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "dataset_dict.json").write_text('{"splits": ["train", "extra"]}')
    with pytest.raises(InputError, match=r"splits must be train, validation and test, got train, extra"):
        read(tmp_path / "b")
    (tmp_path / "b" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(InputError, match=r"state.json is missing"):
        read(tmp_path / "b")


def test_parts_of_save_to_disk_must_have_the_same_columns(tmp_path: Path) -> None:
    save_to_disk(tmp_path / "set" / "train")
    save_to_disk(tmp_path / "set" / "test", start=50, label="target")
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(InputError, match=r"must have the columns of the first file, but lacks label"):
        read(tmp_path / "set")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data:image/png;base64,iVBORw0KGgo=", "an image as base64 text: decode the column, and store bytes"),
        ("iVBORw0KGgo" + "A" * 200, "an image as base64 text: decode the column, and store bytes"),
        ("https://example.org/1.png", "an address, 'https://example.org/1.png': download the image"),
    ],
)
def test_text_that_stands_for_an_image_is_named(text: str, words: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.parquet", {"image": [text] * 9, "label": TEXTS})
    with pytest.raises(InputError, match=re.escape(f"#00000000: {words}")):
        read(file)


SPLITS = ["train", "validation", "test"] * 3


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_a_column_may_say_the_splits(kind: pa.DataType, tmp_path: Path) -> None:
    columns = {"image": FILES, "label": TEXTS, "split": pa.array(SPLITS).cast(kind)}
    found = read(write(tmp_path / "a.parquet", columns))
    assert found.declared == ("train", "val", "test") * 3
    assert found.notes[0] == "splits: train: 3, val: 3, test: 3 (from the column split)"
    assert set(read(tmp_path / "a.parquet", split_names="ignore").declared) == {None}
    folder, table = tmp_path / "saved", pa.table(columns)
    folder.mkdir()
    with pa.ipc.new_stream(folder / "data.arrow", table.schema) as stream:
        stream.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    assert read(folder).declared == found.declared


def test_a_column_of_splits_that_says_something_else_is_refused(tmp_path: Path) -> None:
    for said in ("extra", None):
        columns = {"image": FILES, "label": TEXTS, "split": [said, *SPLITS[1:]]}
        with pytest.raises(InputError, match=rf"'split' must say train, validation or test, got {said!r}:"):
            read(write(tmp_path / "a.parquet", columns))
    for name in ("train", "test"):
        write(tmp_path / "set" / f"{name}.parquet", {"image": FILES, "label": TEXTS, "split": SPLITS})
    with pytest.raises(InputError, match=r"must say test, as the name of the file does, got 'train':"):
        read(tmp_path / "set")
