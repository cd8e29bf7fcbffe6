"""A run gives the same images and trainings, whoever does the work, and can be resumed by anyone."""

import gc
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
from tiny_job import OPTIONS, adapter_of, results_of, times, tiny_settings, tree
from tiny_jobs import run_folder_is_unseen

from understudy.commands.study import run_study
from understudy.core.errors import InputError
from understudy.core.executors import ray_actors, slurm
from understudy.core.registry import Registry
from understudy.pipeline.run import run
from understudy.settings import build, with_section

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("plain_report"),
    # The local executor of submitit leaves pipes open.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

JOB = {
    "draw": {"per_class": 5, "members": 2, "steps": 2, "part_size": 2, "batch_size": 2},
    "curate": {"max_refills": 0, "stop_at_chance": False},
    "compare": {"arms": ["real", "synthetic"]},
    "compute": {"threads": 1},
}
ASKED_FOR = {
    "draw": {"members": 1, "per_class": 3},
    "tune": {"learning_rates": [1e-3, 4e-3]},
    "gap": {"measure": True, "strengths": [0.5]},
    "membership": {
        "measure": True,
        "target": "pipeline",
        "arms": ["synthetic"],
        "shadows": 6,
        "false_positive_rates": [0.5],
    },
}
"""Everything else that is divided among workers: trials, sets of the gap, shadow pipelines."""
FIGURES = ("data", "arms", "curation", "fidelity", "verdict")
DIVIDED = ("tuning", "gap", "membership")
LIBRARIES = ("ray", "submitit")
"""What executors import only if they are used."""
FURTHER = [
    (section, name, value)
    for section, values in JOB.items()
    for name, value in values.items()
    if section != "compute"
]


@pytest.fixture(autouse=True)
def insiders(monkeypatch):
    """Although other tests have registered names."""
    monkeypatch.setattr(Registry, "has_outsiders", False)
    yield
    gc.collect()


@pytest.fixture(scope="module")
def job(pets, tiny_pipeline_folder):
    return build(tiny_settings(pets, tiny_pipeline_folder).model_dump(exclude_unset=True), JOB)


@pytest.fixture(scope="module")
def whole(job, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    run(with_section(job, "compute", executor="local"), out)
    return out


@pytest.fixture(scope="module")
def ray_of_tests():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.delenv("RAY_ADDRESS", raising=False)
        yield
        pytest.importorskip("ray").shutdown()
        ray_actors._teams.clear()


def files_of(out):
    """What drawing, choosing and training leave: the parts, the sets, the adapters, the predictions."""
    kept = tree(out / "synthetic") | {f"adapter/{path}": digest for path, digest in adapter_of(out).items()}
    return {path: digest for path, digest in kept.items() if not path.endswith(("report.json", "variants"))}


def figures_of(out, *sections):
    """These sections of the results, without times."""
    results = results_of(out)
    return {name: without_seconds(results[name]) for name in sections}


def without_seconds(figures):
    if isinstance(figures, list):
        return list(map(without_seconds, figures))
    if not isinstance(figures, dict):
        return figures
    return {name: without_seconds(value) for name, value in figures.items() if name != "seconds"}


def executor_of(job, name, monkeypatch):
    """The settings with an executor, which finds what the tests need."""
    if name == "slurm":
        monkeypatch.setattr(slurm, "_cluster", "local")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    if name == "ray without the run folder":
        run_folder_is_unseen(monkeypatch)
    further = {"slurm": ("time=60",)} if name == "slurm" else {}
    return with_section(job, "compute", executor=name.split()[0], workers=2, **further)


@pytest.mark.parametrize("name", ["processes", "slurm", "ray", "ray without the run folder"])
def test_everybody_does_the_same(name, job, whole, tmp_path, monkeypatch, ray_of_tests):
    run(executor_of(job, name, monkeypatch), tmp_path / "run")
    assert files_of(tmp_path / "run") == files_of(whole)
    assert figures_of(tmp_path / "run", *FIGURES) == figures_of(whole, *FIGURES)
    assert not list((tmp_path / "run").rglob("*.tmp"))


@pytest.fixture(scope="module")
def asked(job, tmp_path_factory):
    """Settings with all of that, and the folder of the run that one process has done."""
    out = tmp_path_factory.mktemp("runs") / "asked"
    settings = build(job.model_dump(exclude_unset=True), ASKED_FOR)
    run(with_section(settings, "compute", executor="local"), out)
    return settings, out


@pytest.mark.parametrize("name", ["processes", "ray without the run folder"])
def test_everybody_divides_trials_gaps_and_shadow_pipelines(name, asked, tmp_path, monkeypatch, ray_of_tests):
    settings, whole = asked
    run(executor_of(settings, name, monkeypatch), tmp_path / "run")
    assert figures_of(tmp_path / "run", *DIVIDED) == figures_of(whole, *DIVIDED)
    images = {path.name: path.read_bytes() for path in (whole / "membership").rglob("synthetic-*.parquet")}
    assert len(images) == 6
    for path in (tmp_path / "run" / "membership").rglob("synthetic-*.parquet"):
        assert path.read_bytes() == images.pop(path.name)
    assert not images


def test_an_actor_that_is_killed_while_it_draws_changes_nothing(
    job, whole, tmp_path, monkeypatch, ray_of_tests
):
    out, killed = tmp_path / "run", []

    def kill_one():
        while not list(out.glob("synthetic/images/round-00/*.parquet")):
            time.sleep(0.01)
        family = psutil.Process().children(recursive=True)
        next(one for one in family if one.name().startswith("ray::RayWorker")).kill()
        killed.append(len(list(out.glob("synthetic/images/**/part-*.parquet"))))

    thread = threading.Thread(target=kill_one, daemon=True)
    thread.start()
    run(executor_of(job, "ray", monkeypatch), out)
    thread.join(timeout=1)
    assert killed[0] < len(list(out.glob("synthetic/images/**/part-*.parquet"))), "it was killed in time"
    assert files_of(out) == files_of(whole)
    assert figures_of(out, *FIGURES) == figures_of(whole, *FIGURES)


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        ({"executor": "slurm"}, "needs submitit"),
        ({"executor": "slurm", "slurm": ["time=9"]}, "needs --workers"),
        ({"executor": "ray"}, "needs Ray"),
        ({"executor": "processes", "workers": 999}, "999 workers need 999 times 1 cores"),
    ],
)
def test_an_executor_that_cannot_work_is_told_before_anything_is_read(
    compute, message, job, tmp_path, monkeypatch
):
    """Neither a run nor a study looks for its source, which is not there, or makes its folder."""
    lacks = importlib.util.find_spec
    if "submitit" in message or "Ray" in message:
        monkeypatch.setattr(
            "importlib.util.find_spec", lambda name: None if name in LIBRARIES else lacks(name)
        )
    job = with_section(job, "data", source=str(tmp_path / "missing"))
    settings = with_section(job, "compute", **compute)
    with pytest.raises(InputError, match=message):
        run(settings, tmp_path / "run")
    with pytest.raises(InputError, match=f"{tmp_path}/missing"):  # load needs no executor
        run(settings, tmp_path / "run", until="load")
    volume = build(settings.model_dump(exclude_unset=True), {"draw": {"per_class": None}})
    with pytest.raises(InputError, match=message):
        run_study("volume", volume, tmp_path / "study", points=[2], repeats=1)
    assert not list(tmp_path.iterdir())


