"""Cases, claims and tables of the studies of matching."""

import numpy as np
import pytest

from benchmarks import matching_studies
from benchmarks.matching_studies import BATCHES, CASES, DELIBERATE, SEEDS, SEEN, STUDIES
from understudy.settings import build

ENCODERS = ("mini's image encoder", "letters ResNet")


def measured(chosen=94.0):
    """Rows in which each doubling of plain images gains 2 points, and wide guidance costs 5."""
    levels = {"plain, 1x": 92.0, "plain, 2x": 94.0, "plain, 4x": 96.0, DELIBERATE: chosen}
    levels |= {"guidance 3.5": 85.0, "vanilla": 70.0, "weight 1": 78.0}
    rng = np.random.default_rng(0)
    return [
        {
            "study": drawn.study,
            "set": drawn.name,
            "seed": seed,
            "images": 200,
            "accuracy": {arm: levels.get(drawn.name, 90.0) + 0.2 * rng.random() for arm in drawn.arms},
            "squared MMD": {encoder: 0.2 + 0.001 * rng.random() for encoder in ENCODERS},
        }
        for case in CASES
        for drawn in case.sets
        for seed in SEEDS
    ]


def test_every_case_is_a_run_whose_sets_have_settings():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) == 12 + 1 + 3 + 1 + 1
    for case in CASES:
        settings = matching_studies._settings(case, 0)
        for drawn in case.sets:
            build(settings.model_dump(), drawn.changes)
            matching_studies._settings(case, 0, smoke=True)


def test_batches_see_equally_many_images_and_weights_are_multiples():
    cases = [case for case in CASES if case.sets[0].study == "weights"]
    settings = [matching_studies._settings(case, 0).adapt for case in cases]
    assert {adapt.steps * adapt.batch_size for adapt in settings} == {SEEN}
    assert {adapt.batch_size for adapt in settings} == set(BATCHES)
    weights = {adapt.distribution_weight for adapt in settings} - {None}
    assert sorted(weights) == pytest.approx([0.192, 1.92, 19.2])
    assert all(adapt.keeps_last for adapt in settings)


def test_claims_follow_from_the_rows():
    found = {claim.claim: claim for claim in matching_studies._claims(measured())}
    cost = found["guidance: mixed, guidance 3.5 minus guidance 1, accuracy in points"]
    assert cost.value == pytest.approx(-5, abs=0.2) and cost.high < -4
    assert len([claim for claim in found if claim.startswith("weights: ")]) == 9 * 3
    assert "encoders: mixed, drawn, two encoders minus drawn, accuracy in points" in found
    assert "strengths: mixed, strength 0.5 minus all strengths, accuracy in points" in found
    assert "strengths: all strengths, curriculum minus bridged, accuracy in points" in found
    share = found["exemplars: share of the gain of fine-tuning, synthetic"]
    assert share.met and share.value == pytest.approx((78 - 70) / (90 - 70), abs=0.03)
    worth = found[f"{DELIBERATE}: plain images with the accuracy of one that it chose"]
    assert worth.met and worth.value == pytest.approx(2, rel=0.1)
    assert worth.low < 2 < worth.high < 2.5


def test_chosen_images_that_are_worse_are_worth_less_than_one():
    found = {claim.claim: claim for claim in matching_studies._claims(measured(chosen=90.0))}
    worth = found[f"{DELIBERATE}: plain images with the accuracy of one that it chose"]
    assert not worth.met and worth.value == pytest.approx(0.5, rel=0.1)


def test_ratios_beyond_every_number_are_infinite():
    """Doublings gain next to nothing, but do so in each seed, which bounds the interval of the ratio."""
    rows = measured()
    for row in rows:
        doublings = {"plain, 1x": 0, "plain, 2x": 1, "plain, 4x": 2}.get(row["set"])
        if doublings is not None:
            row["accuracy"]["synthetic"] = 90 + (1 + 0.01 * row["seed"]) * 1e-3 * doublings
    found = {claim.claim: claim for claim in matching_studies._claims(rows)}
    worth = found[f"{DELIBERATE}: plain images with the accuracy of one that it chose"]
    assert (worth.value, worth.low, worth.high) == (np.inf, np.inf, np.inf)


def test_a_study_without_all_rows_is_left_out():
    rows = [row for row in measured() if (row["study"], row["seed"]) != ("encoders", 2)]
    titles = [table["title"].split(":")[0] for table in matching_studies._tables(rows)]
    assert titles == [study for study in STUDIES if study != "encoders"]


def test_tables_have_a_cell_for_every_column():
    tables = matching_studies._tables(measured())
    assert [len(table["rows"]) for table in tables] == [12, 4, 4, 3, 2, 5]
    assert all(len(row) == len(table["columns"]) for table in tables for row in table["rows"])
