"""Accuracy over set size on simulated predictions whose truth is known."""

import dataclasses
import json

import numpy as np
import pytest

from understudy.evaluation.accuracy import summarise
from understudy.evaluation.scale import stop_reason, summarise_scale
from understudy.training.records import ArmResult

NUM_TEST, NUM_CLASSES, SEEDS = 1000, 4, (0, 1, 2)
LABELS = np.arange(NUM_TEST) % NUM_CLASSES
REAL = {75: 0.60, 150: 0.65, 300: 0.70, 600: 0.75}
IMAGES = {1.0: 600, 2.0: 1200, 4.0: 2400, 8.0: 4800}


def _result(arm, rate, *, seeds=SEEDS, labels=LABELS, spread=0.004):
    """Right at ``rate``; which images are hard is the same for all, as in reality."""
    rng = np.random.default_rng([3, round(1e6 * rate)])
    hardness = np.random.default_rng(1).permutation(NUM_TEST) / NUM_TEST
    correct = hardness < rate + rng.normal(0, spread, size=(len(seeds), 1))
    predicted = np.where(correct, labels, (labels + 1) % NUM_CLASSES)
    return ArmResult(
        arm=arm,
        seeds=seeds,
        probabilities=np.eye(NUM_CLASSES)[predicted],
        labels=labels,
        val_accuracy=(0.5,) * len(seeds),
        seconds=1.0,
        val_loss=(0.1,) * len(seeds),
        steps=10,
        histories=({},) * len(seeds),
    )


def _summarise(synthetic, *, real=REAL, spread=0.004, seed=0):
    """Rates to what is said of them."""
    return summarise_scale(
        {size: _result("real", rate, spread=spread) for size, rate in real.items()},
        {
            arm: {time: _result(arm, rate, spread=spread) for time, rate in rates.items()}
            for arm, rates in synthetic.items()
        },
        IMAGES,
        num_resamples=300,
        seed=seed,
    )


def test_layout_is_json():
    scale = _summarise({"synthetic": {1.0: 0.55, 2.0: 0.62, 4.0: 0.80}, "mixed": {2.0: 0.76}})
    assert json.loads(json.dumps(scale, allow_nan=False)) == scale
    assert scale["times"] == [1, 2, 4] and scale["images"] == [600, 1200, 2400]
    assert [point["images"] for point in scale["real"]["curve"]] == [75, 150, 300, 600]
    assert set(scale["arms"]["synthetic"]) == {
        "curve",
        "marginal",
        "log_fit",
        "next_doubling",
        "worth_real_images",
        "overtakes_real_at",
        "minus_real",
    }
    for arm, length in (("synthetic", 3), ("mixed", 1)):
        parts = scale["arms"][arm]
        assert len(parts["curve"]) == len(parts["minus_real"]) == len(parts["worth_real_images"]) == length
        for point in parts["curve"]:
            assert set(point) == {"times", "images", "mean", "low", "high", "seeds"}
            assert point["low"] <= point["mean"] <= point["high"]
            assert point["mean"] == pytest.approx(np.mean(point["seeds"]))
    assert scale["arms"]["mixed"]["log_fit"] is scale["arms"]["mixed"]["next_doubling"] is None
    assert scale["arms"]["mixed"]["marginal"] == []


def test_known_truth():
    """0.72 + 0.02 log2(times), straight: overtakes 0.75 between 2 and 4 times; 0.72 lies 0.4 of the way from
    300 to 600.
    """
    rates = {1.0: 0.72, 2.0: 0.74, 4.0: 0.76, 8.0: 0.78}
    arm = _summarise({"synthetic": rates}, spread=0.0)["arms"]["synthetic"]
    assert arm["log_fit"]["intercept"]["mean"] == pytest.approx(0.72)
    assert arm["log_fit"]["per_doubling"]["mean"] == pytest.approx(0.02)
    assert arm["overtakes_real_at"]["times"] == 4
    assert [point["mean"] for point in arm["minus_real"]] == pytest.approx([-0.03, -0.01, 0.01, 0.03])
    worth = arm["worth_real_images"]
    assert [point["mean"] for point in worth] == [
        pytest.approx(300 * 2**0.4),
        pytest.approx(300 * 2**0.8),
        None,
        None,
    ]
    assert all(point["low"] <= point["mean"] <= point["high"] for point in worth[:2])
    assert worth[3]["low"] is None


