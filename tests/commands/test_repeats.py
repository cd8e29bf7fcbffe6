"""`understudy run --repeats`: whole runs in one folder, and a verdict over all of them."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_job import OPTIONS, Listener, results_of, times, tiny_settings, tree

from understudy import run_study
from understudy.commands.cost import Estimate
from understudy.commands.options import Repeats
from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.functional.intervals import student_interval
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.recipes import REPEATS
from understudy.report.study_page import commands
from understudy.settings import build, to_yaml

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]

QUICK = {
    "adapt": {"method": "none"},
    "draw": {"per_class": 2},
    "curate": {"score": "none"},
    "compare": {"arms": ["real", "real+val", "synthetic"], "steps": 2, "curve_points": 0},
}
WORDS = [
    *(
        word
        for text in OPTIONS[1::2]
        if not text.startswith(("adapt.", "draw.per", "curate."))
        for word in ("--set", text)
    ),
    *("--recipe", "vanilla", "--arms", "real,real+val,synthetic", "--shots", "2"),
    *("--set", "curate.score=none", "--set", "draw.per_class=2", "--set", "compare.steps=2"),
]


@pytest.fixture(scope="module")
def job(pets, tiny_pipeline_folder):
    return lambda **sections: tiny_settings(pets, tiny_pipeline_folder, **QUICK | sections)


@pytest.fixture(scope="module")
def repeated(job, tmp_path_factory):
    """Three whole runs of two images per class. Tests only read or copy them."""
    out = tmp_path_factory.mktemp("repeats") / "pets"
    run_study("repeats", job(data={"shots": 2}), out, repeats=3)
    return out


def study_of(folder):
    return json.loads((folder / "study.json").read_text())


def images_of(folder, split):
    return set(LabelledSet.load(folder / "data" / f"{split}.parquet").ids)


def test_every_run_is_whole_and_has_other_images_and_another_seed(repeated, job, tmp_path):
    runs = [repeated / "runs" / f"run-repeat{number}" for number in range(3)]
    assert sorted((repeated / "runs").iterdir()) == runs
    assert [RunFolder.find(path).settings.seed for path in runs] == [0, 1, 2]
    assert len({frozenset(images_of(path, "train")) for path in runs}) == 3
    alone = run(job(data={"shots": 2, "test_split": 0}, seed=1), tmp_path / "alone")
    repeat = results_of(runs[1])
    for arms in (alone["arms"], repeat["arms"]):
        for arm in arms.values():
            del arm["seconds"]
    assert alone["arms"] == repeat["arms"], "a repeat is the run with its seed"


def test_no_image_that_a_run_is_tested_on_chooses_or_teaches_in_another(repeated):
    runs = [repeated / "runs" / f"run-repeat{number}" for number in range(3)]
    tested = {frozenset(images_of(path, "test")) for path in runs}
    assert len(tested) == 1
    assert not any(images_of(path, split) & set(*tested) for path in runs for split in ("train", "val"))
    assert len({row["test_images"] for row in study_of(repeated)["runs"]}) == 1


def test_studies_of_earlier_versions_go_on_with_other_test_images_in_each_run(repeated, job, tmp_path):
    """Their index has no number of the test split, and neither have the settings of their runs."""
    out = tmp_path / "old"
    run(job(data={"shots": 2}), out / "runs" / "run-repeat0")
    run(job(data={"shots": 2}, seed=1), out / "runs" / "run-repeat1")
    index = (repeated / "study.yaml").read_text()
    assert index.count("    test_split: 0\n") == 1
    (out / "study.yaml").write_text(index.replace("    test_split: 0\n", ""))
    before = times(out / "runs")
    study = run_study("repeats", job(data={"shots": 2}), out, repeats=2)
    assert times(out / "runs") == before
    assert len({row["test_images"] for row in study["runs"]}) == 2
    assert study["sentence"].startswith("Over 2 runs, each with other real images, ")


def test_the_summary_is_over_runs(repeated):
    study = study_of(repeated)
    (point,) = study["points"]
    assert (study["kind"], study["sets"], study["repeats_differ_in"], point["runs"]) == (
        "repeats",
        [],
        "seed",
        3,
    )
    results = [results_of(repeated / row["folder"]) for row in study["runs"]]
    for name, arm in point["arms"].items():
        means = [each["arms"][name]["accuracy"]["mean"] for each in results]
        assert arm["accuracy"]["runs"] == means
        if len(set(means)) > 1:
            student = student_interval(means)
            assert arm["accuracy"]["interval"] == "runs and images"
            assert arm["accuracy"]["low"] <= max(0, student["low"])
    verdict = study["verdict"]
    assert verdict["arms"] == ["synthetic"] * 3
    assert verdict["minus_real"] == point["arms"]["synthetic"]["minus_real"]
    assert verdict["minus_real_val"] == point["arms"]["synthetic"]["minus_real_val"]
    assert study["sentence"].startswith("Over 3 runs on the same test images, each with other train images, ")
    train = [images_of(repeated / row["folder"], "train") for row in study["runs"]]
    shared = [len(one & other) / len(one) for one in train for other in train if one is not other]
    assert verdict.get("shared_train_images", 0) == pytest.approx(sum(shared) / len(shared))
    assert ("of their train images in common" in study["sentence"]) == any(shared)
    page = (repeated / "study.html").read_text()
    assert "How much runs differ" in page
    assert commands(study) == ["run_study('repeats', settings, out, repeats=5)"]


def test_runs_on_the_same_images_say_so(job, pets, tmp_path):
    """A source with its own splits, without --shots."""
    for split, kept in (("train", range(6)), ("val", range(6, 9)), ("test", range(9, 12))):
        for name in ("cat", "dog"):
            to = tmp_path / "split" / split / name
            to.mkdir(parents=True)
            for number in kept:
                shutil.copy(pets / name / f"{number}.png", to)
    settings = job(data={"source": str(tmp_path / "split")})
    study = run_study("repeats", settings, tmp_path / "out", repeats=2)
    assert study["sentence"].startswith("Over 2 runs on the same real images, ")
    assert len({row["train_images"] for row in study["runs"]}) == 1


def test_more_runs_are_added_and_fewer_change_nothing(repeated, job, tmp_path):
    out = shutil.copytree(repeated, tmp_path / "copy")
    before, listener = times(out), Listener()
    study = run_study("repeats", job(data={"shots": 2}), out, repeats=2, observer=listener)
    assert times(out) == before
    assert study["points"][0]["runs"] == 3
    assert listener.lines == ["study: 1 more run in the folder, which counts too"]
    study = run_study("repeats", job(data={"shots": 2}), out, repeats=4)
    assert study["points"][0]["runs"] == 4
    assert {
        path: when for path, when in times(out / "runs").items() if not path.startswith("run-repeat3")
    } == {path.removeprefix("runs/"): when for path, when in before.items() if path.startswith("runs/")}


def test_a_single_run_that_was_moved_is_the_first(job, tmp_path):
    """As the message about a single run says; the run needs nothing new."""
    settings = job(data={"shots": 2})
    single = run(settings, tmp_path / "out" / "runs" / "run-repeat0")
    before = times(tmp_path / "out")
    study = run_study("repeats", settings, tmp_path / "out", repeats=1)
    assert {path: when for path, when in times(tmp_path / "out").items() if path in before} == before
    assert study["sentence"].startswith(single["verdict"]["sentence"].split(":")[0])
    assert study["sentence"].endswith("This is a single run, which says nothing about others.")
    assert study["verdict"]["helps"] is False


def test_a_fixed_subset_is_kept(job, tmp_path):
    """Then runs differ in the rest only."""
    study = run_study("repeats", job(data={"shots": 2, "subset": 1}), tmp_path, repeats=2)
    assert [(row["seed"], row["subset"]) for row in study["runs"]] == [(0, 1), (1, 1)]


def test_the_command_line(understudy, pets, tiny_pipeline_folder, tmp_path):
    words = ("run", pets, "--generator", tiny_pipeline_folder, *WORDS)
    code, out, err = understudy(*words, "--repeats", "2")
    assert (code, err) == (0, "")
    folder = tmp_path / "runs" / "pets-repeats"
    study = study_of(folder)
    assert study["sentence"] in " ".join(out.split())
    assert out.splitlines()[-1] == "runs/pets-repeats/study.html  runs/pets-repeats/study.json"
    for head in ("difference to real+val,", "spread", "chosen on validation images of other runs"):
        assert head in out
    before = times(folder)
    code, out, _ = understudy(*words, "--repeats", "2")
    assert (code, times(folder)) == (0, before)
    code, _, err = understudy(*words, "--repeats", "2", "--resume", "never")
    assert code == 2 and "runs/pets-repeats already holds a study, and --resume never was given" in err
    code, _, err = understudy(*words, "--out", "runs/pets-repeats")
    assert code == 2 and "runs/pets-repeats holds a study, not a run: go on with the command that" in err
    runs = "runs/pets-repeats/runs/run-repeat0, runs/pets-repeats/runs/run-repeat1"
    for command in ("run", "evaluate", "gap", "audit", "validate", "report", "compare-runs"):
        further = ["runs/other"] if command == "compare-runs" else []
        code, _, err = understudy(command, "runs/pets-repeats", *further)
        assert code == 2
        assert f"give one of its runs, {runs}" in " ".join(err.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run digits --repeats 0", "--repeats must be from 1 to 1,000, got 0"),
        (
            "run digits --repeats 1000000",
            "--repeats must be from 1 to 1,000, got 1,000,000: each is a whole run",
        ),
        (
            "run digits --repeats 1.5",
            "Invalid value for '--repeats': must be a whole number such as 3, got '1.5'",
        ),
        ("run digits --seed x", "Invalid value for '--seed': must be a whole number such as 3, got 'x'"),
        ("run digits --repeats 2 --resume always", "runs/digits-repeats holds no study to continue, and"),
        ("run single --repeats 3", "single holds a single run, and 3 runs need a folder that holds them all"),
        ("run digits --repeats 3 --out single", "mkdir -p DIR/runs && mv single DIR/runs/run-repeat0"),
        ("preview digits --repeats 0", "--repeats must be from 1 to 1,000, got 0"),
        ("study repeats digits --points 2", "points of a study of repeats must be 'run', the only point, "),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(words, message, understudy, tmp_path):
    (tmp_path / "single").mkdir()
    (tmp_path / "single" / "settings.yaml").write_text("")
    before = tree(tmp_path)
    code, _, err = understudy(*words.split())
    assert code == 2
    assert message in " ".join(err.split())
    assert tree(tmp_path) == before


def test_thorough_repeats_unless_a_single_run_was_begun(understudy, monkeypatch, tmp_path):
    """A run begun by an older version, or by `understudy draw`, goes on as a single run."""
    asked = []
    monkeypatch.setattr(
        "understudy.cli._do_study", lambda kind, *_, repeats, **__: asked.append((kind, repeats))
    )
    monkeypatch.setattr("understudy.cli._do", lambda *_, **__: asked.append("single"))
    understudy("run", "digits", "--preset", "thorough")
    understudy("run", "digits", "--preset", "thorough", "--repeats", "1")
    understudy("run", "digits")
    (tmp_path / "runs" / "digits").mkdir(parents=True)
    settings = build({"data": {"source": "digits"}})
    (tmp_path / "runs" / "digits" / "settings.yaml").write_text(to_yaml(settings))
    understudy("run", "digits", "--preset", "thorough")
    understudy("run", "digits", "--preset", "thorough", "--repeats", "3")
    assert asked == [("repeats", REPEATS["thorough"]), "single", "single", "single", ("repeats", 3)]


def test_the_help_names_the_number_of_each_preset():
    (option,) = Repeats.__metadata__
    words = [f"{number} with the preset {preset}" for preset, number in REPEATS.items()]
    assert option.help.endswith(f"[default: 1; {', '.join(words)}]")


def test_preview_counts_every_run():
    estimate = Estimate(
        seconds={"draw": 40.0, "compare": 20.0}, images=10, images_per_second=1.0, disk_mb=2.0
    )
    assert ("5 runs", "5 min") in estimate.rows(repeats=5)
    assert ("disk", "10.0 MB of synthetic images and classifiers") in estimate.rows(repeats=5)
    assert [name for name, _ in estimate.rows()] == ["draw", "compare", "total", "disk"]


def test_a_folder_of_another_study_is_refused(repeated, job):
    with pytest.raises(InputError, match="holds a study of repeats, not of volume"):
        run_study("volume", job(draw={"per_class": None}), Path(repeated), points=[2])
