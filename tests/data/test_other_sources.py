from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tarfile
import types
import zipfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_pictures import picture
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core.errors import InputError
from understudy.data.labelled_set import encode
from understudy.data.load import Splits, load_splits
from understudy.data.pool import stable_ids
from understudy.data.settings import DataSettings
from understudy.data.sources.digits import make_split_csv
from understudy.data.sources.source import SOURCES

LABELS = [0, 1] * 6
CLASS_LABEL = {
    "huggingface": json.dumps(
        {"info": {"features": {"label": {"names": ["pear", "apple"], "_type": "ClassLabel"}}}}
    )
}


def load(source: Path | str, **settings: Any) -> Splits:
    return load_splits(DataSettings(source=str(source), **settings), seed=0)


def write_parquet(
    path: Path, *, start: int = 0, metadata: dict[str, str] | None = CLASS_LABEL, **columns: Any
) -> Path:
    images = [{"bytes": encode(picture(start + index)), "path": None} for index in range(len(LABELS))]
    given = {"image": images, "label": LABELS} | columns
    table = pa.table({name: values for name, values in given.items() if values is not None})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def write_tar(path: Path, entries: dict[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def samples(label: Any = None, start: int = 0, ending: str = "cls") -> dict[str, bytes]:
    entries = {}
    for index in range(10):
        entries[f"{index:04d}.png"] = encode(picture(start + index))
        entries[f"{index:04d}.{ending}"] = str(index % 2).encode() if label is None else label(index % 2)
    return entries


SAMPLES = samples()


# Parquet


def test_parquet_file(tmp_path: Path) -> None:
    splits = load(write_parquet(tmp_path / "train.parquet"))
    assert splits.train.class_names == ("pear", "apple")
    assert [part.counts.tolist() for part in (splits.train, splits.val, splits.test)] == [
        [4, 4],
        [1, 1],
        [1, 1],
    ]
    assert splits.train.provenance("source_path")[0].startswith("train.parquet#0000000")
    for part in (splits.train, splits.val, splits.test):
        rows = [int(path.partition("#")[2]) for path in part.provenance("source_path")]
        assert [part.encoded(index) for index in range(len(part))] == [encode(picture(row)) for row in rows]
        assert part.labels.tolist() == [LABELS[row] for row in rows]


@pytest.mark.parametrize("folder", ["", "data"])
def test_parquet_shards_are_splits(tmp_path: Path, folder: str) -> None:
    for number, name in enumerate(
        ["train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001", "test"]
    ):
        write_parquet(tmp_path / folder / f"{name}.parquet", start=100 * number)
    splits = load(tmp_path)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [24, 12, 12]


def test_parquet_class_name_column_and_strings(tmp_path: Path) -> None:
    names = ["pear" if label == 0 else "apple" for label in LABELS]
    assert load(write_parquet(tmp_path / "a.parquet", metadata=None, class_name=names)).train.class_names == (
        "pear",
        "apple",
    )
    assert load(write_parquet(tmp_path / "b.parquet", metadata=None, label=names)).train.class_names == (
        "apple",
        "pear",
    )
    plain = [encode(picture(index)) for index in range(len(LABELS))]
    assert len(load(write_parquet(tmp_path / "c.parquet", img=plain, image=None)).test) == 2
    with pytest.raises(InputError, match=r"label 0 must have one class name, got 'pear' and 'plum'"):
        load(write_parquet(tmp_path / "d.parquet", metadata=None, class_name=[*names[:-2], "plum", "apple"]))
    with pytest.raises(InputError, match=r"labels with a class_name column must be 0 to 1, got \[1, 2\]"):
        load(
            write_parquet(
                tmp_path / "e.parquet", metadata=None, label=[label + 1 for label in LABELS], class_name=names
            )
        )


def test_parquet_labels_without_names(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", metadata=None)
    with pytest.raises(
        InputError, match=r"has only the numbers 0, 1: give --class-names FILE with 2 lines, one name"
    ):
        load(file)
    (tmp_path / "names.txt").write_text("ripe pear\nred apple\n")
    splits = load(file, class_names=tmp_path / "names.txt")
    assert splits.train.class_names == splits.prompt_names == ("ripe pear", "red apple")
    (tmp_path / "names.txt").write_text("pear\npear\n")
    with pytest.raises(InputError, match=r"must give every class a different name, got pear, pear"):
        load(file, class_names=tmp_path / "names.txt")


def test_prompt_names_leave_class_names_alone(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("apple: a red apple\npear: a ripe pear\n")
    splits = load(write_parquet(tmp_path / "a.parquet"), class_names=tmp_path / "names.txt")
    assert splits.train.class_names == ("pear", "apple")
    assert splits.prompt_names == ("a ripe pear", "a red apple")


def test_parquet_columns(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must have the columns image and label, got image, target"):
        load(write_parquet(tmp_path / "a.parquet", target=LABELS, label=None))
    with pytest.raises(InputError, match=r"labels must be whole numbers or names, got 0.5"):
        load(write_parquet(tmp_path / "b.parquet", label=[0.5] * 12))
    with pytest.raises(InputError, match=r"image must hold encoded image files as bytes, .*, got int64"):
        load(write_parquet(tmp_path / "c.parquet", image=LABELS))
    with pytest.raises(InputError, match=r"label must be in \[0, 2\), .* pear, apple, got 2: correct"):
        load(write_parquet(tmp_path / "d.parquet", label=[2, *LABELS[1:]]))
    with pytest.raises(InputError, match=r"every image must have a label, but 1 of 12 .*e.parquet#00000000:"):
        load(write_parquet(tmp_path / "e.parquet", label=[None, *LABELS[1:]]))
    (tmp_path / "f.parquet").write_text("no")
    with pytest.raises(InputError, match=r"must be a Parquet file"):
        load(tmp_path / "f.parquet")


def test_parquet_null_images_are_bad(tmp_path: Path) -> None:
    images = [{"bytes": encode(picture(index)), "path": None} for index in range(11)]
    with pytest.raises(InputError, match=r"a.parquet#00000011: no image bytes"):
        load(write_parquet(tmp_path / "a.parquet", image=[*images, {"bytes": None, "path": "elsewhere.png"}]))


def test_parquet_files_must_fit_together(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a" / "train.parquet")
    write_parquet(tmp_path / "a" / "extra.parquet", start=50)
    with pytest.raises(
        InputError, match=r"names say train, val or test, all must, but these do not: extra.parquet"
    ):
        load(tmp_path / "a")
    write_parquet(tmp_path / "b" / "val.parquet")
    write_parquet(tmp_path / "b" / "test.parquet", start=50)
    with pytest.raises(InputError, match=r"must have train images, got only val and test"):
        load(tmp_path / "b")
    write_parquet(tmp_path / "c" / "train.parquet")
    write_parquet(tmp_path / "c" / "test.parquet", start=50, metadata=None)
    with pytest.raises(InputError, match=r"these differ: train.parquet"):
        load(tmp_path / "c")


def test_names_without_images(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", label=[0] * 12)
    write_parquet(tmp_path / "test.parquet", label=[0] * 12, start=50)
    with pytest.raises(InputError, match=r"these have none: apple"):
        load(tmp_path)


# WebDataset


def test_webdataset_with_numbers(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "x.tar", samples())
    with pytest.raises(InputError, match=r"give --class-names FILE with 2 lines"):
        load(file)
    write_tar(tmp_path / "x.tar", samples() | {"classes.txt": b"pear\napple\n"})
    splits = load(file)
    assert splits.train.class_names == ("pear", "apple")
    assert [part.counts.tolist() for part in (splits.train, splits.val, splits.test)] == [
        [3, 3],
        [1, 1],
        [1, 1],
    ]
    assert splits.train.provenance("source_path")[0].startswith("x.tar/000")


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        (samples(lambda label: b"pear" if label == 0 else b"apple"), ("apple", "pear")),
        (samples(lambda label: json.dumps({"class_name": "ab"[label]}).encode(), ending="json"), ("a", "b")),
        (samples(lambda label: json.dumps({"class": "ab"[label]}).encode(), ending="json"), ("a", "b")),
        (
            samples(lambda label: json.dumps({"label": label}).encode(), ending="json")
            | {"dataset_info.json": b'{"features": {"label": {"names": ["b", "a"]}}}'},
            ("b", "a"),
        ),
    ],
)
def test_webdataset_names(tmp_path: Path, entries: dict[str, bytes], names: tuple[str, ...]) -> None:
    assert load(write_tar(tmp_path / "x.tar", entries)).train.class_names == names


def test_webdataset_shards(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("pear\napple\n")
    for number, name in enumerate(["train-0", "train-1", "test-0"]):
        write_tar(tmp_path / f"{name}.tar", samples(start=50 * number))
    splits = load(tmp_path)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [16, 4, 10]
    write_tar(tmp_path / "test-0.tar", samples(start=100) | {"classes.txt": b"apple\npear\n"})
    with pytest.raises(InputError, match=r"must have one list of class names, got 2"):
        load(tmp_path)
    write_tar(tmp_path / "test-0.tar", samples(start=100) | {"dataset_info.json": b"{}"})
    with pytest.raises(InputError, match=r"dataset_info.json must list the class names"):
        load(tmp_path)


def test_webdataset_without_train(tmp_path: Path) -> None:
    for name in ("val", "test"):
        write_tar(tmp_path / f"{name}.tar", samples(lambda label: b"pa"[label : label + 1]))
    with pytest.raises(InputError, match=r"must have train images, got only val and test"):
        load(tmp_path)


def test_webdataset_bad_samples(tmp_path: Path) -> None:
    bad = {
        "lost.cls": b"0",
        "unlabelled.jpg": encode(picture(90)),
        "odd.png": encode(picture(91)),
        "odd.json": b"{",
    }
    bad |= {"empty.png": encode(picture(92)), "empty.cls": b""}
    file = write_tar(tmp_path / "x.tar", samples(lambda label: b"pa"[label : label + 1]) | bad)
    splits = load(file, skip_bad=True)
    assert dict(splits.skipped) == {
        "x.tar/lost": "no image among .cls",
        "x.tar/unlabelled.jpg": "no class: write it into a file of the same name that ends with .cls, beside "
        "the image",
        "x.tar/odd.png": "no class in .cls, nor as class_name, label or class in .json",
        "x.tar/empty.png": "no class in .cls, nor as class_name, label or class in .json",
    }
    with pytest.raises(InputError, match=r"but 4 of 14 are not"):
        load(file)


def test_webdataset_mixed_labels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must all be numbers or all be names, got both"):
        load(write_tar(tmp_path / "x.tar", samples(lambda label: b"0" if label else b"pear")))
    with pytest.raises(InputError, match=r"class names must differ, got pear, pear"):
        load(write_tar(tmp_path / "x.tar", samples() | {"classes.txt": b"pear\npear\n"}))


@pytest.mark.parametrize("name", ["/etc/a.png", "../a.png"])
def test_tar_with_unsafe_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"relative paths without '\.\.', got"):
        load(write_tar(tmp_path / "x.tar", {name: b""}), skip_bad=True)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_tar_with_links_and_devices(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(InputError, match=r"'a.png' is a link or device"):
        load(tmp_path / "x.tar")


def test_damaged_tars(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_text("no tar")
    with pytest.raises(InputError, match=r"must be an uncompressed tar file"):
        load(tmp_path / "x.tar")
    with tarfile.open(tmp_path / "y.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(InputError, match=r"'a.png' occurs twice"):
        load(tmp_path / "y.tar")


@settings(deadline=None)
@given(st.integers(0, 19), st.sampled_from(["cut in a head", "cut before a head", "changed head"]))
def test_no_entry_of_a_damaged_tar_is_lost_without_a_word(number: int, damage: str) -> None:
    with TemporaryDirectory() as folder:
        file = write_tar(Path(folder) / "x.tar", SAMPLES)
        with tarfile.open(file) as tar:
            head = tar.getmembers()[number].offset
        data = bytearray(file.read_bytes())
        data[head + 150] ^= 1
        end = {"cut in a head": head + 300, "cut before a head": head, "changed head": len(data)}[damage]
        file.write_bytes(data[:end])
        with pytest.raises(InputError, match=r"x.tar must (be an uncompressed|end with the mark)"):
            load(file)


def folders(*classes: str, start: int = 0, above: str = "") -> dict[str, bytes]:
    names = [f"{above}{name}/{number}.png" for name in classes for number in range(5)]
    return {name: encode(picture(start + index)) for index, name in enumerate(names)}


@settings(deadline=None)
@given(st.sampled_from(["", "./", "set/", "./set/inner/"]), st.booleans())
def test_a_tar_of_class_folders_is_read_like_a_zip(above: str, with_splits: bool) -> None:
    parts = ("train/", "test/") if with_splits else ("",)
    entries = {"README.md": b"x", f"{above}cat/.DS_Store": b"x"}
    for number, part in enumerate(parts):
        entries |= folders("cat", "dog", start=20 * number, above=above + part)
    with TemporaryDirectory() as place:
        write_tar(Path(place) / "x.tar", entries)
        with zipfile.ZipFile(Path(place) / "x.zip", "w") as archive:
            for name, data in entries.items():
                archive.writestr(name.removeprefix("./"), data)
        of_tar, of_zip = (load(Path(place) / f"x.{suffix}") for suffix in ("tar", "zip"))
    for split in ("train", "val", "test"):
        assert getattr(of_tar, split).ids == getattr(of_zip, split).ids
        assert getattr(of_tar, split).class_names == ("cat", "dog")
    assert of_tar.left_out == of_zip.left_out


def test_several_tars_of_class_folders(tmp_path: Path) -> None:
    write_tar(tmp_path / "split" / "x-train.tar", folders("cat", "dog"))
    write_tar(tmp_path / "split" / "x-test.tar", folders("cat", "dog", start=20))
    splits = load(tmp_path / "split")
    assert (len(splits.train) + len(splits.val), len(splits.test)) == (10, 10)
    write_tar(tmp_path / "parts" / "0.tar", folders("cat", "dog"))
    write_tar(tmp_path / "parts" / "1.tar", folders("bird", start=20))
    assert load(tmp_path / "parts").train.class_names == ("bird", "cat", "dog")
    write_tar(tmp_path / "parts" / "2.tar", folders("dog", start=40))
    with pytest.raises(InputError, match=r"no two entries may have the same path, but 'dog/0.png'"):
        load(tmp_path / "parts")


def test_webdataset_large_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.data.sources.samples.MAX_FILE_BYTES", 10)
    with pytest.raises(InputError, match=r"x.tar/0000.png: more than 10 bytes"):
        load(write_tar(tmp_path / "x.tar", samples(lambda label: b"pa"[label : label + 1])))


# Built in, hub, ids


def test_digits_split_is_the_committed_one() -> None:
    committed = resources.files("understudy.data").joinpath("digits_split.csv").read_text()
    assert make_split_csv() == committed
    rows = list(csv.DictReader(io.StringIO(committed)))
    assert [sum(row["split"] == name for row in rows) for name in ("train", "val", "test")] == [600, 200, 997]


def test_digits_pass_clean_and_do_not_depend_on_the_seed() -> None:
    splits = load("digits")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [600, 200, 997]
    assert splits.prompt_names == tuple(f"digit {digit}" for digit in range(10))
    assert splits.train.ids == load_splits(DataSettings(source="digits"), seed=5).train.ids
    assert all(name.startswith("digits-") for name in splits.train.ids)
    image = splits.train.image(0)
    assert (image.mode, image.size) == ("RGB", (32, 32))
    assert "searched by a test of the package, not again by this run" in splits.copies["looked_for"]
    assert splits.copies["all_kinds"]
    counts = splits.train.counts
    assert counts.max() - counts.min() <= 3
    assert np.asarray(image).max() > 200


def test_hub_needs_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"no file or folder at 'org/name'; .*pip install datasets"):
        load("org/name")


class HubPart:
    """Stands in for a split of a hub data set, which would need a network."""

    def __init__(self, start: int = 0, **columns: Any) -> None:
        images = [{"bytes": encode(picture(start + index)), "path": None} for index in range(10)]
        given = {"img": images, "label": [index % 2 for index in range(10)]} | columns
        self._table = pa.table({name: values for name, values in given.items() if values is not None})
        self.features = types.SimpleNamespace(arrow_schema=self._table.schema.with_metadata(CLASS_LABEL))

    @property
    def num_rows(self) -> int:
        return self._table.num_rows

    def select_columns(self, names: list[str]) -> HubPart:
        part = HubPart()
        part._table = self._table.select(names)
        return part

    def with_format(self, kind: str) -> HubPart:
        assert kind == "arrow"
        return self

    def iter(self, batch_size: int) -> Iterator[pa.Table]:
        assert batch_size
        yield from (self._table.slice(start, 4) for start in range(0, 10, 4))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the hub holds, by name."""
    shelf: dict[str, Any] = {}

    def load_dataset(name: str, config: str | None) -> Any:
        found = shelf.get(f"{name}:{config}" if config else name, FileNotFoundError(f"no {name}"))
        if isinstance(found, Exception):
            raise found
        return found

    module = types.SimpleNamespace(load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", module)  # type: ignore[arg-type]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # ask no hub
    return shelf


def test_hub_splits(hub: dict[str, Any]) -> None:
    hub["org/name"] = {"train": HubPart(), "test": HubPart(start=50)}
    assert SOURCES["hub"].open("org/name", DataSettings(source="org/name")).total == 20
    splits = load("org/name")
    assert splits.train.class_names == ("pear", "apple")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [8, 2, 10]
    assert splits.test.provenance("source_path")[0] == "test#00000000"
    assert splits.notes[0] == "splits: train: train, test: test (from the split names)"
    hub["org/name"] = {"train": HubPart(Usage=["train", "train", "val", "test", "test"] * 2, id=["x"] * 10)}
    splits = load("org/name")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [4, 2, 4]
    assert splits.notes[0] == "splits: train: 4, val: 2, test: 4 (from the column Usage)"
    hub["org/name"] = {"test": HubPart()}
    assert "the split test says test, but it is the only one: its images are" in load("org/name").notes[0]


def test_hub_configurations(hub: dict[str, Any]) -> None:
    hub["org/name"] = ValueError("Config name is missing.\nPlease pick one among ['small', 'large']")
    hub["org/name:small"] = {"train": HubPart()}
    with pytest.raises(InputError, match=r"\['small', 'large'\]: choose one .* as org/name:CONFIG"):
        load("org/name")
    assert load("org/name:small").train.class_names == ("pear", "apple")


def test_hub_image_folders(hub: dict[str, Any], tmp_path: Path) -> None:
    """Their tables hold paths of files in the cache of the package."""
    images = []
    for index in range(10):
        picture(index).save(tmp_path / f"{index}.png")
        images.append({"bytes": None, "path": str(tmp_path / f"{index}.png")})
    hub["org/name"] = {"train": HubPart(img=images)}
    splits = load("org/name")
    row = int(splits.test.provenance("source_path")[0].partition("#")[2])
    assert splits.test.encoded(0) == (tmp_path / f"{row}.png").read_bytes()


def test_hub_errors(hub: dict[str, Any]) -> None:
    with pytest.raises(
        InputError, match=r"'org/name' cannot be loaded from the Hugging Face hub: .*no org/name"
    ):
        load("org/name")
    hub["org/name"] = RuntimeError("Dataset scripts are no longer supported, but found name.py")
    with pytest.raises(InputError, match=r"found name.py: use a copy .* stored as files"):
        load("org/name")
    hub["org/name"] = Exception("An error occurred while generating the dataset")
    hub["org/name"].__cause__ = TypeError("could not cast target to label")
    with pytest.raises(InputError, match=r"generating the dataset: could not cast target to label"):
        load("org/name")
    hub["org/name"] = {"train": HubPart(img=None)}
    with pytest.raises(InputError, match=r"must have the columns image and label, got label"):
        load("org/name")
    hub["org/name"] = {"train": HubPart(), "unsupervised": HubPart(50)}
    with pytest.raises(
        InputError, match=r"splits must be train, validation and test, got train, unsupervised"
    ):
        load("org/name")
    divided = load("org/name", split_names="ignore")
    assert sum(map(len, (divided.train, divided.val, divided.test))) == 20
    hub["org/name"] = {"validation": HubPart(), "test": HubPart()}
    with pytest.raises(InputError, match=r"train, validation and test, got validation, test: .*=ignore"):
        load("org/name")
    hub["org/name"] = {"train": HubPart(label=[3] * 10)}
    with pytest.raises(InputError, match=r"label must be in \[0, 2\), .* got 3"):
        load("org/name")


def test_ids_are_longer_where_twelve_digits_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stable_ids(["a/1.png", "b"]) == ["real-8630ea930807", "real-3e23e8160039"]
    monkeypatch.setattr(
        "understudy.data.pool._sha256", lambda path: {"a": "0" * 64, "b": "0" * 14 + "1" * 50}[path]
    )
    assert stable_ids(["a", "b"]) == ["real-" + "0" * 15, "real-" + "0" * 14 + "1"]


def test_import_stays_light() -> None:
    code = (
        "import sys, understudy.data; print([name for name in ('sklearn', 'datasets', 'diffusers') if name "
        "in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
