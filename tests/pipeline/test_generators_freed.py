"""A run reads the files of its generator once, and frees the networks before classifiers are trained."""

import gc
import weakref
from contextlib import contextmanager

import numpy as np
import pytest
from accelerate.hooks import ModelHook, add_hook_to_module
from tiny_captioners import save_captioner
from tiny_job import Listener, tiny_settings

from understudy.commands.time_limit import fit_to_time
from understudy.data.captions.model import CaptionModel
from understudy.data.labelled_set import LabelledSet
from understudy.generators import pipeline_parts
from understudy.generators.load import forget_kept, load_generator
from understudy.pipeline.compare import compare
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.membership import membership
from understudy.pipeline.run import run
from understudy.pipeline.shadow_pipeline import begin
from understudy.pipeline.tune import tune

pytestmark = pytest.mark.slow


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


@pytest.fixture
def loaded(monkeypatch):
    """Weak references to the denoisers of all pipelines that are read from now on.

    They refer to themselves, as offloaded ones do, and garbage is not searched for by chance.
    """
    read, found = pipeline_parts.load_complete, []

    def noting(*values):
        pipeline = read(*values)
        add_hook_to_module(pipeline.unet, ModelHook())
        found.append(weakref.ref(pipeline.unet))
        return pipeline

    monkeypatch.setattr(pipeline_parts, "load_complete", noting)
    forget_kept()
    gc.disable()
    yield found
    gc.enable()
    forget_kept()


def num_alive(references):
    return sum(reference() is not None for reference in references)


@pytest.mark.parametrize("stage", [tune, compare, membership])
def test_a_generator_is_freed_before_arms_are_trained(stage, pets, tiny_pipeline_folder, tmp_path):
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        adapt={"method": "none"},
        compare={"arms": ["real", "synthetic@diverse"]},
        tune={"learning_rates": [1e-3, 4e-3], "num_seeds": 1} if stage is tune else {},
        membership={"arms": ["bridged@diverse"], "shadows": 6, "false_positive_rates": [0.5]},
    )
    run(settings, tmp_path / "pets", until="memorisation")
    this = Run(RunFolder.find(tmp_path / "pets"), "cpu", watcher := Watcher())
    watcher.denoiser = weakref.ref(this.generators.main.denoiser)
    stage(this)
    assert watcher.alive["draw noise_scale=1.1 round-00"]
    assert not watcher.alive[stage.__name__]


def test_shadow_pipelines_do_not_pile_up(pets, tiny_pipeline_folder, loaded, tmp_path):
    settings = tiny_settings(pets, tiny_pipeline_folder, adapt={"method": "lora"})
    run(settings, tmp_path / "pets", until="load")
    this = Run(RunFolder.find(tmp_path / "pets"), "cpu", Listener())
    images = tmp_path / "shadow.parquet"
    list(begin(this, tmp_path / "shadows", np.arange(0, len(this.train), 2), 5, images).steps())
    assert len(LabelledSet.load(images)) == 6
    assert loaded
    assert num_alive(loaded) == 0


@pytest.mark.parametrize(("method", "times"), [("none", 1), ("lora", 1), ("full", 2)])
def test_files_are_read_once_unless_all_weights_change(
    method, times, pets, tiny_pipeline_folder, loaded, tmp_path
):
    settings = tiny_settings(pets, tiny_pipeline_folder, adapt={"method": method})
    run(settings, tmp_path / "pets", until="draw")
    assert len(loaded) == times


@pytest.mark.parametrize(("method", "left"), [("lora", 1), ("full", 0)])
def test_a_run_with_a_time_limit_begins_with_at_most_the_generator_that_it_uses(
    method, left, pets, tiny_pipeline_folder, loaded
):
    settings = tiny_settings(pets, tiny_pipeline_folder, adapt={"method": method})
    fit_to_time(settings, 3600)
    assert (len(loaded), num_alive(loaded)) == (1, left)
    generator = load_generator(settings.generator, device="cpu")
    assert len(loaded) == 2 - left
    assert generator.denoiser is loaded[-1]()


def test_a_captioning_model_has_the_memory_of_the_generator(
    pets, tiny_pipeline_folder, loaded, tmp_path, monkeypatch
):
    alive, describe = [], CaptionModel.describe

    def noting(*values, **options):
        alive.append(num_alive(loaded))
        return describe(*values, **options)

    monkeypatch.setattr(CaptionModel, "describe", noting)
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        adapt={"method": "none"},
        draw={"prompt": "{class}, {caption}"},
        captions={"source": "model", "model": str(save_captioner("git", tmp_path / "git"))},
    )
    run(settings, tmp_path / "pets", until="draw")
    assert alive
    assert not any(alive)
    assert len(loaded) == 2, "checked before the captions are written, and with them"
