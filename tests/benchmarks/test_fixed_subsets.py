"""The committed few-shot subsets match what the code chooses, are nested, and come from the train split
alone.
"""

import functools
import json

import numpy as np
import pytest

from benchmarks.fixed_subsets import MOST, PATH, SEED, SUBSETS
from understudy.core.errors import InputError
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings

COMMITTED = json.loads(PATH.read_text())


@functools.cache
def load(**settings):
    return load_splits(DataSettings(source="digits", **settings), seed=SEED)


@pytest.mark.parametrize(
    ("number", "shots"), [*((number, 4) for number in range(SUBSETS)), (0, 1), (0, MOST)]
)
def test_the_first_k_of_a_subset_are_its_k_shots(number, shots):
    train = load(shots=shots, subset=number).train
    for label, name in enumerate(train.class_names):
        chosen = {train.ids[index] for index in np.flatnonzero(train.labels == label)}
        assert chosen == set(COMMITTED[str(number)][name][:shots])


def test_subsets_differ_and_splits_do_not():
    one, other, whole = load(shots=4, subset=0), load(shots=4, subset=1), load()
    assert set(one.train.ids) != set(other.train.ids)
    assert one.test.ids == other.test.ids == whole.test.ids
    for part in (one, other):
        assert set(part.train.ids) < set(whole.train.ids)
        assert set(part.val.ids) < set(whole.val.ids)


def test_more_shots_than_images_names_the_classes():
    with pytest.raises(
        InputError, match=r"at least 100 different images for 100 shots, but 'digit 0' has 59"
    ):
        load(shots=100, subset=0)
