"""Tuning: the same trials for every arm, validation images alone, resume."""

import json

import pytest
from tiny_jobs import terms
from tiny_sets import RECIPE, squares

from understudy.core.errors import InputError
from understudy.core.executors.do import do_jobs
from understudy.training.arms import ARMS
from understudy.training.classifier import accuracy_and_loss
from understudy.training.data import TrainingData
from understudy.training.fit import fit_arm
from understudy.training.records import ArmFolder
from understudy.training.settings import TuneSettings
from understudy.training.tune import ArmTuning, best_trial

TUNE = TuneSettings(learning_rates=(1e-5, 5e-3), weight_decays=(0.0, 0.1))
SETS = {
    "train": squares("train"),
    "synthetic": squares("synthetic", seed=1),
    "val": squares("val", num=9, seed=2),
}


def tune(folder, name="real", *, tune=TUNE, val=SETS["val"], advance=lambda amount: None):
    data = TrainingData(train=SETS["train"], synthetic=SETS["synthetic"])
    tuning = ArmTuning(
        folder=ArmFolder(folder, name), data=data, val=val, settings=RECIPE, tune=tune, seed=2, device="cpu"
    )
    do_jobs(tuning.jobs, terms(folder, workers=1), advance=advance)
    return tuning.trials()


def test_every_arm_gets_the_same_trials(tmp_path):
    for name in ("real", "bridged++"):
        trials = tune(tmp_path, name)
        pairs = [(trial["learning_rate"], trial["weight_decay"]) for trial in trials]
        assert pairs == [(1e-5, 0.0), (1e-5, 0.1), (5e-3, 0.0), (5e-3, 0.1)]
    assert len(list(tmp_path.iterdir())) == 8
    assert set(ARMS) > {"real", "bridged++"}


def test_a_trial_is_a_training_that_is_measured_on_validation_images(tmp_path):
    trials = tune(tmp_path, tune=TuneSettings(learning_rates=(5e-3,), num_seeds=2))
    settings = RECIPE.model_copy(update={"learning_rate": 5e-3})
    measured = [
        accuracy_and_loss(
            fit_arm(
                "real",
                train=SETS["train"],
                synthetic=None,
                settings=settings,
                seed=2500 + number,
                device="cpu",
            ),
            SETS["val"],
        )
        for number in range(2)
    ]
    assert trials == [
        {
            "learning_rate": 5e-3,
            "weight_decay": RECIPE.weight_decay,
            "val_accuracy": pytest.approx(sum(accuracy for accuracy, _ in measured) / 2),
            "val_loss": pytest.approx(sum(loss for _, loss in measured) / 2),
        }
    ]


def test_finished_trials_are_kept(tmp_path):
    moved = []
    first = tune(tmp_path, advance=moved.append)
    assert sum(moved) == 4
    path = tmp_path / "real-trial2.json"
    path.write_text(json.dumps(first[2] | {"val_accuracy": 0.123}))
    (tmp_path / "real-trial1.json").unlink()
    again = tune(tmp_path, advance=moved.append)
    assert sum(moved) == 5
    assert again[2]["val_accuracy"] == 0.123
    assert [again[index] for index in (0, 1, 3)] == [first[index] for index in (0, 1, 3)]


def test_the_best_has_the_highest_accuracy_then_the_lowest_loss():
    trials = [
        {"val_accuracy": accuracy, "val_loss": loss}
        for accuracy, loss in ((0.8, 0.1), (0.9, 0.5), (0.9, 0.4))
    ]
    assert best_trial(trials) is trials[2]
    with pytest.raises(InputError, match="at least one trial must finish"):
        best_trial([])


def test_a_rate_that_diverges_is_no_candidate(tmp_path):
    trials = tune(tmp_path, tune=TuneSettings(learning_rates=(1e25, 1e-3)))
    assert (trials[0]["val_accuracy"], trials[0]["val_loss"]) == (0.0, None)
    assert best_trial(trials) is trials[1]
    assert tune(tmp_path, tune=TuneSettings(learning_rates=(1e25, 1e-3))) == trials
    with pytest.raises(InputError, match="1 that diverged: lower tune.learning_rates"):
        best_trial(trials[:1])


def test_test_images_do_not_tune(tmp_path):
    with pytest.raises(InputError, match="tuning a classifier needs a val set, got a test set"):
        tune(tmp_path, val=squares("test"))
    assert not list(tmp_path.iterdir())


def test_equal_values_are_refused():
    with pytest.raises(ValueError, match="learning_rates must differ, got 0.001, 0.001"):
        TuneSettings(learning_rates=(1e-3, 1e-3))
