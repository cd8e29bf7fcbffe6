"""Sets without copies: which of several copies stays, and that a run accepts the result."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmarks.folders import without_copies
from understudy.core.errors import InputError
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings

CLASSES = ("cat", "dog")


def pictures(count):
    """PNG files of smooth coloured patches, no two alike."""
    rng, files = np.random.default_rng(0), []
    for _ in range(count):
        file = io.BytesIO()
        patches = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        patches.resize((40, 40), Image.Resampling.BICUBIC).save(file, format="PNG")
        files.append(file.getvalue())
    return files


def save(folder, **splits):
    folder.mkdir()
    for split, (images, labels) in splits.items():
        rows = [{"bytes": image, "path": f"{split}{index}.png"} for index, image in enumerate(images)]
        table = pa.table({"image": rows, "label": [CLASSES[label] for label in labels]})
        pq.write_table(table, folder / f"{split}.parquet")


def labels_of(folder):
    return {
        split: pq.read_table(folder / f"{split}.parquet")["label"].to_pylist()
        for split in ("train", "val", "test")
    }


@pytest.fixture
def source(tmp_path):
    """Eight pictures per split; train has one of test, one of val and one twice, and one with two labels."""
    images, labels = pictures(24), np.arange(24) % 2
    train, val, test = images[:8], images[8:16], images[16:]
    save(
        tmp_path / "source",
        train=([*train, test[0], val[0], train[0], train[1]], [*labels[:8], 0, 0, 0, 0]),
        val=(val, labels[8:16]),
        test=(test, labels[16:]),
    )
    return tmp_path / "source"


def test_a_run_accepts_what_it_refused(source, tmp_path):
    with pytest.raises(InputError, match=r"the same class|share images"):
        load_splits(DataSettings(source=str(source)), seed=0)
    without_copies(source, tmp_path / "clean")
    splits = load_splits(DataSettings(source=str(tmp_path / "clean")), seed=0)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (7, 8, 8)


def test_of_test_images_all_stay_and_of_disputed_ones_none(source, tmp_path):
    without_copies(source, tmp_path / "clean")
    before, after = labels_of(source), labels_of(tmp_path / "clean")
    assert (after["test"], after["val"]) == (before["test"], before["val"])
    assert after["train"] == ["cat", *before["train"][2:8]], "picture 1 was a dog and a cat"
    written = (tmp_path / "clean" / "test.parquet").stat().st_mtime_ns
    without_copies(source, tmp_path / "clean")
    assert (tmp_path / "clean" / "test.parquet").stat().st_mtime_ns == written, "a finished folder is kept"
