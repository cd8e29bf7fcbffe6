"""A run that is stopped at any moment, and started again by the same command, ends like one that was not."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_job import OPTIONS, times, tiny_settings, tree, write_pets

from understudy.core.config import parse_override
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.settings import build

pytestmark = pytest.mark.usefixtures("plain_report")

# Many parts, refills and trainings, so that there is something to do at every moment.
MORE = (
    "adapt.steps=8",
    "draw.per_class=6",
    "curate.threshold=1.0",
    "compare.arms=[real,synthetic]",
    "compare.steps=6",
)


@pytest.fixture(scope="module")
def job(tmp_path_factory, tiny_pipeline_folder):
    """The settings of a job, its command without --out, and the folder of an uninterrupted run."""
    pets = write_pets(tmp_path_factory.mktemp("source") / "pets")
    settings = tiny_settings(pets, tiny_pipeline_folder).model_dump()
    settings = build(settings, *(parse_override(text) for text in MORE))
    command = [
        "run",
        str(pets),
        "--generator",
        str(tiny_pipeline_folder),
        *OPTIONS,
        *(word for text in MORE for word in ("--set", text)),
    ]
    out = tmp_path_factory.mktemp("runs") / "whole"
    run(settings, out)
    return settings, command, out


KEPT = re.compile(r"stages/.*\.json|synthetic/(plan|images)/.*\.parquet|arms/.*-seed\d+\.npz")
"""What must not be touched again once it is there: records, plans, images and trainings."""


def finished(out):
    """Those files, with their times."""
    return {path: when for path, when in times(out).items() if KEPT.fullmatch(path)}


def num_finished(out):
    return sum(KEPT.fullmatch(path.relative_to(out).as_posix()) is not None for path in out.rglob("*"))


def assert_same_results(out, whole):
    assert tree(out / "synthetic") == tree(whole / "synthetic")
    assert tree(out / "adapter" / "unet") == tree(whole / "adapter" / "unet")
    here, there = (json.loads((folder / "results.json").read_text()) for folder in (out, whole))
    for results in (here, there):
        for arm in results["arms"].values():
            del arm["seconds"]
    assert here["arms"] == there["arms"]
    for name in ("data", "adaptation", "curation", "fidelity", "memorisation", "verdict"):
        assert here[name] == there[name]
    for arm in here["arms"]:
        assert tree(out / "arms" / f"{arm}-classifier") == tree(whole / "arms" / f"{arm}-classifier")


def test_there_is_something_to_stop(job):
    _, _, whole = job
    assert len(list(whole.glob("synthetic/images/round-00/*.parquet"))) == 6
    assert len(list(whole.glob("synthetic/images/round-*"))) > 1, "some images are drawn anew"


class KilledError(BaseException):
    """Nothing of the program runs after it but what the interpreter insists on."""


@pytest.mark.slow
def test_a_stop_before_any_kind_of_file_is_complete(job, tmp_path, monkeypatch):
    """The first file of every kind is lost when its temporary file is whole but not yet renamed; each time
    the run starts anew.
    """
    settings, _, whole = job
    out, lost = tmp_path / "run", []
    replace = os.replace

    def lose_first(source, target):
        if out in Path(target).parents:
            kind = re.sub(r"\d+", "N", Path(target).relative_to(out).as_posix())
            if kind not in lost:
                lost.append(kind)
                raise KilledError
        replace(source, target)

    monkeypatch.setattr(os, "replace", lose_first)
    untouched = {}
    while True:
        count = len(lost)
        try:
            run(settings, out)
            break
        except KilledError:
            assert len(lost) == count + 1
            now = finished(out)
            assert now.items() >= untouched.items()
            untouched = now
    assert {
        "settings.yaml",
        "data/train.parquet",
        "stages/draw.json",
        "synthetic/curated.parquet",
        "report.html",
    } <= set(lost)
    assert len(lost) > 20
    assert_same_results(out, whole)


def _heed_interrupts():
    """A background job of a shell, as these tests may be, is deaf to Ctrl-C, and so is what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupt(command, out, *, when, delay, number):
    """Start the command line, wait until something is there and a moment longer, send a signal; gives exit
    code and errors.
    """
    words = [sys.executable, "-W", "ignore", "-m", "understudy.cli", *command, "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        words,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=_heed_interrupts,
    )
    while process.poll() is None and not when():
        time.sleep(0.01)
    if process.poll() is None:
        time.sleep(delay)
        process.send_signal(number)
    _, errors = process.communicate()
    return process.returncode, errors


@pytest.mark.slow
def test_kill_at_random_moments(job, tmp_path):
    """kill -9 while adapting, then Ctrl-C and kill -9 when some more files are there."""
    settings, command, whole = job
    out, rng = tmp_path / "run", np.random.default_rng(0)
    code, errors = interrupt(
        command,
        out,
        when=(out / "adapter" / "checkpoint.pt").exists,
        delay=rng.uniform(0, 0.05),
        number=signal.SIGKILL,
    )
    assert code == -signal.SIGKILL, errors
    untouched = finished(out)

    # In each half of what is to come, but for the last few files.
    total = num_finished(whole) - 5
    for half, number in enumerate((signal.SIGINT, signal.SIGKILL)):
        least = max(num_finished(out) + 1, int(rng.integers(half * total // 2, (half + 1) * total // 2)))
        code, errors = interrupt(
            command,
            out,
            when=lambda least=least: num_finished(out) >= least,
            delay=rng.uniform(0, 0.05),
            number=number,
        )
        if number == signal.SIGINT:
            assert code == 130
            assert f"stopped; everything finished is kept. To continue: understudy run {command[1]}" in errors
            assert "Traceback" not in errors
        else:
            assert code == -signal.SIGKILL, errors
        assert finished(out).items() >= untouched.items()
        untouched = finished(out)

    code, errors = interrupt(command, out, when=lambda: False, delay=0, number=signal.SIGKILL)
    assert code == 0, errors
    assert finished(out).items() >= untouched.items()
    assert RunFolder.find(out).settings == settings
    assert_same_results(out, whole)


def test_a_kill_before_the_settings_are_there(job, tmp_path):
    settings, _, _ = job
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".settings.yaml.tmp").write_text("seed: ")
    assert not RunFolder.check(tmp_path / "run", settings)
    assert RunFolder.open(tmp_path / "run", settings) == RunFolder.find(tmp_path / "run")
