"""Running an arm: sealed test data, resume, records."""

import numpy as np
import pytest
from tiny_sets import RECIPE, squares

from understudy.errors import InputError
from understudy.training import TrainedClassifier, fit_arm, run_arm

SETS = {
    "train": squares("train"),
    "synthetic": squares("synthetic", seed=1),
    "val": squares("val", num=9, seed=2),
    "test": squares("test", num=15, seed=3),
}
EMPTY = squares("train").select([])
OTHERS = ("a", "b", "c")


def _fit(name="mixed", **changes):
    sets = {"train": SETS["train"], "synthetic": SETS["synthetic"]} | changes
    return fit_arm(name, **sets, settings=RECIPE, seed=0, device="cpu")


def _run(folder, name="mixed", on_step=None, seed=2, **changes):
    return run_arm(name, **(SETS | changes), settings=RECIPE, seed=seed, device="cpu", folder=folder, on_step=on_step)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": SETS["test"]}, "fitting a classifier needs a train set, got a test set"),
        ({"train": SETS["val"]}, "fitting a classifier needs a train set, got a val set"),
        ({"synthetic": SETS["test"]}, "needs a synthetic set, got a test set"),
        ({"synthetic": None}, "the arm 'mixed' needs synthetic images, got none"),
        ({"synthetic": squares("synthetic", class_names=OTHERS)}, "synthetic images must have the classes"),
        ({"train": EMPTY}, "needs images to train on"),
        ({"name": "mixd"}, "unknown arm 'mixd'.*did you mean 'mixed'"),
    ],
)
def test_fit_refuses(changes, message):
    with pytest.raises(InputError, match=message):
        _fit(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val": SETS["test"]}, "choosing a classifier needs a val set, got a test set"),
        ({"test": SETS["train"]}, "measuring a classifier needs a test set, got a train set"),
        ({"test": squares("test", class_names=OTHERS)}, "the test set must have images, and the classes"),
        ({"val": EMPTY.with_split("val")}, "the val set must have images"),
        ({"name": "mixd"}, "unknown arm"),
    ],
)
def test_run_refuses(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        _run(tmp_path, **changes)
    assert not any(tmp_path.iterdir())


def test_run_measures_and_keeps_the_best(tmp_path):
    result = _run(tmp_path)
    assert result.seeds == (2000, 2001, 2002)
    assert result.probabilities.shape == (3, 15, 3)
    np.testing.assert_array_equal(result.labels, SETS["test"].labels)
    assert result.seconds > 0
    best = int(np.argmax(result.val_accuracy))
    kept = TrainedClassifier.load(tmp_path / "mixed-classifier")
    np.testing.assert_array_equal(kept.predict(SETS["test"]), result.probabilities[best])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixed-classifier", *(f"mixed-seed{index}.npz" for index in range(3))]


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path):
    class KilledError(Exception):
        pass

    steps = []

    def kill_at_step_12(step):
        steps.append(step)
        if len(steps) == 12:
            raise KilledError

    whole = _run(tmp_path / "whole")
    with pytest.raises(KilledError):
        _run(tmp_path / "cut", on_step=kill_at_step_12)
    steps.clear()
    resumed = _run(tmp_path / "cut", on_step=steps.append)
    assert len(steps) == 2 * RECIPE.steps
    np.testing.assert_array_equal(resumed.probabilities, whole.probabilities)
    assert resumed.val_accuracy == whole.val_accuracy
    weights = [(tmp_path / run / "mixed-classifier" / "model.safetensors").read_bytes() for run in ("whole", "cut")]
    assert weights[0] == weights[1]
    steps.clear()
    again = _run(tmp_path / "cut", on_step=steps.append)
    assert not steps
    assert again.seconds == resumed.seconds


def test_records_of_other_data_are_refused(tmp_path):
    _run(tmp_path)
    with pytest.raises(InputError, match="made with other data"):
        _run(tmp_path, test=squares("test", num=6))
    with pytest.raises(InputError, match="must hold a training with seed 3000"):
        _run(tmp_path, seed=3)
