"""Experiment trackers get the figures of a run; one that fails does not stop it."""

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image
from wandb_records import all_of_wandb, logged

from understudy.core import run_trackers as module
from understudy.core.errors import InputError
from understudy.core.processes import Processes
from understudy.core.run_trackers import Trackers, check_trackers
from understudy.core.tracker import TRACKERS

pytestmark = pytest.mark.filterwarnings("default")  # those of other libraries, when they are imported
SETTINGS = {"seed": 3, "draw.steps": 20, "data.source": "digits", "adapt.adapter": None, "draw.times": 1.5}


def needs(name):
    return pytest.mark.skipif(
        importlib.util.find_spec(name) is None, reason=f"the extra {name} is not installed"
    )


def use(name, folder, *, steps):
    """Track two losses and a picture; returns what went wrong."""
    folder.mkdir(exist_ok=True)
    warnings = []
    trackers = Trackers([name], folder, project="tests", warn=warnings.append)
    trackers.start(SETTINGS)
    for step in steps:
        trackers.log("adapt", {"loss": step / 10, "val_loss": step / 20}, step=step)
    trackers.log("mixed@refresh", {"test_accuracy": 0.5}, step=0)
    pixels = np.zeros((4, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "samples.png")
    trackers.picture("samples", folder / "samples.png", pixels)
    trackers.finish()
    return warnings


@needs("tensorboard")
def test_tensorboard_reads_back_what_was_logged(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert use("tensorboard", tmp_path / "run", steps=(10, 20)) == []
    assert use("tensorboard", tmp_path / "run", steps=(30,)) == []
    events = EventAccumulator(str(tmp_path / "run" / "tracking" / "tensorboard"))
    events.Reload()
    assert [(each.step, round(each.value, 4)) for each in events.Scalars("adapt/val_loss")] == [
        (10, 0.5),
        (20, 1.0),
        (30, 1.5),
    ]
    assert events.Scalars("mixed@refresh/test_accuracy")[0].value == 0.5
    assert [image.width for image in events.Images("samples")][:1] == [6]
    hparams = next((tmp_path / "run").rglob("hparams.yml")).read_text()
    assert "draw.steps: 20" in hparams


@needs("mlflow")
def test_mlflow_goes_on_in_the_same_run_of_a_local_store(tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database needs the full package
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    assert use("mlflow", tmp_path / "run", steps=(10, 20)) == []
    assert use("mlflow", tmp_path / "run", steps=(30,)) == []
    known = json.loads((tmp_path / "run" / "tracking" / "names.json").read_text())["mlflow"]
    client = mlflow.tracking.MlflowClient((tmp_path / "store").as_uri())
    assert [each.step for each in client.get_metric_history(known, "adapt/val_loss")] == [10, 20, 30]
    run = client.get_run(known)
    assert run.data.metrics["mixed_refresh/test_accuracy"] == 0.5
    assert run.data.params["draw.steps"] == "20" and run.info.run_name == "run"
    assert [file.path for file in client.list_artifacts(known, "pictures")] == ["pictures/samples.png"]
    experiment = client.get_experiment(run.info.experiment_id)
    assert len(client.search_runs([experiment.experiment_id])) == 1


@needs("wandb")
@pytest.mark.slow
def test_wandb_works_offline_and_keeps_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    Processes()  # a run has asked for them before it tracks
    assert use("wandb", tmp_path / "run", steps=(10, 20)) == []
    tracking = tmp_path / "run" / "tracking"
    known = json.loads((tracking / "names.json").read_text())["wandb"]
    (first,) = tracking.rglob(f"run-{known}.wandb")
    assert use("wandb", tmp_path / "run", steps=(30,)) == []
    assert json.loads((tracking / "names.json").read_text())["wandb"] == known
    (again,) = set(tracking.rglob(f"run-{known}.wandb")) - {first}
    before, after = all_of_wandb(first), all_of_wandb(again)
    for records in (before, after):
        (run,) = (record for kind, record in records if kind == "run")
        assert (run.run_id, run.project, run.display_name) == (known, "tests", "run")
    figures = [logged(record.item) for kind, record in before + after if kind == "history"]
    assert [
        (each["adapt/step"], each["adapt/loss"], each["adapt/val_loss"])
        for each in figures
        if "adapt/step" in each
    ] == [(10, 1.0, 0.5), (20, 2.0, 1.0), (30, 3.0, 1.5)]
    assert [each["mixed@refresh/test_accuracy"] for each in figures if "mixed@refresh/step" in each] == [
        0.5
    ] * 2
    assert [logged(record.update) for kind, record in before if kind == "config"] == [SETTINGS]
    (name,) = next(each["samples/filenames"] for each in figures if "samples/filenames" in each)
    with Image.open(first.parent / "files" / name) as picture:
        assert picture.size == (6, 4)


class Failing:
    """A tracker that breaks when it is called for the nth time."""

    name = "x"

    def __init__(self, calls):
        self.calls = calls
        self._call()

    def _call(self, *_, **__):
        self.calls -= 1
        if self.calls < 0:
            raise ConnectionError("no network\nTraceback")

    store = log = picture = finish = _call


@pytest.mark.parametrize("calls", range(7))
def test_a_tracker_that_fails_gives_one_warning_and_is_given_up(calls, tmp_path, monkeypatch):
    monkeypatch.setitem(TRACKERS._things, "wandb", lambda run: Failing(calls))
    warnings = use("wandb", tmp_path / "run", steps=(1, 2))
    one = ["track: warning: wandb failed, and the run goes on without it: no network"]
    assert warnings == one


def test_without_trackers_nothing_is_made(tmp_path):
    trackers = Trackers([], tmp_path, project="tests", warn=print)
    trackers.start(SETTINGS)
    trackers.log("adapt", {"loss": 1.0}, step=1)
    trackers.finish()
    assert len(trackers) == 0 and list(tmp_path.iterdir()) == []


def test_a_missing_package_is_refused_with_its_extra(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'track.to=mlflow needs mlflow: pip install "understudy\[mlflow\]"'):
        check_trackers(["mlflow"])
