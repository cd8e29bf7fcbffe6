"""A run reads the files of its generator once, and frees the networks before classifiers are trained."""

import weakref
from contextlib import contextmanager

import pytest
from tiny_job import Listener, tiny_settings

from understudy.generators import diffusers_generator
from understudy.generators.load import forget_kept
from understudy.pipeline.compare import compare
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.pipeline.tune import tune


class Watcher(Listener):
    """Notes at each bar whether the denoiser is still in memory."""

    def __init__(self):
        super().__init__()
        self.denoiser, self.alive = lambda: None, {}

    @contextmanager
    def bar(self, text, *, total, unit):
        self.alive[text] = self.denoiser() is not None
        with super().bar(text, total=total, unit=unit) as advance:
            yield advance


@pytest.mark.parametrize("stage", [tune, compare])
def test_a_generator_is_freed_before_arms_are_trained(stage, pets, tiny_pipeline_folder, tmp_path):
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        adapt={"method": "none"},
        compare={"arms": ["real", "synthetic@diverse"]},
        tune={"learning_rates": [1e-3, 4e-3], "num_seeds": 1} if stage is tune else {},
    )
    run(settings, tmp_path / "pets", until="memorisation")
    this = Run(RunFolder.find(tmp_path / "pets"), "cpu", watcher := Watcher())
    watcher.denoiser = weakref.ref(this.generators.main.denoiser)
    stage(this)
    assert watcher.alive["draw noise_scale=1.1 round-00"]
    assert not watcher.alive[stage.__name__]


@pytest.mark.parametrize(("method", "times"), [("none", 1), ("lora", 1), ("full", 2)])
def test_files_are_read_once_unless_all_weights_change(
    method, times, pets, tiny_pipeline_folder, tmp_path, monkeypatch
):
    read, loaded = diffusers_generator.load_complete, []
    monkeypatch.setattr(
        diffusers_generator, "load_complete", lambda *values: loaded.append(values) or read(*values)
    )
    settings = tiny_settings(pets, tiny_pipeline_folder, adapt={"method": method})
    forget_kept()
    run(settings, tmp_path / "pets", until="draw")
    assert len(loaded) == times
