"""Means over runs, and what a study says."""

import numpy as np
import pytest
from scipy import stats

from understudy.evaluation.repeats import over_runs, study_sentence, summarise_points


def ends(mean, half=0.01):
    return {"mean": mean, "low": mean - half, "high": mean + half}


def row(point, **gains):
    arms = {"real": 0.0} | gains
    return {
        "point": point,
        "arms": {
            name: {
                "accuracy": ends(0.8 + gain),
                "minus_real": ends(gain),
                "val_accuracy": 0.7 + gain,
                "steps": 10,
            }
            for name, gain in arms.items()
        },
    }


def points(*values):
    return [{"point": value, "label": str(value)} for value in values]


def sentence(rows, values, *, ordered, unit="prompt set", drawn=("mixed", "synthetic")):
    return study_sentence(
        summarise_points(rows, points(*values)), unit=unit, ordered=ordered, candidates=drawn
    )


def test_intervals_over_runs_are_those_of_scipy():
    values = [0.61, 0.64, 0.66]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    measured = over_runs([ends(value) for value in values], lowest=0, highest=1)
    assert measured == {
        "mean": pytest.approx(np.mean(values)),
        "low": pytest.approx(low),
        "high": pytest.approx(high),
    } | {
        "runs": values,
        "interval": "runs",
        "spread": {"between": pytest.approx(np.std(values, ddof=1)), "within": pytest.approx(0.01 / 1.96)},
    }


def test_runs_may_beat():
    rows = [row("a", mixed=gain) for gain in (0.02, 0.021, 0.022)]
    assert "mixed beats the real images alone by 2.1 points [" in sentence(rows, "a", ordered=False)


def test_one_run_has_its_own_interval():
    assert over_runs([ends(0.9, 0.2)], lowest=0, highest=1) == ends(0.9, 0.2) | {
        "runs": [0.9],
        "interval": "images",
    }


def test_intervals_are_cut_at_possible_values():
    measured = over_runs([ends(0.9), ends(1.0)], lowest=0, highest=1)
    assert (measured["low"], measured["mean"], measured["high"]) == (pytest.approx(0.3147, abs=1e-4), 0.95, 1)


def test_runs_with_equal_means_keep_the_interval_of_one_run():
    measured = over_runs([ends(1.0, 0.02), ends(1.0, 0.04)], lowest=0, highest=1)
    assert measured["low"] == pytest.approx(1 - (0.02 + 0.04) / 2)
    assert measured["interval"] == "images"


def test_the_variance_of_runs_and_that_of_test_images_add_up():
    """Each end on its own: squared distances to the mean add up."""
    runs = [{"mean": mean, "low": mean - 0.03, "high": mean + 0.001} for mean in (0.61, 0.62, 0.615)]
    alone = over_runs(runs, lowest=0, highest=1)
    found = over_runs(runs, lowest=0, highest=1, test_images=True)
    assert (found["interval"], found["mean"]) == ("runs and images", alone["mean"])
    assert (found["mean"] - found["low"]) ** 2 == pytest.approx((alone["mean"] - alone["low"]) ** 2 + 0.03**2)
    assert (found["high"] - found["mean"]) ** 2 == pytest.approx(
        (alone["high"] - alone["mean"]) ** 2 + 0.001**2
    )
    assert over_runs([ends(0.9), ends(1.0)], lowest=0, highest=1, test_images=True)["high"] == 1


@pytest.mark.parametrize("shared", [0.5, 1.0])
def test_the_interval_over_runs_covers_the_truth_of_other_test_images(shared):
    """What a run's test images add is shared by the runs to this part; 4,000 experiments of five runs each.

    With the larger of the two distances, 91% were covered if all of it is shared.
    """
    rng, covered = np.random.default_rng(0), []
    for _ in range(4000):
        of_images = 0.01 * (np.sqrt(shared) * rng.normal() + np.sqrt(1 - shared) * rng.normal(size=5))
        measured = [ends(mean, 0.0196) for mean in of_images + 0.015 * rng.normal(size=5)]
        found = over_runs(measured, lowest=-1, highest=1, test_images=True)
        covered.append(found["low"] <= 0 <= found["high"])
    assert np.mean(covered) >= 0.95