def test_each_step_has_its_gain():
    """The last one covers two doublings; the next is read off the last three sizes and cannot pass 100%."""
    arm = _summarise({"synthetic": {1.0: 0.70, 2.0: 0.78, 8.0: 0.80}}, spread=0.0)["arms"]["synthetic"]
    assert [(step["from"], step["to"]) for step in arm["marginal"]] == [(1, 2), (2, 8)]
    assert [step["per_doubling"]["mean"] for step in arm["marginal"]] == pytest.approx([0.08, 0.01])
    for step in arm["marginal"]:
        assert step["per_doubling"]["low"] <= step["per_doubling"]["mean"] <= step["per_doubling"]["high"]
    assert arm["next_doubling"]["gain"] == arm["log_fit"]["per_doubling"]
    assert (arm["next_doubling"]["times"], arm["next_doubling"]["images"]) == (16, 9600)
    rates = {1.0: 0.5, 2.0: 0.97, 4.0: 0.98, 8.0: 0.995}
    near = _summarise({"synthetic": rates}, spread=0.0)["arms"]["synthetic"]["next_doubling"]["gain"]
    assert near["mean"] == near["high"] == pytest.approx(0.005)


def test_the_gain_of_a_step_is_the_paired_difference_over_its_doublings():
    summary = _summarise({"synthetic": {2.0: 0.70, 8.0: 0.74}})["arms"]["synthetic"]
    curve, (step,) = summary["curve"], summary["marginal"]
    assert step["per_doubling"]["mean"] == pytest.approx((curve[1]["mean"] - curve[0]["mean"]) / 2)
    arms = summarise([_result("real", 0.70), _result("synthetic", 0.74)])["synthetic"]["minus_real"]
    assert {end: 2 * value for end, value in step["per_doubling"].items()} == pytest.approx(arms)


def _reached(*val_accuracy):
    return dataclasses.replace(_result("synthetic", 0.7), val_accuracy=val_accuracy)


def test_the_rule_stops_after_a_step_without_a_clear_gain():
    gained, flat = _reached(0.80, 0.81, 0.82), _reached(0.802, 0.809, 0.821)
    before = _reached(0.70, 0.71, 0.72)
    assert stop_reason({"synthetic": {1.0: before}}, {1.0: 600}, below=1) is None, (
        "a size alone gained nothing yet"
    )
    assert stop_reason({"synthetic": {1.0: before, 2.0: gained}}, {1.0: 600, 2.0: 1200}, below=1) is None
    stopped = stop_reason(
        {"synthetic": {1.0: before, 2.0: gained, 4.0: flat}}, {1.0: 600, 2.0: 1200, 4.0: 2400}, below=1
    )
    assert (stopped["arm"], stopped["at"]) == ("synthetic", 4)
    assert stopped["gain"]["mean"] == pytest.approx(0.002 / 3)
    assert stopped["sentence"] == (
        "stopped at 4 times the real images: the last step gained synthetic +0.1 [-0.3, +0.4] points of "
        "validation accuracy per doubling"
    )
    assert json.loads(json.dumps(stopped)) == stopped


def test_the_rule_continues_while_one_arm_gains_and_images_are_left():
    before, gained = _reached(0.70, 0.71, 0.72), _reached(0.80, 0.81, 0.82)
    arms = {"synthetic": {1.0: before, 2.0: before}, "mixed": {1.0: before, 2.0: gained}}
    assert stop_reason(arms, {1.0: 600, 2.0: 1200}, below=1) is None
    assert stop_reason({"synthetic": arms["synthetic"]}, {1.0: 600, 2.0: 1200}, below=1)["arm"] == "synthetic"
    assert stop_reason(arms, {1.0: 600, 2.0: 600}, below=1)["gain"] == {"mean": 0, "low": 0, "high": 0}
    assert stop_reason({"synthetic": arms["synthetic"]}, {1.0: 600, 2.0: 1200}, below=0) is None, (
        "nothing lost either"
    )


