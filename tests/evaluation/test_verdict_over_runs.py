"""The verdict over whole runs: how the arm is chosen, and what is claimed."""

import numpy as np
import pytest

from understudy.evaluation.choice import Choice
from understudy.evaluation.repeats import over_runs
from understudy.evaluation.verdict_over_runs import arms_of_other_runs, verdict_over_runs


def ends(mean, half=0.001):
    return {"mean": mean, "low": mean - half, "high": mean + half}


def run(*, val=None, real_val=0.0, **gains):
    """Figures of the arms of a run: gains on test images, and on validation images if they differ."""
    arms = {
        name: {
            "accuracy": ends(0.8 + gain),
            "minus_real": ends(gain),
            "minus_real_val": ends(gain - real_val),
            "val_accuracy": 0.7 + (val or {}).get(name, gain),
            "steps": 10,
        }
        for name, gain in ({"real": 0.0, "real+val": real_val} | gains).items()
    }
    for name in ("real", "real+val"):
        del arms[name]["minus_real_val"]
    del arms["real+val"]["val_accuracy"]
    return arms


def verdict(*runs, candidates=("synthetic", "mixed"), images="other", **options):
    options = {"with_val": {"real": "real+val"}} | options
    choice = Choice(candidates=candidates, num_val=100, measure=options.pop("measure", "accuracy"))
    return verdict_over_runs(runs, choice, images=images, **options)


def test_a_gain_in_all_runs_is_claimed():
    found = verdict(*(run(mixed=gain, real_val=0.01) for gain in (0.04, 0.05, 0.045)))
    assert (found["helps"], found["measure"], found["arms"]) == (True, "accuracy", ["mixed"] * 3)
    measured = over_runs([ends(gain) for gain in (0.04, 0.05, 0.045)], lowest=-1, highest=1, test_images=True)
    assert found["minus_real"] == measured
    low, high = (100 * measured[end] for end in ("low", "high"))
    assert found["sentence"] == (
        "Over 3 runs, each with other real images, other synthetic images and other classifiers, mixed beats "
        f"training on the real images alone by 4.5 points [{low:.1f}, {high:.1f}]: 84.5% against 80.0% "
        "accuracy. mixed also beats real images with the validation images to learn from (real+val, 81.0%) "
        f"by 3.5 points [{low - 1:.1f}, {high - 1:.1f}]."
    )
    assert found["minus_real_val"]["mean"] == pytest.approx(0.035)


def test_the_rival_with_validation_images_counts():
    found = verdict(*(run(mixed=gain, real_val=0.05) for gain in (0.04, 0.05, 0.045)))
    assert not found["helps"]
    assert found["minus_real"]["low"] > 0 > found["minus_real_val"]["mean"]
    assert "mixed beats training on the real images alone" in found["sentence"]


def test_real_images_with_equal_classes_count_too():
    def with_balanced(gain, balanced):
        found = run(mixed=gain, **{"real+class-balanced": balanced})
        found["mixed"]["minus_class_balanced"] = ends(gain - balanced)
        return found

    gains = (0.04, 0.05, 0.045)
    beaten = verdict(*(with_balanced(gain, 0.01) for gain in gains))
    assert beaten["helps"]
    assert (
        "mixed also beats real images with every class equally often (real+class-balanced, 81.0%)"
        in (beaten["sentence"])
    )
    assert beaten["minus_class_balanced"]["mean"] == pytest.approx(0.035)
    unbeaten = verdict(*(with_balanced(gain, 0.05) for gain in gains))
    assert not unbeaten["helps"]
    one_lacks_it = verdict(with_balanced(0.04, 0.05), run(mixed=0.05), run(mixed=0.045))
    assert one_lacks_it["helps"]
    assert "minus_class_balanced" not in one_lacks_it


def test_runs_that_disagree_show_nothing():
    found = verdict(*(run(mixed=gain) for gain in (0.008, -0.008, 0.019)), images="same")
    assert not found["helps"]
    assert found["sentence"].startswith(
        "Over 3 runs on the same real images, each with other synthetic images and other classifiers, no "
        "difference between mixed and the real images alone is shown, +0.6 points ["
    )
    assert found["minus_real"]["spread"]["between"] == pytest.approx(np.std([0.8, -0.8, 1.9], ddof=1) / 100)


def test_runs_on_the_same_test_images_say_so():
    found = verdict(*(run(mixed=gain) for gain in (0.04, 0.041, 0.042)), images="same for testing")
    assert found["sentence"].startswith(
        "Over 3 runs on the same test images, each with other train images, other synthetic images and other "
        "classifiers, mixed beats "
    )