def test_points_keep_their_order_and_those_without_a_run_are_left_out():
    rows = [row("b", mixed=0.1), row("a", mixed=0.2), row("b", mixed=0.3, synthetic=0.0)]
    summaries = summarise_points(rows, points("b", "c", "a"))
    assert [(summary["point"], summary["label"], summary["runs"]) for summary in summaries] == [
        ("b", "b", 2),
        ("a", "a", 1),
    ]
    assert list(summaries[0]["arms"]) == ["real", "mixed", "synthetic"]
    assert summaries[0]["arms"]["synthetic"]["accuracy"]["runs"] == [0.8], "an arm that only one run has"
    assert summaries[0]["arms"]["mixed"]["val_accuracy"] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("gain", "claim"),
    [
        (0.02, "mixed gains 2.0 points [1.0, 3.0] over the real images alone"),
        (-0.02, "mixed is worse than the real images alone by 2.0 points [1.0, 3.0]"),
        (0.005, "no difference between mixed and the real images alone is shown, +0.5 points [-0.5, +1.5]"),
    ],
)
def test_the_sentence_claims_no_more_than_the_interval_shows(gain, claim):
    rows = [row("a", mixed=gain, synthetic=-0.3), row("b", mixed=gain - 0.1, synthetic=-0.2)]
    assert (
        sentence(rows, "ab", ordered=False)
        == f"Of 2 prompt sets, a did best on validation images: there, {claim} (1 run)."
    )
    assert sentence(rows[:1], "a", ordered=False) == f"With the prompt set a, {claim} (1 run)."
    assert sentence(rows[:1], "a", ordered=True, unit="images") == f"With a images, {claim} (1 run)."


def test_the_choice_is_made_on_validation_images():
    rows = [row("a", mixed=0.02), row("b", mixed=0.05)]
    rows[0]["arms"]["mixed"]["val_accuracy"] = 0.99
    assert "a did best on validation images: there, mixed gains" in sentence(rows, "ab", ordered=False)
    rows = [row(1, mixed=0.02, synthetic=0.0), row(2, mixed=0.05, synthetic=0.01)]
    for each in rows:
        each["arms"]["synthetic"]["val_accuracy"] = 0.99
    assert "between synthetic and the real" in sentence(rows, (1, 2), ordered=True)


def test_two_yardsticks_are_no_trend():
    """At the second point, real-long trained for as many steps as the arm; at the first, it did not."""
    rows = [row(5, mixed=0.02), row(10, mixed=0.04)]
    rows[1]["arms"]["mixed"] |= {"minus_real_long": ends(0.01), "steps": 20}
    assert sentence(rows, (5, 10), ordered=True, unit="images") == (
        "With 5 images, the difference between mixed and the real images alone is +2.0 [+1.0, +3.0] points; "
        "with 10, that to the real images alone for as many steps (real-long) is +1.0 [+0.0, +2.0] points (1 "
        "run each)."
    )


def test_ordered_points_are_compared_first_to_last():
    rows = [
        row(1),
        row(5, mixed=-0.01),
        row(10, mixed=0.02),
        row(10, mixed=0.02),
        row(20, mixed=0.03),
        row(20, mixed=0.03),
    ]
    assert sentence(rows, (1, 5, 10, 20), ordered=True, unit="images") == (
        "From 5 to 20 images, the difference between mixed and the real images alone goes from -1.0 [-2.0, "
        "+0.0] to +3.0 [+2.0, +4.0] points (1 to 2 runs each)."
    )


def test_no_arm_with_synthetic_images():
    assert (
        sentence([row("a")], "a", ordered=False)
        == "No arm used synthetic images, so nothing is known of their worth."
    )


def test_a_longer_arm_is_compared_with_real_long():
    row_of = {"point": 1, "arms": {"real": {}, "bridged": {}}}
    for name, steps, gain in (("real", 10, 0.0), ("bridged", 20, 0.1)):
        row_of["arms"][name] = {
            "accuracy": ends(0.8 + gain),
            "minus_real": ends(gain),
            "val_accuracy": 0.7 + gain,
            "steps": steps,
        }
    options = {"unit": "images", "ordered": True, "candidates": ["bridged"]}
    (alone,) = summarise_points([row_of, row_of], [{"point": 1, "label": "1"}])
    assert "trained for fewer steps; add the arm real-long" in study_sentence([alone], **options)
    row_of["arms"]["bridged"]["minus_real_long"] = ends(-0.05)
    (point,) = summarise_points([row_of, row_of], [{"point": 1, "label": "1"}])
    assert point["arms"]["bridged"]["minus_real_long"]["mean"] == pytest.approx(-0.05)
    assert "for as many steps (real-long)" in study_sentence([point], **options)
    assert "is worse than" in study_sentence([point], **options)
