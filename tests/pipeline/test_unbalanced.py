"""One class has most of the images: the verdict is by balanced accuracy, and small classes are named."""

import json

import pytest
from tiny_job import SECTIONS, tiny_settings, write_pets

from understudy.commands.validate import validate
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run, write_report_again
from understudy.training.records import ArmFolder, ArmResult


@pytest.fixture(scope="module")
def settings(tmp_path_factory, tiny_pipeline_folder):
    """Forty cats and eight dogs, so that two dogs are in the test set."""
    source = write_pets(tmp_path_factory.mktemp("unbalanced") / "pets", per_class=40)
    for number in range(8, 40):
        (source / "dog" / f"{number}.png").unlink()
    off = {"fidelity": {"measure": False}, "adapt": {"method": "none"}, "curate": {"score": "none"}}
    compare = {"arms": ["real", "mixed"]}
    draw = SECTIONS["draw"] | {"of_classes": {"dog": 11}}
    return tiny_settings(source, tiny_pipeline_folder, compare=compare, draw=draw, **off)


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    return run(settings, out), out


def test_validate_names_classes_that_are_too_small(settings):
    (dogs,) = [row for row in validate(settings).rows if row[0] == "dog"]
    assert validate(settings).notes[-1].startswith(f"The test set is too small for dog ({dogs[-1]}): ")


def test_the_verdict_is_by_balanced_accuracy(finished):
    results, out = finished
    cats, dogs = results["data"]["per_class"]["test"]
    assert cats > 3 * dogs
    assert results["verdict"]["measure"] == "balanced_accuracy"
    assert f"balanced accuracy on {cats + dogs} real test images" in results["verdict"]["sentence"]
    for arm in results["arms"].values():
        assert arm["balanced_accuracy"]["mean"] == pytest.approx(sum(arm["per_class"]) / 2)
        assert 0 <= arm["val_balanced_accuracy"] <= 1
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "always “cat”" in page and f"too small for dog ({dogs})" in page
    assert json.loads((out / "results.json").read_text())["verdict"] == results["verdict"]


def test_a_small_class_has_the_images_that_were_asked_for(finished):
    assert finished[0]["data"]["per_class"]["synthetic"] == [SECTIONS["draw"]["per_class"], 11]


def test_classes_without_synthetic_images_are_named(finished):
    _, out = finished
    path = out / "stages" / "compare.json"
    record = path.read_text()
    changed = json.loads(record)
    changed["per_class"]["synthetic"][1] = 0
    path.write_text(json.dumps(changed))
    sentence = write_report_again(RunFolder.find(out))["verdict"]["sentence"]
    path.write_text(record)
    assert sentence.endswith("No synthetic image of: dog (1 of 2 classes).")


def test_records_without_the_new_figures(finished):
    """A run that an older version compared is judged by accuracy."""
    results, out = finished
    path = out / "stages" / "compare.json"
    record = path.read_text()
    old = json.loads(record)
    del old["per_class"]
    for arm in old["arms"].values():
        for name in ("balanced_accuracy", "macro_f1", "precision_per_class", "val_balanced_accuracy"):
            del arm[name]
    path.write_text(json.dumps(old))
    verdict = write_report_again(RunFolder.find(out))["verdict"]
    path.write_text(record)
    assert verdict["measure"] == "accuracy"
    assert write_report_again(RunFolder.find(out))["verdict"] == results["verdict"]


def test_a_training_of_an_older_version_still_counts(finished):
    """Its record has no balanced accuracy on validation images, so plain accuracy chooses."""
    _, out = finished
    test = LabelledSet.load(out / "data" / "test.parquet")
    records = [ArmFolder(out / "arms", "real").read(index, seed=index, test=test) for index in range(3)]
    assert len(ArmResult.from_records("real", records, test).val_balanced_accuracy) == 3
    del records[1]["val_balanced_accuracy"]
    assert ArmResult.from_records("real", records, test).val_balanced_accuracy == ()