def test_a_run_goes_on_with_another_executor(job, whole, tmp_path, monkeypatch):
    out = tmp_path / "run"
    run(with_section(job, "compute", executor="local"), out, until="draw")
    drawn = {path: when for path, when in times(out).items() if "/images/" in path}
    run(executor_of(job, "processes", monkeypatch), out)
    assert files_of(out) == files_of(whole)
    assert {path: times(out)[path] for path in drawn} == drawn


def test_runs_of_a_study_side_by_side(job, tmp_path, monkeypatch):
    """A failing one is told as in this process; others share adapters as there."""
    quick = {"draw": {"members": 1, "per_class": None}}
    base = build(job.model_dump(exclude_unset=True), quick)
    for name in ("local", "processes"):
        settings = executor_of(base, name, monkeypatch)
        run_study("volume", settings, tmp_path / name, points=[2, 3], repeats=2)
    here, there = (
        json.loads((tmp_path / name / "study.json").read_text()) for name in ("local", "processes")
    )
    for study in (here, there):
        for row in study["runs"]:
            del row["seconds"]
    assert there["runs"] == here["runs"]
    for number in (0, 1):
        shared = [adapter_of(tmp_path / "processes" / "runs" / f"{point}-repeat{number}") for point in (2, 3)]
        assert shared[0] == shared[1]


def test_an_error_of_a_run_of_a_study_comes_home(job, tmp_path, monkeypatch):
    """Its folder can be used again."""
    few = {"draw": {"per_class": None}, "compare": {"learning_rate": 1e30}}
    settings = executor_of(build(job.model_dump(exclude_unset=True), few), "processes", monkeypatch)
    with pytest.raises(InputError, match="lower compare.learning_rate"):
        run_study("volume", settings, tmp_path / "study", points=[2], repeats=1)
    assert not list(tmp_path.rglob("failed.txt"))


@pytest.mark.parametrize(
    ("executor", "how"),
    [("processes", signal.SIGKILL), ("ray", signal.SIGKILL), ("ray", signal.SIGINT)],
    ids=["processes", "ray", "ray-ctrl-c"],
)
def test_a_kill_of_the_whole_run_leaves_no_worker_behind(
    executor, how, job, whole, pets, tiny_pipeline_folder, tmp_path, ray_of_tests
):
    """Another executor goes on; nothing that was drawn is drawn again."""
    out = tmp_path / "run"
    given = ["--generator", str(tiny_pipeline_folder), *OPTIONS, "--threads", "1", "--executor", executor]
    further = [f"--set={section}.{name}={json.dumps(value)}" for section, name, value in FURTHER]
    process = subprocess.Popen(
        [sys.executable, "-m", "understudy.cli", "run", str(pets), *given, *further, "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(list(out.glob("synthetic/images/round-00/*.parquet"))) < 2 and process.poll() is None:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [one for one in children if "Agent" not in one.name()]  # agents of Ray notice it a minute later
    process.send_signal(how)
    process.wait(timeout=120)
    drawn = {
        path: when for path, when in times(out).items() if re.search("/images/.*/part-.....[.]parquet", path)
    }
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not [worker for worker in alive if worker.status() != psutil.STATUS_ZOMBIE]
    run(with_section(job, "compute", executor="local"), out)
    assert files_of(out) == files_of(whole)
    assert {path: times(out)[path] for path in drawn} == drawn
    assert len(drawn) >= 2
    assert not list(out.glob(".workers-*"))
    assert not list(out.rglob("*.tmp"))
