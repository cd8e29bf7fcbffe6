"""Claims and tables of the benchmarks whose smoke run leaves them out; `test_again` tests the others.

They must not fail after hours of measuring.
"""

import json
import math
from pathlib import Path

import pytest

from benchmarks import (
    bridged_transfer,
    content_gap_cifar10,
    controls,
    demo_runs,
    few_images,
    longer_trainings,
    natural_images,
    other_writers,
    photographs,
    real_fake,
    style_inversion,
)
from understudy.training.settings import DEFAULT_ARMS

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def stored(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]


def of_controls():
    """An arm with synthetic images is 1 point better than `real`, plus 0.1 points per subset."""
    rows = []
    for case in controls.CASES:
        for shots in case.shots:
            for subset in controls.SUBSETS:
                arms = {}
                for arm in case.arms:
                    gain = 0.0 if arm in ("real", "real+val") else 0.01 + 0.001 * subset
                    recall = [0.5 + gain] * 10
                    arms[arm] = {"accuracy": 0.5 + gain, "per_class": recall}
                rows.append({"case": case.name, "shots": shots, "subset": subset, "arms": arms})
    return controls._claims(rows), controls._tables(rows)


def of_demo_runs():
    """``bridged`` gains 2 points and 1 more if trained again; two of five judge it by other trainings."""
    rows = []
    for seed in demo_runs.SEEDS:
        means = {**dict.fromkeys(DEFAULT_ARMS, 0.9), "bridged": 0.92, "bridged+val": 0.93}
        arms = {name: {"accuracy": {"mean": mean + 0.001 * seed}} for name, mean in means.items()}
        verdict = {"best": "bridged", "against_val": "bridged+val", "helps": seed % 2 == 0}
        judged = {"judged": {"mean": 0.91 + 0.001 * seed}} if seed % 2 else {}
        rows.append({"seed": seed, "arms": arms, "verdict": verdict | judged})
    return demo_runs._claims(rows), demo_runs._tables(rows)


def of_other_writers():
    accuracy = {of: dict.fromkeys(DEFAULT_ARMS, 0.8) for of in ("digits", "usps")}
    rows = [
        {"case": case, "repeat": repeat, "images": 2007, "accuracy": accuracy}
        for case in other_writers.CASES
        for repeat in other_writers.REPEATS
    ]
    return other_writers._claims(rows), other_writers._tables(rows)


def of_longer_trainings():
    """The gap grows by 1 point with every doubling, and soft labels close half of it."""
    rows = [
        {
            "case": case,
            "repeat": repeat,
            "steps": {
                str(steps): {
                    arm: {"test": 0.95 - 0.01 * (1 + doublings) * lost, "val": 0.9 + 0.01 * doublings}
                    for arm, lost in zip(longer_trainings.ARMS, (0, 1, 0.5, 0), strict=True)
                }
                for doublings, steps in enumerate(longer_trainings.STEPS)
            },
        }
        for case in longer_trainings.CASES
        for repeat in longer_trainings.REPEATS
    ]
    return longer_trainings._claims(rows), longer_trainings._tables(rows)


def of_photographs():
    """Synthetic images gain 2 points over real ones, as strong augmentation does."""
    rows = [
        {
            "set": name,
            "shots": shots,
            "repeat": repeat,
            "generator": generator,
            "backbone": backbone,
            "accuracy": {arm: 0.5 + 0.02 * (arm != "real") + 0.01 * repeat for arm in photographs.ARMS},
            "seconds": {"adapt": 60.0},
        }
        for name in photographs.SETS
        for shots in photographs.SHOTS
        for repeat in photographs.REPEATS
        for generator in photographs.GENERATORS
        for backbone in photographs.BACKBONES
    ]
    return photographs._claims(rows), photographs._tables(rows)


def of_bridged_transfer():
    every = stored("bridged_transfer")
    rows = [row for row in every if not row["case"].startswith("tuning")]
    trials = {row["arm"]: row["trials"] for row in every if row["case"].startswith("tuning")}
    for arm in few_images.ARMS:  # arms that were added after they were measured
        trials.setdefault(arm, trials["bridged"])
        for row in rows:
            row["arms"].setdefault(arm, row["arms"].get("bridged"))
    chosen = dict.fromkeys(bridged_transfer.SHOTS, trials)
    return bridged_transfer._claims(rows), bridged_transfer._tables(rows, chosen)


def of_cifar10():
    *rows, gap = stored("content_gap_cifar10")
    return content_gap_cifar10._claims(rows, gap), [content_gap_cifar10._arms_table(rows)]


def of_natural_images():
    (row,) = stored("natural_images")
    return natural_images._claims(row), [natural_images._table(row)]


def of_real_fake():
    rows = stored("real_fake")
    measured = {row["case"] for row in rows}
    later = [case.name for case in real_fake.CASES if case.name not in measured]
    fine_tuned = [row for row in rows if row["case"] == "fine-tuning"]
    rows += [row | {"case": name} for name in later for row in fine_tuned]
    return real_fake._claims(rows), real_fake._tables(rows)


def of_style_inversion():
    rows = stored("style_inversion")
    return style_inversion._claims(rows), style_inversion._tables(rows)


@pytest.mark.parametrize(
    "benchmark",
    [
        of_bridged_transfer,
        of_cifar10,
        of_controls,
        of_demo_runs,
        of_longer_trainings,
        of_natural_images,
        of_other_writers,
        of_photographs,
        of_real_fake,
        of_style_inversion,
    ],
)
def test_rows_give_claims_and_tables(benchmark):
    claims, tables = benchmark()
    assert claims and tables
    assert len({claim.claim for claim in claims}) == len(claims)
    assert all(math.isfinite(claim.value) for claim in claims)
    for table in tables:
        assert table["title"]
        assert table["rows"] and all(len(row) == len(table["columns"]) for row in table["rows"])
        assert all(isinstance(text, str) for row in table["rows"] for text in row)


def test_the_gap_by_length_of_training_is_that_of_the_rows():
    claims, (table, doubled, *_) = of_longer_trainings()
    values = {claim.claim: claim.value for claim in claims}
    assert values["10 per class, 100 steps: real minus synthetic, points"] == pytest.approx(1)
    assert values["10 per class: that difference with 400 steps minus with 100, points"] == pytest.approx(2)
    assert [row[-1] for row in table["rows"]] == ["50 [50, 50]"] * 3
    assert all(text.startswith("**1.0") for row in doubled["rows"] for text in row[1:])


def test_gains_of_the_demo_are_those_of_the_rows():
    claims = {claim.claim: claim for claim in of_demo_runs()[0]}
    again = claims["the demo: the chosen arm, trained again, minus real+val"]
    assert (again.value, again.met) == (pytest.approx(3), True)
    assert claims["the demo: the chosen arm, minus real"].value == pytest.approx(1.6)
    assert claims["the demo: mixed minus real"].value == pytest.approx(0)


def test_gains_of_controls_are_those_of_the_rows():
    claims = {claim.claim: claim for claim in of_controls()[0]}
    gain = claims["1 per class, mini: bridged minus real, points"]
    assert gain.value == pytest.approx(1.2)
    assert gain.met
    nothing = claims["1 per class, mini: bridged minus bridged@retrieved, points"]
    assert (nothing.value, nothing.met) == (pytest.approx(0), False)
    assert not [claim for claim in claims if "4 per class" in claim and "withheld" in claim]  # not run