def test_the_gain_is_per_doubling():
    """0.10 over two doublings is 0.05 for each."""
    arms = {"synthetic": {1.0: _reached(0.70, 0.71, 0.72), 4.0: _reached(0.80, 0.81, 0.82)}}
    assert stop_reason(arms, {1.0: 600, 4.0: 2400}, below=4.9) is None
    assert stop_reason(arms, {1.0: 600, 4.0: 2400}, below=5.1)["gain"]["mean"] == pytest.approx(0.05)


def test_seeds_widen_the_fit():
    rates = {1.0: 0.72, 2.0: 0.74, 4.0: 0.76}
    widths = []
    for spread in (0.0, 0.02):
        slope = _summarise({"synthetic": rates}, spread=spread)["arms"]["synthetic"]["log_fit"][
            "per_doubling"
        ]
        assert slope["low"] <= 0.02 <= slope["high"]
        widths.append(slope["high"] - slope["low"])
    assert widths[1] > 3 * widths[0] > 0


def test_ends_of_the_real_curve():
    arm = _summarise({"synthetic": {1.0: 0.3, 2.0: 0.95}})["arms"]["synthetic"]
    below, above = arm["worth_real_images"]
    assert (below["mean"], below["low"], below["high"]) == (75, 75, 75)
    assert (above["mean"], above["low"], above["high"]) == (None, None, None)
    assert _summarise({"synthetic": {1.0: 0.3}})["arms"]["synthetic"]["overtakes_real_at"]["times"] is None


def test_one_real_size_is_enough():
    arm = _summarise({"synthetic": {1.0: 0.3, 2.0: 0.95}}, real={600: 0.75})["arms"]["synthetic"]
    assert [point["mean"] for point in arm["worth_real_images"]] == [600, None]


def test_agrees_with_the_comparison_of_arms():
    scale = _summarise({"synthetic": {1.0: 0.8}}, seed=5)
    arms = summarise([_result("real", REAL[600]), _result("synthetic", 0.8)])
    for name, point in (
        ("real", scale["real"]["curve"][-1]),
        ("synthetic", scale["arms"]["synthetic"]["curve"][0]),
    ):
        assert arms[name]["accuracy"] == {key: point[key] for key in ("mean", "low", "high", "seeds")}
    assert {"times": 1.0} | arms["synthetic"]["minus_real"] == scale["arms"]["synthetic"]["minus_real"][0]


def test_figures_do_not_depend_on_other_arms_or_order():
    rates = {1.0: 0.7, 2.0: 0.72}
    alone = _summarise({"synthetic": rates})["arms"]["synthetic"]
    assert (
        alone
        == _summarise({"mixed": {4.0: 0.8}, "synthetic": dict(reversed(rates.items()))})["arms"]["synthetic"]
    )
    assert alone != _summarise({"synthetic": rates}, seed=1)["arms"]["synthetic"]


def test_equal_sizes_have_no_fit():
    """A cap on drawing can give two sizes the same number of images."""
    results = {time: _result("synthetic", rate) for time, rate in {1.0: 0.7, 2.0: 0.71}.items()}
    scale = summarise_scale(
        {600: _result("real", 0.75)}, {"synthetic": results}, {1.0: 500, 2.0: 500}, num_resamples=50, seed=0
    )
    assert scale["arms"]["synthetic"]["log_fit"] is scale["arms"]["synthetic"]["next_doubling"] is None
    assert scale["arms"]["synthetic"]["marginal"] == []


@pytest.mark.parametrize(
    ("real", "synthetic", "message"),
    [
        ({}, {}, "real must have results"),
        (
            {600: _result("real", 0.7)},
            {"synthetic": {3.0: _result("synthetic", 0.7)}},
            r"every size of 'synthetic', got none for \[3.0\]",
        ),
        (
            {600: _result("real", 0.7), 75: _result("real", 0.6, seeds=(0, 1))},
            {},
            "real on 75 images has others",
        ),
        (
            {600: _result("real", 0.7)},
            {"synthetic": {1.0: dataclasses.replace(_result("synthetic", 0.7), labels=LABELS[::-1])}},
            "synthetic at 1.0 times has others",
        ),
    ],
)
def test_arguments_are_checked(real, synthetic, message):
    with pytest.raises(ValueError, match=message):
        summarise_scale(real, synthetic, IMAGES, num_resamples=10, seed=0)
