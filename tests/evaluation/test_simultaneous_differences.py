"""Differences of arms with intervals that hold at once: which rows there are, and how wide they are."""

import json

import numpy as np

from understudy.evaluation.accuracy import summarise
from understudy.evaluation.simultaneous import differences_at_once
from understudy.training.records import ArmResult

LABELS = np.repeat([0, 1], [150, 50])


def result(arm, share, seed):
    rng = np.random.default_rng(seed)
    predicted = np.where(rng.random((3, len(LABELS))) < share, LABELS, 1 - LABELS)
    return ArmResult(
        arm=arm,
        seeds=(0, 1, 2),
        probabilities=np.eye(2)[predicted],
        labels=LABELS,
        val_accuracy=(0.5,) * 3,
        val_loss=(0.1,) * 3,
        seconds=1.0,
        steps=10,
        histories=({},) * 3,
    )


def test_rows_are_those_of_the_table_and_wider():
    names = ("real", "mixed", "mixed@matched", "mixed@diverse", "synthetic")
    results = [result(name, 0.8 + 0.02 * seed, seed) for seed, name in enumerate(names)]
    found, arms = differences_at_once(results, seed=0), summarise(results)
    assert json.loads(json.dumps(found)) == found
    for measure in ("accuracy", "balanced_accuracy"):
        assert set(found[measure]["minus_real"]) == set(names) - {"real"}
        assert set(found[measure]["minus_plain"]) == {"mixed@matched", "mixed@diverse"}
        for field, rows in found[measure].items():
            for arm, wide in rows.items():
                alone = (arms[arm] if measure == "accuracy" else arms[arm][measure])[field]
                assert wide["low"] < alone["low"] < alone["high"] < wide["high"]


def test_one_difference_is_no_table():
    assert differences_at_once([result("real", 0.8, 0), result("mixed", 0.9, 1)], seed=0) == {
        "accuracy": {},
        "balanced_accuracy": {},
    }
