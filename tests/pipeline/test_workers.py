"""A run whose trainings are done by several processes ends like one that does them all itself."""

from contextlib import contextmanager

import numpy as np
import pytest
from tiny_job import Listener, tiny_settings

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
    assert listener.bars["compare"]["done"] == (9 - len(kept)) * 4
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert resumed["tune"]["arms"] == whole["tune"]["arms"]
    for name, arm in whole["compare"]["arms"].items():
        assert resumed["compare"]["arms"][name] | {"seconds": arm["seconds"]} == arm
    for path in (tmp_path / "whole" / "arms").glob("*-seed?.npz"):
        ours, theirs = read_arrays(path), read_arrays(tmp_path / "stopped" / "arms" / path.name)
        np.testing.assert_array_equal(ours["probabilities"], theirs["probabilities"])
