import gc
import os

import rare_garbage  # noqa: F401 - before all that makes many objects

# isort: split
from understudy import cli  # before torch, so that torch's threads wait passively

# isort: split
import hypothesis
import pytest
import torch
from PIL import Image
from pipeline_copies import Copies
from sklearn.datasets import load_sample_image
from tiny import save_tiny_pipeline, two_classes
from tiny_job import STUDY_FIGURES, Listener, real_page, tiny_settings, write_pets, write_plain_report

from understudy.commands import printing
from understudy.core.executors import here
from understudy.core.registry import Registry
from understudy.generators import pipeline_parts
from understudy.generators.stable_diffusion import StableDiffusionGenerator
from understudy.pipeline.run import run

# A change passes or fails for what it changes: every run tries the same examples. `make explore` tries
# others, and more of them.
hypothesis.settings.register_profile("same", derandomize=True, max_examples=50)
hypothesis.settings.register_profile("explore", print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

_copies = Copies(pipeline_parts.load_complete)


def pytest_collection_finish():
    """Imports have made a million objects that stay to the end, and need no search for garbage."""
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def read_pipelines_once():
    """Tests that load a pipeline which an earlier test has loaded get a copy of that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_parts, "load_complete", _copies)
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """The networks of the tests are too small to gain from more, and rounding then does not depend on the
    machine.
    """
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """What is found out about large sets is kept for these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_pipeline_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny-pipeline")
    save_tiny_pipeline(folder)
    return folder


@pytest.fixture(scope="session")
def pets(tmp_path_factory):
    """Twelve cats and twelve dogs in class folders. Tests only read or copy them."""
    return write_pets(tmp_path_factory.mktemp("source") / "pets")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """Six pieces of two photographs, in class folders. Tests only read or copy them."""
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("china", "flower"):
        (folder / name).mkdir()
        whole = Image.fromarray(load_sample_image(f"{name}.jpg"))
        for index in range(3):
            whole.crop((90 * index, 0, 90 * index + 250, 140)).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def plain_report():
    """Runs of a module write a page without content, and studies one without figures: drawing them takes
    longer than many a run.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("understudy.pipeline.report.write_report", write_plain_report)
        for place in STUDY_FIGURES:
            patch.setattr(place, lambda *_: "")
        yield


@pytest.fixture
def real_report():
    """The real page for one test of such a module."""
    with real_page():
        yield


@pytest.fixture
def study_figures(monkeypatch):
    """The real figures for the page of one study of such a module."""
    for place, draw in STUDY_FIGURES.items():
        monkeypatch.setattr(place, draw)


@pytest.fixture
def tiny_generator(tiny_pipeline_folder):
    return StableDiffusionGenerator.load(str(tiny_pipeline_folder))


@pytest.fixture
def train():
    return two_classes()


@pytest.fixture
def val():
    return two_classes(4, split="val", seed=1)


@pytest.fixture(scope="session")
def finished(pets, tiny_pipeline_folder, tmp_path_factory):
    """A finished run with its real page, and who listened to it. Tests only read it."""
    out, listener = tmp_path_factory.mktemp("runs") / "pets", Listener()
    with real_page():
        run(tiny_settings(pets, tiny_pipeline_folder), out, observer=listener)
    return out, listener


@pytest.fixture
def at_once(monkeypatch):
    """Worker processes start after the first step, although other tests have registered names."""
    monkeypatch.setattr(here, "_WORTH", 0.0)
    monkeypatch.setattr(Registry, "has_outsiders", False)


@pytest.fixture
def understudy(capsys, tmp_path, monkeypatch):
    """Call the command line in an empty folder; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    # The console reads its width when it is made, which is 80 in several processes.
    monkeypatch.setattr(printing.console, "_width", 200)

    def call(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            cli.main([str(word) for word in words])
        return exit_.value.code, *capsys.readouterr()

    return call
