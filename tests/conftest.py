import os

import hypothesis
import pytest
import torch
from tiny import save_tiny_pipeline, two_classes

from understudy.generators.stable_diffusion import StableDiffusionGenerator

# A change passes or fails for what it changes: every run tries the same examples. `make explore` tries others.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.register_profile("explore", print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """The networks of the tests are too small to gain from more, and rounding then does not depend on the machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_pipeline_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny-pipeline")
    save_tiny_pipeline(folder)
    return folder


@pytest.fixture
def tiny_generator(tiny_pipeline_folder):
    return StableDiffusionGenerator.load(str(tiny_pipeline_folder))


@pytest.fixture
def train():
    return two_classes()


@pytest.fixture
def val():
    return two_classes(4, split="val", seed=1)
