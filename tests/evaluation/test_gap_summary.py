"""The gap taken apart: generators whose only fault is known, and simulated arms with known rates."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from understudy.evaluation.accuracy import summarise
from understudy.evaluation.gap import summarise_gap
from understudy.training.records import ArmResult

SEEDS = (0, 1, 2, 3, 4)
NUM_TEST, NAMES = 2000, ("cat", "dog", "hen", "pig")
LABELS = np.arange(NUM_TEST) % len(NAMES)
RATES = {
    "real": 0.9,
    "plain": 0.6,
    "filtered": 0.65,
    "fresh": 0.68,
    "filtered+fresh": 0.7,
    "diverse": 0.62,
    "matched": 0.61,
}


def _result(role, predicted, labels, *, val=0.5, num_classes=4):
    num = len(predicted)
    return ArmResult(
        arm=role,
        seeds=SEEDS[:num],
        probabilities=np.eye(num_classes)[predicted],
        labels=labels,
        val_accuracy=(val,) * num,
        val_loss=(0.1,) * num,
        seconds=1.0,
        steps=10,
        histories=({},) * num,
    )


def _arm(role, rate, *, val=None, spread=0.004):
    """Right at ``rate``; which images are hard is the same for all."""
    rng = np.random.default_rng([3, round(1e6 * rate)])
    hardness = np.random.default_rng(1).permutation(NUM_TEST) / NUM_TEST
    correct = hardness < rate + rng.normal(0, spread, size=(len(SEEDS), 1))
    return _result(
        role, np.where(correct, LABELS, (LABELS + 1) % len(NAMES)), LABELS, val=rate if val is None else val
    )


def _gap(rates, redrawn, **options):
    arms = {role: _arm(role, rate) for role, rate in rates.items()}
    reconstructed = {strength: _arm(f"redrawn {strength}", rate) for strength, rate in redrawn.items()}
    return summarise_gap(arms, reconstructed, class_names=NAMES, **options)


def _world(rng, num):
    """Two classes with two modes each, in turn along a line."""
    labels, modes = np.arange(num) % 2, rng.integers(0, 2, size=num)
    return (
        rng.normal(0, 1.2, size=(num, 2)) + np.stack([5 * labels + 10 * modes, 0 * labels], axis=1),
        labels,
        modes,
    )


def _toy(generate):
    """The gap of a generator: points and labels and modes to points, labels and which of them it can draw."""
    test, test_labels, _ = _world(np.random.default_rng(0), 800)

    def trained(name, sample):
        samples = [sample(np.random.default_rng([len(name), seed])) for seed in SEEDS]
        predicted = [KNeighborsClassifier(5).fit(*drawn).predict(test) for drawn in samples]
        return _result(name, np.stack(predicted), test_labels, num_classes=2)

    def real(rng):
        return _world(rng, 400)[:2]

    def redrawn(rng):
        return generate(*_world(rng, 400), redraw=True)

    def drawn(rng):
        return generate(*_world(rng, 400), redraw=False)

    arms = {"real": trained("real", real), "plain": trained("plain", drawn)}
    reconstructed = {0.1: trained("redrawn", redrawn)}
    return summarise_gap(
        arms,
        reconstructed,
        class_names="ab",
        real_again=[trained("another sample", real)],
    )


def test_a_dropped_mode_is_content():
    gap = _toy(
        lambda points, labels, modes, redraw: (
            points[keep := (labels == 1) | (modes == 0) | redraw],
            labels[keep],
        )
    )
    terms = gap["terms"]
    assert terms["total"]["mean"] > 0.15 and terms["content"]["distinguishable"]
    assert not terms["appearance"]["distinguishable"] and abs(terms["appearance"]["mean"]) < 0.02
    assert gap["hypothesis"]["outcome"] == "supported" and gap["largest"] == "content"


def test_a_shift_of_style_is_appearance():
    gap = _toy(lambda points, labels, modes, redraw: (points + np.array([3.5, 0]), labels))
    terms = gap["terms"]
    assert terms["total"]["mean"] > 0.15 and terms["appearance"]["distinguishable"]
    assert not terms["content"]["distinguishable"] and abs(terms["content"]["mean"]) < 0.02
    assert gap["hypothesis"]["outcome"] == "refuted" and gap["largest"] == "appearance"


def test_a_copy_of_the_real_world_has_no_gap():
    gap = _toy(lambda points, labels, modes, redraw: (points, labels))
    assert not gap["terms"]["total"]["distinguishable"]
    assert gap["hypothesis"]["outcome"] == "no gap" and gap["largest"] is None
    assert gap["hypothesis"]["sentence"].startswith("No drop to explain: plain synthetic images lose")
    assert {term["share"] for term in gap["terms"].values()} == {None}


def test_layout():
    gap = _gap(RATES, {0.2: 0.85, 0.05: 0.88}, gan_test={0.2: {"mean": 0.9, "low": 0.8, "high": 1.0}})
    assert json.loads(json.dumps(gap, allow_nan=False)) == gap
    assert gap["best"] == "filtered+fresh"
    assert set(gap["terms"]) == {
        *(
            "total",
            "recovered",
            "remaining",
            "appearance",
            "content",
            "quality",
            "quantity",
            "diversity",
            "matched",
        ),
    }
    assert all(
        set(term) == {"mean", "low", "high", "share", "distinguishable"} for term in gap["terms"].values()
    )
    assert set(gap["arms"]) == {*RATES, "reconstructed"}
    assert [point["strength"] for point in gap["sweep"]] == [0.05, 0.2]
    assert gap["sweep"][0]["accuracy"] == gap["arms"]["reconstructed"]["accuracy"]
    assert (
        gap["sweep"][1]["gan_test"] == {"mean": 0.9, "low": 0.8, "high": 1.0}
        and "gan_test" not in gap["sweep"][0]
    )
    assert gap["hypothesis"]["strength"] == 0.05
    assert gap["arms"]["plain"]["relative_drop"] == pytest.approx(1 / 3, abs=0.01)


def test_known_truth():
    terms = _gap(RATES, {0.05: 0.88, 0.8: 0.65})["terms"]
    truth = {
        "total": 0.3,
        "appearance": 0.02,
        "content": 0.18,
        "recovered": 0.1,
        "remaining": 0.2,
        "quality": 0.05,
        "quantity": 0.08,
        "diversity": 0.02,
        "matched": 0.01,
    }
    for name, value in truth.items():
        assert terms[name]["mean"] == pytest.approx(value, abs=0.01), name
        assert terms[name]["low"] <= terms[name]["mean"] <= terms[name]["high"]
        assert terms[name]["share"] == pytest.approx(value / 0.3, abs=0.04)
    assert sum(terms[name]["share"] for name in ("appearance", "content", "recovered")) == pytest.approx(1)


def test_both_orders():
    gap = _gap(RATES, {0.05: 0.88})
    for path, terms, between in (
        (gap["path"], ["quality", "quantity"], "filtered"),
        (gap["reverse_path"], ["quantity", "quality"], "fresh"),
    ):
        assert [step["term"] for step in path] == [*terms, "content", "appearance"]
        assert [(step["from"], step["to"]) for step in path[:2]] == [
            ("plain", between),
            (between, "filtered+fresh"),
        ]
        assert sum(step["mean"] for step in path[:2]) == pytest.approx(0.1, abs=0.01)
        assert sum(step["mean"] for step in path) == pytest.approx(gap["terms"]["total"]["mean"], abs=1e-9)
    assert _gap({role: RATES[role] for role in ("real", "plain", "fresh")}, {})["path"] == []


def test_intervals_are_those_of_the_comparison_of_arms():
    gap = _gap(RATES, {})
    arms = summarise([_arm("real", 0.9), _arm("plain", 0.6)])
    accuracy = {end: arms["plain"]["accuracy"][end] for end in ("mean", "low", "high")}
    assert gap["arms"]["plain"]["accuracy"] == accuracy
    assert gap["terms"]["total"]["mean"] == pytest.approx(-arms["plain"]["minus_real"]["mean"])
    assert gap["terms"]["total"]["low"] == pytest.approx(-arms["plain"]["minus_real"]["high"], abs=0.003)


def test_figures_do_not_depend_on_other_roles():
    few = {role: RATES[role] for role in ("real", "plain", "filtered")}
    whole, part = _gap(RATES, {0.05: 0.88}), _gap(few, {0.05: 0.88, 0.5: 0.7})
    for name in ("total", "appearance", "quality"):
        assert {end: whole["terms"][name][end] for end in ("mean", "low", "high")} == {
            end: part["terms"][name][end] for end in ("mean", "low", "high")
        }


def test_best_is_chosen_on_validation_images():
    arms = {
        "real": _arm("real", 0.9),
        "plain": _arm("plain", 0.6, val=0.7),
        "fresh": _arm("fresh", 0.8, val=0.65),
    }
    arms["filtered"] = _arm("filtered", 0.7, val=0.7)
    gap = summarise_gap(arms, {0.05: _arm("redrawn", 0.88)}, class_names=NAMES)
    assert gap["best"] == "plain"
    assert gap["terms"]["recovered"]["mean"] == 0
    assert (
        "no other sampling was better on validation images and content keeps 28."
        in gap["hypothesis"]["sentence"]
    )


@pytest.mark.parametrize(
    ("redrawn", "outcome", "words"),
    [
        (0.88, "supported", "of 29.8 points [27."),
        (
            0.66,
            "refuted",
            (
                "more than half. Of the rest, better sampling (filtered+fresh) recovers 9.7 and content "
                "keeps -3.5."
            ),
        ),
        (0.75, "undecided", "that may be less or more than half"),
        (None, "undecided", "no real image was redrawn"),
    ],
)
def test_hypothesis(redrawn, outcome, words):
    hypothesis = _gap(RATES, {} if redrawn is None else {0.05: redrawn})["hypothesis"]
    assert hypothesis["outcome"] == outcome
    assert hypothesis["sentence"].lower().startswith(outcome)
    assert words in hypothesis["sentence"]
    assert (hypothesis["strength"], hypothesis["excess"] is None) == (
        (None, True) if redrawn is None else (0.05, False)
    )


def test_synthetic_images_may_be_better():
    gap = _gap({"real": 0.6, "plain": 0.9}, {0.05: 0.58})
    assert gap["hypothesis"]["outcome"] == "no gap"
    assert gap["hypothesis"]["sentence"].startswith(
        "No drop to explain: plain synthetic images are better than real ones by 29.8 points ["
    )
    assert gap["terms"]["total"]["distinguishable"] and gap["terms"]["total"]["share"] is None


def test_noise_floor():
    redrawn, few = {0.05: 0.88}, {"real": 0.9, "plain": 0.6}
    alone = _gap(few, redrawn)
    assert alone["noise_floor"]["measured_by"] == "seeds" and alone["noise_floor"]["difference"] is None
    assert 0 < alone["noise_floor"]["floor"] == alone["noise_floor"]["seed_spread"] < 0.01
    assert alone["terms"]["appearance"]["distinguishable"]
    again = _gap(few, redrawn, real_again=[_arm("again", 0.85)])
    assert again["noise_floor"]["measured_by"] == "independent real sample"
    assert again["noise_floor"]["floor"] == pytest.approx(0.05, abs=0.01)
    assert again["noise_floor"]["difference"]["mean"] == again["noise_floor"]["floor"]
    assert again["terms"]["appearance"]["low"] > 0 and not again["terms"]["appearance"]["distinguishable"]
    halves = _gap(few, redrawn, real_again=[_arm("one half", 0.80), _arm("other half", 0.87)])
    assert halves["noise_floor"]["measured_by"] == "halves"
    assert halves["noise_floor"]["floor"] == pytest.approx(0.07, abs=0.01)


def test_one_seed_has_no_spread():
    arms = {
        role: _result(role, np.full((1, NUM_TEST), label), LABELS)
        for label, role in enumerate(("real", "plain"))
    }
    gap = summarise_gap(arms, {}, class_names=NAMES)
    assert gap["noise_floor"]["floor"] == 0
    assert not gap["terms"]["total"]["distinguishable"]


_HEN = {"total": 1, "appearance": 0, "content": 1, "recovered": 0}


def test_terms_of_the_only_class_are_those_of_all():
    """Its intervals are made of its own test images; with another class beside it they are fewer."""
    rates = {"real": 0.9, "plain": 0.6, "filtered": 0.7}

    def gap(labels):
        def of(role, rate):
            correct = _arm(role, rate).probabilities.argmax(axis=-1) == LABELS
            return _result(role, np.where(correct, labels, (labels + 1) % 4), labels, val=rate)

        arms = {role: of(role, rate) for role, rate in rates.items()}
        return summarise_gap(arms, {0.05: of("redrawn", 0.88)}, class_names=NAMES)

    whole = gap(np.ones(NUM_TEST, dtype=np.int64))
    intervals = whole["per_class"]["dog"]["intervals"]
    assert intervals == {
        name: {end: whole["terms"][name][end] for end in ("mean", "low", "high")}
        for name in ("total", "appearance", "content", "recovered")
    }
    assert all(whole["per_class"]["dog"][name] == term["mean"] for name, term in intervals.items())
    assert whole["per_class"]["cat"]["intervals"] is None
    halves = gap(np.arange(NUM_TEST) % 2)["per_class"]
    width = {
        name: row["intervals"]["total"]["high"] - row["intervals"]["total"]["low"]
        for name, row in halves.items()
        if row["intervals"]
    }
    assert set(width) == {"cat", "dog"}
    assert min(width.values()) > 1.2 * (intervals["total"]["high"] - intervals["total"]["low"]), (
        "half the images say less"
    )


def test_a_class_with_one_image_has_terms_and_no_interval():
    labels = np.where(np.arange(NUM_TEST) == 0, 3, np.arange(NUM_TEST) % 3)
    arms = {role: _result(role, np.tile(labels, (3, 1)), labels) for role in ("real", "plain")}
    pig = summarise_gap(arms, {}, class_names=NAMES)["per_class"]["pig"]
    assert pig["total"] == 0 and pig["intervals"] is None


def test_per_class():
    """A class without test images has no figures, and a plain set that never shows hens cannot name them."""
    labels = np.arange(NUM_TEST) % 3
    arms = {
        "real": _result("real", np.tile(labels, (3, 1)), labels),
        "plain": _result("plain", np.tile(np.where(labels == 2, 0, labels), (3, 1)), labels),
    }
    redrawn = _result("redrawn", np.tile(np.where(labels == 0, 1, labels), (3, 1)), labels)
    per_class = summarise_gap(arms, {0.05: redrawn}, class_names=NAMES)["per_class"]
    assert list(per_class) == list(NAMES)
    assert set(per_class["pig"].values()) == {None}
    intervals = per_class["hen"].pop("intervals")
    assert per_class["hen"] == {"real": 1, "reconstructed": 1, "plain": 0, "best": 0, **_HEN}
    assert {term: interval["mean"] for term, interval in intervals.items()} == _HEN
    certain = [term for term, interval in intervals.items() if interval["low"] == interval["high"]]
    assert certain == ["recovered"]  # nothing by definition; the other terms were measured on a few images
    assert (per_class["cat"]["appearance"], per_class["cat"]["content"], per_class["dog"]["total"]) == (
        1,
        -1,
        0,
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": {"real": _arm("real", 0.9)}}, "real and plain, and no other roles than plain, filtered"),
        (
            {"arms": {role: _arm(role, 0.5) for role in ("real", "plain", "better")}},
            "got real, plain, better",
        ),
        ({"real_again": [_arm("again", 0.9)] * 3}, "one result or the results of two halves, got 3"),
        ({"class_names": "ab"}, "class_names must have 4 names, got 2"),
        (
            {"reconstructed": {0.1: dataclasses.replace(_arm("redrawn", 0.9), seeds=(9, 1, 2, 3, 4))}},
            "'redrawn' has others",
        ),
        (
            {"real_again": [dataclasses.replace(_arm("again", 0.9), labels=LABELS[::-1])]},
            "'again' has others",
        ),
    ],
)
def test_arguments_are_checked(change, message):
    given = {
        "arms": {"real": _arm("real", 0.9), "plain": _arm("plain", 0.6)},
        "reconstructed": {},
        "class_names": NAMES,
    } | change
    with pytest.raises(ValueError, match=message):
        summarise_gap(given.pop("arms"), given.pop("reconstructed"), **given)


@pytest.mark.parametrize(("middle", "said"), [(0.85, True), (0.9, False)])
def test_the_sentence_says_that_a_gap_is_taken_before_the_plateau(middle, said):
    """``real`` rises from ``middle`` to 0.9 in the second half of its training."""
    curve = [{"step": step, "phase": 0, "val_accuracy": at} for step, at in ((5, middle), (10, 0.9))]
    arms = {role: _arm(role, RATES[role]) for role in ("real", "plain")}
    arms["real"] = dataclasses.replace(arms["real"], histories=({"curve": curve},) * len(SEEDS))
    found = summarise_gap(arms, {}, class_names=NAMES)
    assert found["plateau"]["plain"] is None
    assert found["plateau"]["real"]["rising"] == said
    assert (
        found["hypothesis"]["sentence"].endswith("images still rose for real (+5.0 points [+5.0, +5.0]).")
        == said
    )
