"""Memorisation of sets that hold as many copies as we put there."""

import json

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from understudy.core.errors import InputError
from understudy.data.copies import CopyFinder
from understudy.data.labelled_set import LabelledSet
from understudy.data.load import load_splits
from understudy.data.settings import DataSettings
from understudy.evaluation.memorisation import measure_memorisation


@pytest.fixture(scope="module")
def splits():
    return load_splits(DataSettings(source="digits"), seed=0)


@pytest.fixture(scope="module")
def copies(splits):
    return CopyFinder(splits.train, splits.val)


def features(data):
    return data.pixels(8).reshape(len(data), -1).astype(np.float32)


def drawn(data, *, sources=None):
    columns = {} if sources is None else {"source_id": sources}
    images = [data.image(index) for index in range(len(data))]
    return LabelledSet.from_images(
        images, data.labels, class_names=data.class_names, split="synthetic", provenance=columns
    )


def measured(synthetic, copies, **changes):
    options = {"features": features, "firewall": "flag", "removed": 0, "seed": 0, "num_resamples": 50}
    return measure_memorisation(synthetic, copies, **options | changes)


@pytest.mark.slow
def test_real_images_are_as_close_as_real_images(splits, copies):
    found = measured(drawn(splits.test.select(range(300))), copies)
    json.dumps(found, allow_nan=False)
    assert set(found["spaces"]) == {"pixel", "feature"}
    for space in found["spaces"].values():
        assert space["closer_than_held_out"]["low"] < 0.5 < space["closer_than_held_out"]["high"]
        assert space["synthetic_to_source"] is None
        assert space["synthetic_to_train"]["median"] == pytest.approx(
            space["held_out_to_train"]["median"], rel=0.1
        )
    assert found["firewall"]["flagged"] <= 3
    assert found["firewall"]["false_alarms"]["held_out"] <= 0.01
    assert found["firewall"]["false_alarms"]["images"] == 200


def test_copies_are_counted_shown_and_closer(splits, copies):
    half = np.concatenate(
        [
            splits.train.pixels(32)[:20],
            splits.train.pixels(32)[20:40, :, :, ::-1],
            splits.test.pixels(32)[:40],
        ]
    )
    labels = np.concatenate([splits.train.labels[:40], splits.test.labels[:40]])
    mixed = LabelledSet.from_images(half, labels, class_names=splits.train.class_names, split="synthetic")
    found = measured(mixed, copies, removed=3)
    assert found["firewall"] | {"threshold": 0, "basis": "", "false_alarms": {}} == {
        "setting": "flag",
        "threshold": 0,
        "basis": "",
        "false_alarms": {},
        "flagged": 40,
        "exact": 20,
        "removed": 3,
        "compared": "all",
    }
    assert found["spaces"]["pixel"]["closer_than_held_out"]["mean"] == pytest.approx(0.75, abs=0.05)
    assert found["spaces"]["pixel"]["synthetic_to_train"]["min"] == 0
    assert len(found["closest"]) == 20
    assert {pair["flag"] for pair in found["closest"]} == {"exact copy"}
    assert {pair["nearest"] for pair in found["closest"]} == set(splits.train.ids[:20])
    assert all(pair["held_out_percentile"] == 0 for pair in found["closest"])
    off = measured(mixed, copies, firewall="off")["firewall"]
    assert (off["threshold"], off["false_alarms"], off["flagged"], off["exact"]) == (None, None, 0, 0)


def test_the_record_says_that_an_index_was_used(splits, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr("understudy.data.row_index.MOST_COMPARED", 0)
    monkeypatch.setattr("understudy.data.copy_search._FEWEST", 0)
    found = measured(drawn(splits.test.select(range(40))), CopyFinder(splits.train, splits.val))
    assert found["firewall"]["compared"] == "those of an index"


def test_with_the_firewall_off_some_images_are_measured(splits, copies, monkeypatch):
    synthetic = drawn(splits.test.select(range(60)))
    monkeypatch.setattr("understudy.evaluation.memorisation._MAX_UNFLAGGED", 40)
    assert measured(synthetic, copies)["images"] == {"synthetic": 60, "held_out": len(splits.val)}
    off = measured(synthetic, copies, firewall="off")
    assert off["images"] == {"synthetic": 40, "held_out": 40}
    assert set(off["spaces"]) == {"pixel", "feature"}
    assert off == measured(synthetic, copies, firewall="off")
    assert {pair["id"] for pair in off["closest"]} <= set(synthetic.ids)


def test_feature_distances_equal_scikit_learns(splits, copies):
    synthetic = drawn(splits.test.select(range(30)))
    train = NearestNeighbors(n_neighbors=1).fit(normalize(features(splits.train)))
    distances = train.kneighbors(normalize(features(synthetic)))[0][:, 0]
    found = measured(synthetic, copies)["spaces"]["feature"]["synthetic_to_train"]
    assert found == {
        "median": pytest.approx(np.median(distances)),
        "p05": pytest.approx(np.percentile(distances, 5)),
        "min": pytest.approx(distances.min()),
    }


def test_sources_are_those_of_their_images(splits, copies):
    """Of four images two have a source, and one of them is it."""
    names = [splits.train.ids[5], "", None, splits.train.ids[1]]
    data = LabelledSet.from_images(
        splits.train.pixels(32)[[5, 6, 7, 8]],
        [0] * 4,
        class_names=splits.train.class_names,
        split="synthetic",
        provenance={"source_id": names},
    )
    spaces = measured(data, copies)["spaces"]
    for name in ("pixel", "feature"):
        distances = spaces[name]["synthetic_to_source"]
        assert distances["min"] == pytest.approx(0, abs=1e-6)
        assert distances["median"] > 0.1


def test_pixels_alone_and_nothing_drawn(splits, copies):
    synthetic = drawn(splits.test.select(range(3)))
    assert set(measured(synthetic, copies, features=None)["spaces"]) == {"pixel"}
    nothing = measured(synthetic.select([]), copies)
    assert (nothing["spaces"], nothing["closest"], nothing["firewall"]["flagged"]) == ({}, [], 0)


def test_only_synthetic_images_are_measured(splits, copies):
    with pytest.raises(InputError, match="measuring memorisation needs a synthetic set, got a test set"):
        measured(splits.test, copies)
