"""The loss of a batch: in slices and whole, with every distribution term, for every kind of generator."""

import functools

import pytest
import torch
from tiny import save_tiny_pipeline, save_tiny_sd3, two_classes

from understudy.adaptation import METHODS, TERMS
from understudy.adaptation.fit import adapt
from understudy.adaptation.inputs import Inputs
from understudy.adaptation.objective import Objective
from understudy.adaptation.terms import TermInputs
from understudy.data import LabelledSet
from understudy.errors import InputError
from understudy.functional.denoising import min_snr_weight, weighted_denoising_loss
from understudy.functional.mean_matching import batch_mean_term, batch_sum_term
from understudy.generators import load_generator
from understudy.processes import Processes
from understudy.settings import AdaptSettings, GeneratorSettings
from understudy.visual_guidance import VisualGuidance, features_of

NAMES = ("a cat", "a dog")
BANDWIDTHS = torch.tensor([0.5, 1.0, 2.0])
KINDS = {
    "epsilon": save_tiny_pipeline,
    "v_prediction": functools.partial(save_tiny_pipeline, prediction_type="v_prediction"),
    "flow": functools.partial(save_tiny_sd3, t5=False),
}


def load(folder):
    """A generator all of whose denoiser is trained; all its kinds here learn nothing at random, so tests may share one."""
    generator = load_generator(GeneratorSettings(name=str(folder)), device="cpu")
    METHODS["full"](generator.denoiser, AdaptSettings(), 0)
    return generator


@pytest.fixture(scope="module")
def generator(tiny_pipeline_folder):
    return load(tiny_pipeline_folder)


@pytest.fixture(scope="module", params=KINDS)
def any_kind(request, tmp_path_factory, tiny_pipeline_folder):
    if request.param == "epsilon":
        return load(tiny_pipeline_folder)
    folder = tmp_path_factory.mktemp("pipeline")
    KINDS[request.param](folder)
    generator = load(folder)
    assert generator.prediction_type == request.param
    return generator


def prepare(generator, *, train=None, visual=None, batch_size=8, **changes):
    """A batch and what computes its loss."""
    settings = AdaptSettings(batch_size=batch_size, validation_pairs=4, **changes)
    term, train = TERMS[settings.distribution], train or two_classes(12)
    within_class = term is not None and term.within_class
    guidance = None
    if visual is not None:
        guidance = VisualGuidance(features_of(generator, train), train, kind=visual, images=2)
    inputs = Inputs(
        generator, train, two_classes(4, split="val"), settings=settings, prompt_names=NAMES, visual=guidance, within_class=within_class
    )
    if generator.prediction_type != "flow":
        bandwidths = BANDWIDTHS
    else:
        bandwidths = BANDWIDTHS
    objective = Objective(
        generator, settings=settings, no_text=inputs.no_text(), projection=None, bandwidths=bandwidths, processes=Processes(),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
    )  # fmt: skip
    return inputs.train_batch(torch.Generator().manual_seed(0)), objective


def gradients(generator, batch, objective):
    """The loss, and the gradients of all weights in one row."""
    generator.denoiser.zero_grad(set_to_none=True)
    loss = objective.backward(batch)
    parts = [parameter.grad.flatten() for parameter in generator.denoiser.parameters() if parameter.grad is not None]
    return loss, torch.cat(parts)
