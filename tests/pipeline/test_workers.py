"""A run whose trainings are done by several processes ends like one that does them all itself."""

import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import psutil
import pytest
from tiny_job import OPTIONS, Listener, tiny_settings

from understudy.core.files import read_arrays
from understudy.pipeline.run import run

pytestmark = pytest.mark.slow


class Stopping:
    """Presses Ctrl-C when another process has finished the first training of ``compare``."""

    def say(self, text):
        pass

    @contextmanager
    def bar(self, text, *, total, unit):
        def advance(amount):
            if text == "compare" and amount > 1:
                raise KeyboardInterrupt

        yield advance


def test_a_run_with_workers_that_is_stopped(pets, tiny_pipeline_folder, tmp_path, at_once):
    def do(folder, workers, observer=None):
        settings = tiny_settings(
            pets,
            tiny_pipeline_folder,
            compare={"arms": ["real", "mixed", "bridged++"]},
            tune={"learning_rates": [1e-3, 4e-3]},
            compute={"workers": workers},
        )
        return run(settings, tmp_path / folder, until="compare", observer=observer)

    whole = do("whole", 1)
    with pytest.raises(KeyboardInterrupt):
        do("stopped", 2, Stopping())
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "stopped" / "arms").glob("*.npz")}
    assert 2 <= len(kept) < 9
    listener = Listener()
    resumed = do("stopped", 2, listener)
    assert listener.bars["compare"] == {"done": 9 * 4, "total": 9 * 4}, "what was found done counts"
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert resumed["tune"]["arms"] == whole["tune"]["arms"]
    for name, arm in whole["compare"]["arms"].items():
        assert resumed["compare"]["arms"][name] | {"seconds": arm["seconds"]} == arm
    for path in (tmp_path / "whole" / "arms").glob("*-seed?.npz"):
        ours, theirs = read_arrays(path), read_arrays(tmp_path / "stopped" / "arms" / path.name)
        np.testing.assert_array_equal(ours["probabilities"], theirs["probabilities"])


AT_ONCE = """
import sys
from understudy.core.executors import here
here._WORTH = 0.0  # worker processes start after the first step
from understudy import cli
cli.main(sys.argv[1:])
"""


def has_workers_that_train(process):
    """Whether two workers have used more CPU time than they need to import torch."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        workers = [child for child in children if "popen_loky" in " ".join(child.cmdline())]
        return sum(worker.cpu_times().user >= 4 for worker in workers) >= 2
    except psutil.Error:
        return False


@pytest.mark.parametrize("to_group", [False, True], ids=["first process", "all processes"])
def test_sigterm_ends_a_run_with_workers_in_one_sentence(to_group, pets, tiny_pipeline_folder, tmp_path):
    """As ``kill`` sends it, and as ``timeout`` and batch systems send it."""
    given = [word for word in OPTIONS if word != "--set" and not word.startswith("curate.")]
    given += ["curate.score=none", "compare.steps=100000"]  # no judge that would train as long
    words = ["run", str(pets), "--generator", str(tiny_pipeline_folder), "--workers", "2", "--out", "run"]
    words += [part for word in given for part in ("--set", word)]
    process = subprocess.Popen(
        [sys.executable, "-c", AT_ONCE, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    limit = time.monotonic() + 300
    while process.poll() is None and not has_workers_that_train(process):
        assert time.monotonic() < limit, "the workers did not begin within five minutes"
        time.sleep(0.1)
    group = psutil.Process(process.pid).children(recursive=True)
    (os.killpg if to_group else os.kill)(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip().splitlines()) == (
        143,
        [f"stopped; everything finished is kept. To continue: {shlex.join(['understudy', *words])}"],
    )
    psutil.wait_procs(group, timeout=10)
    assert not [one for one in group if one.is_running()]
