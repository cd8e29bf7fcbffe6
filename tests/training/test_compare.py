"""Running an arm: sealed test data, resume, records."""

from functools import partial

import numpy as np
import pytest
import safetensors.torch
import torch
from tiny_jobs import terms
from tiny_sets import RECIPE, squares

from understudy.core.errors import InputError
from understudy.core.executors.do import do_jobs
from understudy.core.files import read_arrays
from understudy.evaluation.transferability import feature_quality
from understudy.training.classifier import TrainedClassifier
from understudy.training.data import HeldOut, TrainingData
from understudy.training.fit import check_training, fit_arm
from understudy.training.optimisers import build_optimiser
from understudy.training.records import ArmFolder
from understudy.training.run import ArmTraining
from understudy.training.settings import CompareSettings, Phase

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


def _training(folder, name="mixed", seed=2, settings=RECIPE, measure=None, keep_weights=True, **changes):
    sets = SETS | changes
    return ArmTraining(
        folder=ArmFolder(folder, name),
        data=TrainingData(train=sets["train"], synthetic=sets["synthetic"], teacher=sets.get("teacher")),
        held_out=HeldOut(val=sets["val"], test=sets["test"], measure=measure),
        settings=settings,
        seed=seed,
        device="cpu",
        keep_weights=keep_weights,
    )


def _run(folder, *args, on_step=lambda amount: None, **changes):
    training = _training(folder, *args, **changes)
    do_jobs(training.jobs, terms(folder, workers=1), advance=on_step)
    return training.result()


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
        ({"test": squares("test", class_names=OTHERS)}, "the test set must have images of the classes"),
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
    files = [f"mixed-seed{index}.{ending}" for index in range(3) for ending in ("npz", "safetensors")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixed-classifier", *files]


def test_every_training_can_be_asked_again(tmp_path):
    result = _run(tmp_path)
    trainings = ArmFolder(tmp_path, "mixed").trainings(3)
    np.testing.assert_array_equal(
        np.stack([each.predict(SETS["test"]) for each in trainings]), result.probabilities
    )
    assert all(each.class_names == SETS["train"].class_names for each in trainings)
    kept = tmp_path / "mixed-classifier" / "model.safetensors"
    assert (
        kept.read_bytes()
        == (tmp_path / f"mixed-seed{int(np.argmax(result.val_accuracy))}.safetensors").read_bytes()
    )


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="a classifier folder must hold"):
        ArmFolder(tmp_path, "mixed").trainings(3)
    _run(tmp_path, keep_weights=False)  # as older versions did
    with pytest.raises(
        InputError,
        match="weights of all 3 trainings of the arm 'mixed', but the weights of 0, 1, 2 are missing",
    ):
        ArmFolder(tmp_path, "mixed").trainings(3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("cut", "is damaged: to make it again"),
        ("another", "must hold weights of a test_resnet for 3 classes"),
    ],
)
def test_weights_that_do_not_fit(damage, message, tmp_path):
    _run(tmp_path)
    path = tmp_path / "mixed-seed1.safetensors"
    path.write_bytes(
        path.read_bytes()[:100] if damage == "cut" else safetensors.torch.save({"weight": torch.zeros(2)})
    )
    with pytest.raises(InputError, match=f"mixed-seed1.safetensors {message}"):
        ArmFolder(tmp_path, "mixed").trainings(3)


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
    weights = [
        (tmp_path / run / "mixed-classifier" / "model.safetensors").read_bytes() for run in ("whole", "cut")
    ]
    assert weights[0] == weights[1]
    steps.clear()
    again = _run(tmp_path / "cut", on_step=steps.append)
    assert not steps
    assert again.seconds == resumed.seconds
    assert again.histories == resumed.histories


