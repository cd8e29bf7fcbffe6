"""The shifted handwriting of the benchmark: changed images of the same digits, reproducible from the seed."""

import numpy as np
import pytest

from benchmarks.shifted_digits import KINDS, write_shifted
from understudy.core.errors import InputError
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings
from understudy.evaluation.shift_tests import load_test_set

# Looking for changed copies among 800 digits for every kind would take seconds.
DIGITS = DataSettings(source="digits", changed_copies=False)


@pytest.fixture(scope="module")
def splits():
    return load_splits(DIGITS, seed=0)


@pytest.fixture(scope="module")
def few(splits):
    return splits.test.select(range(0, 900, 15))


def _ink(data):
    return np.array(
        [np.asarray(data.image(index).convert("L"), dtype=float).mean() for index in range(len(data))]
    )


def _in_order(data, ids):
    """Rows in the order of ``ids``, which name the files."""
    place = {
        path.rsplit("/", 1)[1].removesuffix(".png"): index
        for index, path in enumerate(data.provenance("source_path"))
    }
    return data.select([place[name] for name in ids])


def test_every_kind_is_a_test_set_of_a_run(few, splits, tmp_path):
    folders = write_shifted(few, tmp_path / "a", seed=0)
    assert list(folders) == list(KINDS)
    changed = {}
    for kind, folder in folders.items():
        learned_from = [splits.train, splits.val]
        test_set = load_test_set(
            kind, folder, class_names=few.class_names, learned_from=learned_from, settings=DIGITS
        )
        changed[kind] = _in_order(test_set.images, few.ids)
        assert test_set.classes == list(range(10))
        np.testing.assert_array_equal(changed[kind].labels, few.labels)
        assert changed[kind].image(0).size == (32, 32)
    own = _ink(few)
    assert (_ink(changed["thick-pen"]) > own).all() and (_ink(changed["thin-pen"]) < own).all()
    np.testing.assert_allclose(_ink(changed["slant"]), own, rtol=0.25)  # a corner may leave the image
    assert 0.3 < (_ink(changed["size"]) < own).mean() < 0.7
    again = write_shifted(few.select(range(5, 0, -1)), tmp_path / "b", seed=0)
    for kind, folder in again.items():
        for path in folder.rglob("*.png"):
            assert path.read_bytes() == (folders[kind] / path.relative_to(folder)).read_bytes()
    other = write_shifted(few.select([0]), tmp_path / "c", seed=1)
    assert all(
        path.read_bytes() != (folders["all"] / path.relative_to(other["all"])).read_bytes()
        for path in other["all"].rglob("*.png")
    )


def test_test_images_alone(splits, tmp_path):
    with pytest.raises(InputError, match="making shifted test sets needs a test set, got a train set"):
        write_shifted(splits.train, tmp_path, seed=0)
