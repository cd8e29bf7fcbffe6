"""A ranking of generators: what holds at once is claimed, what may be chance is not."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from understudy.evaluation.ranking import FLOOR, OnValidation, against, rank, ranking_sentence
from understudy.functional.intervals import accuracy_interval, mean_interval
from understudy.functional.simultaneous import simultaneous_tail

LABELS = np.tile([0, 1, 2, 3], 50)


def on_validation(share, seed=0, *, labels=LABELS, num_trainings=3):
    """Trainings that are right about a share of the images, each about others."""
    rng = np.random.default_rng(seed)
    is_right = rng.random((num_trainings, len(labels))) < share
    return OnValidation(np.where(is_right, labels, (labels + 1) % 4), labels)


def ranked(*, measure="accuracy", num_runs=1, **shares):
    runs = {
        name: [on_validation(share, 10 * number + repeat) for repeat in range(num_runs)]
        for number, (name, share) in enumerate(shares.items())
    }
    return rank(runs, measure=measure, seed=0), runs


def test_the_best_mean_comes_first_and_clear_differences_fix_places():
    ranking, runs = ranked(weak=0.5, real=0.7, good=0.95, close=0.95)
    first, second, last = ranking["order"]
    assert ({first, second}, last) == ({"good", "close"}, "weak")
    assert ranking["places"] == {"good": [1, 2], "close": [1, 2], "weak": [3, 3]}
    for name, (one,) in runs.items():
        ends = accuracy_interval(one.predicted == one.labels)
        assert [ranking["accuracy"][name][end] for end in ("mean", "low", "high")] == list(ends)
    assert ranking_sentence(ranking, measure="accuracy", num_val=200) == (
        f"{first} comes first on 200 validation images and is clearly better than weak, but not than "
        f"{second}. {first} and {second} clearly beat the real images alone "
        f"({ranking['accuracy']['real']['mean']:.1%}), and weak is clearly worse."
    )


def test_intervals_of_one_run_hold_for_all_pairs_at_once():
    ranking, runs = ranked(a=0.9, b=0.8, real=0.85)
    names = sorted(runs, key=lambda name: -(runs[name][0].predicted == LABELS).mean())
    values = np.stack(
        [runs[a][0].terms("accuracy") - runs[b][0].terms("accuracy") for a, b in combinations(names, 2)]
    )
    tail = simultaneous_tail(values, np.random.default_rng(0))
    assert tail < 0.025
    for found, (a, b), value in zip(ranking["differences"], combinations(names, 2), values, strict=True):
        mean, low, high = mean_interval(value, limits=(-1, 1), tail=tail)
        assert (found["a"], found["b"]) == (a, b)
        assert [found["mean"], found["low"], found["high"]] == pytest.approx([mean, low, high])


def test_intervals_over_runs_add_the_variances_of_runs_and_of_a_run():
    ranking, runs = ranked(num_runs=3, a=0.9, b=0.7, real=0.8)
    pairs = [("a", "real"), ("a", "b"), ("real", "b")]
    each = [
        rank({name: [of[run]] for name, of in runs.items()}, measure="accuracy", seed=0) for run in range(3)
    ]
    of_runs = np.array([[against(one, a, b)["mean"] for one in each] for a, b in pairs])
    quantile = stats.t.ppf(1 - 0.025 / len(pairs), 2)
    for (a, b), means in zip(pairs, of_runs, strict=True):
        over_runs = quantile * stats.sem(means)
        found, ends = against(ranking, a, b), [against(one, a, b) for one in each]
        below, above = (np.mean([one[end] for one in ends]) - means.mean() for end in ("low", "high"))
        assert found["mean"] == pytest.approx(means.mean())
        assert found["low"] == pytest.approx(max(-1, means.mean() - np.hypot(over_runs, below)))
        assert found["high"] == pytest.approx(min(1, means.mean() + np.hypot(over_runs, above)))
    assert ranking["interval"] == "runs and images"


def test_runs_that_do_not_differ_keep_the_interval_of_one():
    _, runs = ranked(a=0.9, b=0.7, real=0.8)
    same = {name: of_one * 3 for name, of_one in runs.items()}
    alone = rank(runs, measure="accuracy", seed=0)
    for repeated, one in zip(
        rank(same, measure="accuracy", seed=0)["differences"], alone["differences"], strict=True
    ):
        assert [repeated[end] for end in ("mean", "low", "high")] == pytest.approx(
            [one[end] for end in ("mean", "low", "high")]
        )


def test_balanced_accuracy_ranks_by_the_mean_over_classes():
    labels = np.array([0] * 190 + [1] * 10)
    lazy, fair = np.zeros((3, 200), dtype=int), np.tile(np.where(np.arange(200) < 30, 1, labels), (3, 1))
    runs = {
        name: [OnValidation(predicted, labels)]
        for name, predicted in (("lazy", lazy), ("fair", fair), (FLOOR, lazy))
    }
    assert rank(runs, measure="accuracy", seed=0)["order"] == ["lazy", "fair"]
    ranking = rank(runs, measure="balanced_accuracy", seed=0)
    assert ranking["order"] == ["fair", "lazy"]
    assert ranking["accuracy"]["lazy"]["mean"] == 0.5
    sentence = ranking_sentence(ranking, measure="balanced_accuracy", num_val=200)
    assert sentence.startswith("In balanced accuracy: fair is clearly better than the other generator")


def test_no_generator_is_clearly_better_if_the_intervals_say_so():
    ranking, _ = ranked(a=0.9, b=0.9, c=0.9, real=0.9)
    assert all(place == [1, 3] for place in ranking["places"].values())
    sentence = ranking_sentence(ranking, measure="accuracy", num_val=200)
    assert sentence.startswith(
        "No generator is clearly better than another on 200 validation images: the largest "
    )
    assert "No generator clearly beats the real images alone" in sentence


def test_a_clear_difference_that_leaves_the_first_place_open_is_named():
    ranking, _ = ranked(a=0.9, real=0.9)
    ranking |= {
        "order": ["a", "b", "c"],
        "differences": [
            {"a": "a", "b": "b", "mean": 0.01, "low": -0.01, "high": 0.03},
            {"a": "a", "b": "c", "mean": 0.03, "low": -0.01, "high": 0.07},
            {"a": "b", "b": "c", "mean": 0.02, "low": 0.01, "high": 0.03},
            *({"a": "real", "b": name, "mean": 0.2, "low": 0.1, "high": 0.3} for name in "abc"),
        ],
    }
    assert ranking_sentence(ranking, measure="accuracy", num_val=50) == (
        "No generator is clearly the best on 50 validation images; it is clear only that b is better than c. "
        f"No generator clearly beats the real images alone ({ranking['accuracy']['real']['mean']:.1%}), and "
        "a, b and c are clearly worse."
    )


def test_one_generator_is_compared_with_the_real_images_only():
    ranking, _ = ranked(a=0.95, real=0.6)
    assert ranking["places"] == {"a": [1, 1]}
    assert ranking_sentence(ranking, measure="accuracy", num_val=200).startswith(
        "a was the only generator. a clearly beats the real images alone"
    )


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.3, 1), min_size=2, max_size=4), st.integers(1, 3))
def test_differences_are_antisymmetric_and_places_agree_with_the_order(shares, num_runs):
    names = [FLOOR, *(f"g{number}" for number in range(1, len(shares)))]
    ranking, _ = ranked(num_runs=num_runs, **dict(zip(names, shares, strict=True)))
    for a, b in combinations(names, 2):
        forth, back = against(ranking, a, b), against(ranking, b, a)
        assert forth["mean"] == -back["mean"]
        assert forth["low"] == -back["high"]
        assert forth["low"] <= forth["mean"] <= forth["high"]
    for position, name in enumerate(ranking["order"], start=1):
        best, worst = ranking["places"][name]
        assert 1 <= best <= position <= worst <= len(ranking["order"])


def test_equal_generators_rarely_differ_at_all():
    """Five, and real images: 100 experiments, standard error 2.2 points. Of single intervals, some pair would
    exclude 0 far more often.
    """
    rng, false = np.random.default_rng(1), 0
    for _ in range(100):
        luck = rng.normal(size=200)
        own = rng.normal(size=(6, 3, 200))
        correct = np.sqrt(0.5) * (luck + own) < stats.norm.ppf(0.9)
        runs = {
            name: [OnValidation(np.where(right, LABELS, -1), LABELS)]
            for name, right in zip([FLOOR, *"abcde"], correct, strict=True)
        }
        false += any(one["low"] > 0 for one in rank(runs, measure="accuracy", seed=0)["differences"])
    assert false / 100 <= 0.09


def test_equal_generators_of_unequal_luck_rarely_differ_over_runs():
    """One varies by 10 points between its three runs, the others by 0.5; all runs have the same validation
    images. 100 experiments: standard error 2.2 points.
    """
    rng, false = np.random.default_rng(3), 0
    spread = dict(zip([FLOOR, *"abcd"], (0.005, 0.1, 0.005, 0.005, 0.005), strict=True))
    for _ in range(100):
        luck = rng.normal(size=200)
        runs = {
            name: [
                OnValidation(np.where(right, LABELS, -1), LABELS)
                for share in np.clip(rng.normal(0.7, of_one, 3), 0.05, 0.95)
                for right in [np.sqrt(0.5) * (luck + rng.normal(size=(2, 200))) < stats.norm.ppf(share)]
            ]
            for name, of_one in spread.items()
        }
        false += any(one["low"] > 0 for one in rank(runs, measure="accuracy", seed=0)["differences"])
    assert false / 100 <= 0.09


def test_the_sentence_says_that_every_run_has_validation_images():
    ranking, _ = ranked(num_runs=3, a=0.9, b=0.9, real=0.9)
    sentence = ranking_sentence(ranking, measure="accuracy", num_val=200)
    assert " on 200 validation images of each run: " in sentence


def test_an_unknown_pair_is_an_error():
    with pytest.raises(KeyError):
        against(ranked(a=0.9, real=0.5)[0], "a", "b")
