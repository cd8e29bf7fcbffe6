"""Parquet files of sets: groups of rows, folders of files, and files that change while they are used."""

import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from data_pictures import picture

from understudy.core.errors import InputError
from understudy.data import parquet_images
from understudy.data.labelled_set import LabelledSet

SMALL_SHARD = 20_000


def noisy(count, *, split="train"):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)  # 3 kB each
    return LabelledSet.from_images(
        pixels, np.arange(count) % 2, class_names=("a", "b"), split=split, provenance={"n": range(count)}
    )


def same(a, b):
    return a.columns.equals(b.columns) and list(a.files) == list(b.files) and a.class_names == b.class_names


def test_groups_are_small_in_rows_and_in_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_images, "_GROUP", (7, 10_000))
    few_bytes = LabelledSet.from_images([picture(0)] * 20, [0] * 20, class_names=("a",), split="train")
    for number, (data, rows) in enumerate([(noisy(10), [3, 3, 3, 1]), (few_bytes, [7, 7, 6])]):
        path = tmp_path / f"{number}.parquet"
        data.save(path)
        found = pq.read_metadata(path)
        assert [found.row_group(group).num_rows for group in range(found.num_row_groups)] == rows
        assert same(LabelledSet.load(path), data)


def test_an_image_larger_than_a_group_is_a_group(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_images, "_GROUP", (7, 10))
    noisy(3).save(tmp_path / "x.parquet")
    assert pq.read_metadata(tmp_path / "x.parquet").num_row_groups == 3
    assert same(LabelledSet.load(tmp_path / "x.parquet"), noisy(3))


def test_a_large_set_is_a_folder_of_files_and_stays_one_set(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_images, "SHARD_BYTES", SMALL_SHARD)
    path, data = tmp_path / "deep" / "train.parquet", noisy(30)
    data.save(path)
    files = sorted(path.iterdir())
    assert len(files) == -(-data.files.num_bytes // SMALL_SHARD) > 3
    assert max(file.stat().st_size for file in files) < 1.5 * SMALL_SHARD
    assert files[0].name == f"part-00000-of-{len(files):05d}.parquet"
    assert [each.name for each in tmp_path.glob("deep/*")] == ["train.parquet"]
    loaded = LabelledSet.load(path)
    assert same(loaded, data)
    assert same(loaded.select([29, 0, 5]), data.select([29, 0, 5]))
    assert pq.read_table(path)["n"].to_pylist() == list(range(30))


def test_the_datasets_package_reads_a_folder_of_files(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(parquet_images, "SHARD_BYTES", SMALL_SHARD)
    noisy(30).save(tmp_path / "x.parquet")
    pattern, cache = str(tmp_path / "x.parquet" / "*.parquet"), str(tmp_path / "cache")
    theirs = datasets.load_dataset("parquet", data_files=pattern, split="train", cache_dir=cache)
    assert list(theirs["n"]) == list(range(30)) and theirs.features["label"].names == ["a", "b"]
    assert (np.asarray(theirs[7]["image"]) == np.asarray(noisy(30).image(7))).all()


def test_a_set_replaces_another_of_any_size(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    for count in (30, 2, 30, 29):
        monkeypatch.setattr(parquet_images, "SHARD_BYTES", SMALL_SHARD if count > 2 else 10**9)
        noisy(count).save(path)
        assert len(LabelledSet.load(path)) == count
    assert [each.name for each in tmp_path.iterdir()] == ["x.parquet"]


def test_a_folder_that_lacks_a_file_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_images, "SHARD_BYTES", SMALL_SHARD)
    noisy(30).save(tmp_path / "x.parquet")
    next((tmp_path / "x.parquet").iterdir()).unlink()
    with pytest.raises(InputError, match=r"x\.parquet lacks some of its files: to make it again, remove it"):
        LabelledSet.load(tmp_path / "x.parquet")


@pytest.mark.parametrize("change", ["replaced", "removed", "cut"])
def test_a_file_that_changes_while_it_is_used_is_told(tmp_path, change):
    path = tmp_path / "x.parquet"
    noisy(4).save(path)
    data = LabelledSet.load(path)
    if change == "replaced":
        noisy(5).save(path)
    elif change == "removed":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(InputError, match=r"x\.parquet was changed while it was in use: give the same"):
        data.image(0)


def test_a_set_can_be_written_over_the_file_that_it_is_read_from(tmp_path):
    path = tmp_path / "x.parquet"
    noisy(6).save(path)
    LabelledSet.load(path).select([4, 1]).save(path)
    assert same(LabelledSet.load(path), noisy(6).select([4, 1]))


def test_damaged_images_are_told_when_they_are_read(tmp_path):
    path = tmp_path / "x.parquet"
    noisy(4).save(path)
    content = bytearray(path.read_bytes())
    place = pq.read_metadata(path).row_group(0).column(1).data_page_offset
    content[place : place + 40] = bytes(40)
    path.write_bytes(content)
    data = LabelledSet.load(path)
    assert data.counts.tolist() == [2, 2]
    with pytest.raises(InputError, match=r"x\.parquet is damaged: to make it again"):
        data.image(0)


def test_files_of_earlier_versions_are_read(tmp_path):
    """One group of a thousand rows, compressed, with the image behind other columns."""
    data, path = noisy(5), tmp_path / "x.parquet"
    data.save(path)
    table = pq.read_table(path)
    moved = table.select(["id", "label", "n", "image"]).replace_schema_metadata(table.schema.metadata)
    pq.write_table(moved, path, compression="zstd")
    assert list(LabelledSet.load(path).files) == list(data.files)
    assert json.loads(pq.read_schema(path).metadata[b"understudy"]) == {"split": "train"}


@pytest.mark.parametrize("sharded", [True, False])
@pytest.mark.parametrize("left", ["file", "folder"])
def test_what_a_killed_run_left_is_no_obstacle(left, sharded, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_images, "SHARD_BYTES", SMALL_SHARD if sharded else 10**9)
    temporary = tmp_path / ".x.parquet.tmp"
    if left == "file":
        temporary.write_text("half")
    else:
        (temporary / "deep").mkdir(parents=True)
    noisy(30).save(tmp_path / "x.parquet")
    assert same(LabelledSet.load(tmp_path / "x.parquet"), noisy(30))
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


def test_a_folder_that_cannot_be_written_leaves_the_old_set_and_nothing_else(tmp_path, monkeypatch):
    noisy(3).save(tmp_path / "x.parquet")
    monkeypatch.setattr(parquet_images, "SHARD_BYTES", SMALL_SHARD)
    write, written = parquet_images._write, []

    def fail_third(*arguments):
        written.append(1)
        if len(written) == 3:
            raise OSError("no space left on device")
        write(*arguments)

    monkeypatch.setattr(parquet_images, "_write", fail_third)
    with pytest.raises(OSError, match="no space"):
        noisy(30).save(tmp_path / "x.parquet")
    assert same(LabelledSet.load(tmp_path / "x.parquet"), noisy(3))
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


def test_a_file_whose_time_alone_changes_is_read_on(tmp_path):
    path = tmp_path / "x.parquet"
    noisy(4).save(path)
    data = LabelledSet.load(path)
    os.utime(path, (1, 1))
    assert list(data.files) == list(noisy(4).files)
