"""A whole run in every tracker, and what a run notes of itself while it goes on."""

import importlib.util
import json
from io import BytesIO

import pytest
import yaml
from PIL import Image
from tiny_job import Listener, results_of, tiny_settings, tree
from wandb_records import all_of_wandb, logged

from understudy.core import progress_file
from understudy.core.progress_file import read_progress
from understudy.pipeline.run import run

pytestmark = pytest.mark.usefixtures("plain_report")
TRACKERS = ("tensorboard", "mlflow", "wandb")


def test_a_stopped_run_leaves_its_progress_and_a_finished_one_does_not(
    pets, tiny_pipeline_folder, tmp_path, monkeypatch, finished
):
    monkeypatch.setattr(progress_file, "_BETWEEN_WRITES", 0.0)
    settings, out = tiny_settings(pets, tiny_pipeline_folder), tmp_path / "run"

    def stop(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(progress_file.ProgressFile, "end", stop)
    with pytest.raises(KeyboardInterrupt):
        run(settings, out, until="adapt", observer=Listener())
    monkeypatch.undo()
    assert any("validation loss" in message["text"] for message in read_progress(out)["messages"])
    run(settings, out, until="adapt")
    assert not (out / "progress.json").exists()
    assert "progress.json" not in tree(finished[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(not all(map(importlib.util.find_spec, TRACKERS)), reason="the extras are not installed")
def test_a_tracked_run_has_the_same_results(finished, pets, tiny_pipeline_folder, tmp_path, monkeypatch):
    import mlflow
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database needs the full package
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    track = {"track": {"to": list(TRACKERS)}, "compare": {"curve_points": 2}}
    out = tmp_path / "run"
    run(tiny_settings(pets, tiny_pipeline_folder, **track), out)
    events = EventAccumulator(str(out / "tracking" / "tensorboard"))
    events.Reload()
    assert [each.step for each in events.Scalars("adapt/val_loss")] == [2, 4]
    arms = results_of(out)["arms"]
    assert events.Scalars("real/test_accuracy")[0].value == pytest.approx(arms["real"]["accuracy"]["mean"])
    assert len(events.Scalars("real-seed0/val_accuracy")) >= 2
    with Image.open(out / "synthetic" / "samples.png") as samples:
        assert {(image.width, image.height) for image in events.Images("samples")} == {samples.size}
        last = Image.open(BytesIO(events.Images("samples")[-1].encoded_image_string)).convert("RGB")
        assert last.tobytes() == samples.convert("RGB").tobytes()
    hparams = yaml.safe_load(next((out / "tracking").rglob("hparams.yml")).read_text())
    assert (hparams["draw.per_class"], hparams["compare.curve_points"]) == (3, 2)
    assert {name: arm["accuracy"] for name, arm in arms.items()} == {
        name: arm["accuracy"] for name, arm in results_of(finished[0])["arms"].items()
    }
    known = json.loads((out / "tracking" / "names.json").read_text())
    client, accuracy = mlflow.tracking.MlflowClient(), arms["real"]["accuracy"]["mean"]
    assert client.get_run(known["mlflow"]).data.metrics["real/test_accuracy"] == pytest.approx(accuracy)
    assert [each.step for each in client.get_metric_history(known["mlflow"], "adapt/val_loss")] == [2, 4]
    assert client.list_artifacts(known["mlflow"], "pictures")
    (file,) = (out / "tracking").rglob(f"run-{known['wandb']}.wandb")
    figures = [logged(record.item) for kind, record in all_of_wandb(file) if kind == "history"]
    assert [each["adapt/step"] for each in figures if "adapt/val_loss" in each] == [2, 4]
    (tested,) = [each["real/test_accuracy"] for each in figures if "real/test_accuracy" in each]
    assert tested == pytest.approx(accuracy)