@pytest.mark.slow
def test_two_workers_write_what_one_writes(tmp_path, at_once):
    """Fresh heads, a teacher, augmentations of torchvision, and measures along the training."""
    soft = (Phase(data="synthetic"), Phase(data="mixed", soft_labels=0.5, head="fresh"))
    settings = RECIPE.model_copy(update={"own_arms": {"soft": soft}, "augmentation": "randaugment"})
    teacher = fit_arm("real", train=SETS["train"], synthetic=None, settings=RECIPE, seed=9, device="cpu")
    measure = partial(feature_quality, train=SETS["train"], test=SETS["test"])
    for workers in (1, 2):
        arms = [
            _training(
                tmp_path / str(workers), name, settings=settings, measure=measure, teacher=lambda: teacher
            )
            for name in ("soft", "bridged++")
        ]
        do_jobs([job for arm in arms for job in arm.jobs], terms(tmp_path, workers=workers))
        assert [len(arm.result().seeds) for arm in arms] == [3, 3]
    ours, theirs = (
        {path.name: read_arrays(path) for path in (tmp_path / folder).glob("*.npz")} for folder in "12"
    )
    assert len(ours) == 6
    for name, record in ours.items():
        for key in record.keys() - {"seconds"}:
            np.testing.assert_array_equal(record[key], theirs[name][key])
    weights = [path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*.safetensors")]
    assert len(weights) == 8
    for path in weights:
        assert (tmp_path / "1" / path).read_bytes() == (tmp_path / "2" / path).read_bytes()


def test_curves_and_figures_along_the_training(tmp_path):
    seen = []

    def measure(classifier):
        seen.append(classifier.predict(SETS["val"]))
        return {"mean": float(seen[-1].mean()), "nothing": None}

    settings = RECIPE.model_copy(update={"curve_points": 4, "num_seeds": 3})
    result = _run(tmp_path / "watched", "bridged", settings=settings, measure=measure)
    curve = result.histories[0]["curve"]
    assert [(point["step"], point["phase"]) for point in curve] == [(2, 0), (4, 0), (6, 1), (8, 1)]
    assert curve[-1]["val_accuracy"] == result.val_accuracy[0]
    assert curve[-1]["val_loss"] == result.val_loss[0]
    assert [len(history["phases"]) for history in result.histories] == [1, 1, 1]
    assert result.histories[0]["phases"][0]["nothing"] is None
    assert result.steps == RECIPE.steps
    unwatched = _run(
        tmp_path / "unwatched", "bridged", settings=RECIPE.model_copy(update={"curve_points": 0})
    )
    assert unwatched.histories == ({"curve": [], "phases": [], "micro_batch": RECIPE.batch_size},) * 3
    np.testing.assert_array_equal(unwatched.probabilities, result.probabilities)


def test_a_record_of_an_older_version_is_refused(tmp_path):
    np.savez(tmp_path / "mixed-seed0.npz", seed=2000, probabilities=np.zeros((15, 3)))
    with pytest.raises(InputError, match="older version"):
        _run(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimiser": "adamww"}, "optimiser must be one that timm knows, got 'adamww': did you mean adamw"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin'"),
        ({"augmentation": "flip"}, "unknown augmentation 'flip'"),
        (
            {"own_arms": {"mine": [{"data": "real", "schedule": "cosin"}]}, "arms": ["real", "mine"]},
            "unknown schedule 'cosin'",
        ),
    ],
)
def test_recipes_are_checked_before_training(changes, message):
    with pytest.raises(InputError, match=message):
        check_training(CompareSettings.model_validate(changes))


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_optimisers_that_are_not_checked_work(name):
    """timm has them, and they take a step."""
    layer = torch.nn.Linear(4, 4)
    optimiser = build_optimiser(layer, CompareSettings(optimiser=name))
    layer(torch.ones(1, 4)).sum().backward()
    optimiser.step()
    check_training(CompareSettings(optimiser=name))


def test_records_of_other_data_are_refused(tmp_path):
    _run(tmp_path)
    with pytest.raises(InputError, match="made with other data"):
        _run(tmp_path, test=squares("test", num=6))
    with pytest.raises(InputError, match="must hold a training with seed 3000"):
        _run(tmp_path, seed=3)