def test_divisions_of_the_same_images_are_called_so():
    found = verdict(*(run(mixed=gain) for gain in (0.04, 0.041, 0.042)), images="divisions")
    assert found["sentence"].startswith(
        "Over 3 divisions of the same real images, each with other synthetic images and other classifiers, "
        "mixed beats "
    )


def test_a_loss_in_all_runs_is_said():
    found = verdict(*(run(mixed=gain) for gain in (-0.04, -0.05, -0.045)))
    assert not found["helps"]
    assert "mixed is worse than the real images alone by 4.5 points" in found["sentence"]


def test_a_single_run_beats_nothing():
    found = verdict(run(mixed=0.05))
    assert not found["helps"]
    assert found["sentence"].startswith("With these images and this generator, mixed gains 5.0 points")
    assert found["sentence"].endswith("This is a single run, which says nothing about others.")


def test_the_arm_of_a_run_is_chosen_in_the_other_runs():
    """Each of two arms is lucky in one run, on validation and on test images."""
    runs = [run(mixed=0.06, synthetic=0.0), run(mixed=0.0, synthetic=0.06), run(mixed=0.01, synthetic=0.02)]
    found = verdict(*runs)
    assert found["arms"][:2] == ["synthetic", "mixed"]
    assert found["minus_real"]["runs"][:2] == [0.0, 0.0]
    assert "The arm of each run was chosen in the other runs: " in found["sentence"]
    assert "no difference between the chosen arm and the real images alone" in found["sentence"]


def test_the_choice_reads_only_the_other_runs():
    rng = np.random.default_rng(0)
    runs = [run(val=dict(zip("abc", rng.random(3), strict=True)), a=0.0, b=0.0, c=0.0) for _ in range(4)]
    chosen = arms_of_other_runs(runs, Choice(candidates="abc", num_val=100))
    for index in range(4):
        changed = [dict(each) for each in runs]
        changed[index] = run(val={"a": 9.0, "b": -9.0}, a=0.0, b=0.0, c=0.0)
        assert arms_of_other_runs(changed, Choice(candidates="abc", num_val=100))[index] == chosen[index]


def test_an_arm_that_a_run_lacks_cannot_be_chosen():
    runs = [run(mixed=0.0, synthetic=0.1), run(mixed=0.0)]
    choice = Choice(candidates=["synthetic", "mixed"], num_val=100)
    assert arms_of_other_runs(runs, choice) == ["mixed", "mixed"]
    found = verdict(run(), run())
    assert (found["helps"], found["arms"]) == (False, [])
    assert "No arm used synthetic images" in found["sentence"]


def test_the_same_arm_with_validation_images_meets_real_val():
    gains = {"mixed": 0.03, "mixed+val": 0.06}
    runs = [run(real_val=0.04, **{name: gain + more for name, gain in gains.items()}) for more in (0, 0.001)]
    found = verdict(*runs, with_val={"mixed": "mixed+val"})
    assert found["minus_real_val"]["mean"] == pytest.approx(0.0205)
    assert "mixed+val" in found["sentence"]


def test_the_refitted_arm_counts_where_a_run_has_it():
    runs = [run(real_val=0.04, mixed=0.03, **({"mixed+val": 0.06} if has else {})) for has in (True, False)]
    found = verdict(*runs, with_val={"mixed": "mixed+val"})
    assert found["minus_real_val"]["runs"] == pytest.approx([0.02, -0.01])
    assert (
        "mixed (trained with the validation images in 1 of 2 runs) shows no difference" in found["sentence"]
    )


def test_an_arm_that_cannot_learn_from_validation_images_must_be_clearly_better():
    """By one standard error of one run, however many there are, because runs may share validation images."""
    for num_runs in (3, 30):
        runs = [run(mixed=0.0, synthetic=0.02) for _ in range(num_runs)]
        for num_val, expected in ((50, "mixed"), (400, "mixed"), (5000, "synthetic")):
            choice = Choice(candidates=["mixed", "synthetic"], refittable=["mixed"], num_val=num_val)
            assert arms_of_other_runs(runs, choice) == [expected] * num_runs


def test_balanced_accuracy_chooses_and_judges():
    runs = [run(mixed=0.0, synthetic=0.1) for _ in range(2)]
    for index, arms in enumerate(runs):
        for name, arm in arms.items():
            gain = (0.05 + index / 1000) * (name == "mixed")
            differences = {key: ends(gain) for key in ("minus_real", "minus_real_val") if key in arm}
            arm["balanced_accuracy"] = ends(0.5 + gain) | differences
            if "val_accuracy" in arm:
                arm["val_balanced_accuracy"] = gain
    found = verdict(*runs, measure="balanced_accuracy")
    assert found["arms"] == ["mixed", "mixed"]
    assert found["minus_real"]["mean"] == pytest.approx(0.0505)
    assert "balanced accuracy" in found["sentence"]
