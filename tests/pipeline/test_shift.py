"""Shift as a stage of a run."""

import shutil

import pytest
from PIL import ImageOps
from tiny_job import Listener, tiny_settings, tree, write_pets

from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.settings import build

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]


def test_clean_accuracy_is_that_of_the_comparison(tiny_pipeline_folder, tmp_path):
    pets, others = (
        write_pets(tmp_path / name, per_class=count, seed=seed)
        for name, count, seed in (("pets", 24, 0), ("others", 5, 9))
    )
    shift = {
        "measure": True,
        "corruptions": ["noise"],
        "severities": [1, 3],
        "tests": {"others": str(others)},
    }
    arms = {"arms": ["real", "synthetic"]}
    settings = tiny_settings(pets, tiny_pipeline_folder, adapt={"method": "none"}, compare=arms, shift=shift)
    listener = Listener()
    results = run(settings, tmp_path / "run", observer=listener)
    assert listener.bars["shift"] == {"done": 3, "total": 3}
    assert results["shift"]["tests"]["others"]["images"] == 10
    assert set(results["shift"]["clean"]) == set(results["arms"])
    for arm, figures in results["arms"].items():
        assert results["shift"]["clean"][arm]["accuracy"]["mean"] == pytest.approx(
            figures["accuracy"]["mean"]
        )


def test_images_of_classes_that_the_run_lacks_are_counted(tiny_pipeline_folder, tmp_path):
    pets, others = (write_pets(tmp_path / name, per_class=8, seed=seed) for seed, name in enumerate("ab"))
    for folder, of_cats, of_dogs in ((pets, "tench", "goldfish"), (others, "n01440764", "n01443537")):
        (folder / "cat").rename(folder / of_cats)
        (folder / "dog").rename(folder / of_dogs)
    shutil.copytree(write_pets(tmp_path / "c", per_class=3, seed=2) / "cat", others / "n02012849")  # cranes
    shift = {"measure": True, "corruptions": [], "tests": {"imagenet-a": str(others)}}
    compare = {"arms": ["real"]}
    settings = tiny_settings(
        pets, tiny_pipeline_folder, adapt={"method": "none"}, compare=compare, shift=shift
    )
    listener = Listener()
    measured = run(settings, tmp_path / "run", observer=listener)["shift"]["tests"]["imagenet-a"]
    assert (measured["images"], measured["left_out"]) == (16, {"images": 3, "classes": 1})
    said = "shift: 3 images of the test set 'imagenet-a' are left out: the run does not have their class"
    assert said in listener.lines


def test_the_first_command_again_keeps_the_settings_of_an_added_stage(finished, tmp_path):
    out, listener = shutil.copytree(finished[0], tmp_path / "run"), Listener()
    first = RunFolder.find(out).settings
    added = build(
        first.model_dump(mode="json"),
        {"shift": {"measure": True, "corruptions": ["noise"], "severities": [1]}, "scale": {"times": [1]}},
    )
    run(added, out)
    before = tree(out)
    assert "shift" in run(first, out, observer=listener)
    assert tree(out) == before
    assert "scale, shift: added to the run earlier, settings kept" in listener.lines


def test_changed_copies_in_a_further_test_set_are_said_and_recorded(finished, tmp_path):
    out, listener = shutil.copytree(finished[0], tmp_path / "run"), Listener()
    others = write_pets(tmp_path / "others", per_class=3, seed=9)
    known = LabelledSet.load(out / "data" / "train.parquet")
    ImageOps.mirror(known.image(0)).save(others / "cat" / "copy.png")
    first = RunFolder.find(out).settings.model_dump(mode="json")
    shift = {"measure": True, "corruptions": [], "tests": {"others": str(others)}}
    copies = run(build(first, {"shift": shift}), out, observer=listener)["shift"]["tests"]["others"]["copies"]
    (shared,) = copies["shared"]
    assert (shared["in"], shared["images"], shared["of"]) == ("train", 1, 7)
    assert shared["examples"] == [["others/cat/copy.png", known.provenance("source_path")[0]]]
    said = "shift: warning: 1 of 7 images of the test set 'others' have a changed copy among the train images"
    assert any(line.startswith(said) for line in listener.lines)


def test_what_a_repeated_stage_leaves_out_is_said(finished, tmp_path):
    out, listener = shutil.copytree(finished[0], tmp_path / "run"), Listener()
    first = RunFolder.find(out).settings.model_dump(mode="json")
    measured = {"measure": True, "corruptions": ["noise", "blur"], "severities": [1]}
    assert set(run(build(first, {"shift": measured}), out)["shift"]["corruptions"]) == {"noise", "blur"}
    fewer = build(first, {"shift": measured | {"corruptions": ["blur"], "severities": [2]}})
    assert set(run(fewer, out, observer=listener)["shift"]["corruptions"]) == {"blur"}
    said = next(line for line in listener.lines if line.startswith("shift: its settings"))
    assert (
        "(corruptions no longer has noise; severities no longer has 1), so its figures are replaced" in said
    )


def test_a_stage_that_was_added_but_not_finished_is_dropped(finished, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "run")
    first = RunFolder.find(out).settings
    RunFolder.open(out, build(first.model_dump(mode="json"), {"shift": {"measure": True}}))
    assert "shift" not in run(first, out)
    assert RunFolder.find(out).settings == first
