"""Guidance by exemplars, on tiny pipelines of every kind of noise schedule."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import (
    plan_rows,
    save_tiny_flux,
    save_tiny_image_encoder,
    save_tiny_pipeline,
    save_tiny_sana,
    save_tiny_sd3,
)

from understudy.core.errors import InputError
from understudy.functional.exemplars import exemplar_distance
from understudy.generators.exemplar_guidance import ExemplarGuidance
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.generators.visual_guidance import features_of, to_unit

FLOW = {"flow": functools.partial(save_tiny_sd3, t5=False), "packed": save_tiny_flux, "sana": save_tiny_sana}
SAMPLERS = {"epsilon": "unipc", "v_prediction": "ddim", "flow": "flow-euler"}


@pytest.fixture(scope="module", params=["epsilon", "v_prediction", *FLOW])
def generator(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    if request.param in FLOW:
        FLOW[request.param](folder / "pipeline")
    else:
        save_tiny_pipeline(folder / "pipeline", prediction_type=request.param)
    save_tiny_image_encoder(folder / "encoder", width=24)
    settings = GeneratorSettings(name=str(folder / "pipeline"), image_encoder=str(folder / "encoder"))
    return load_generator(settings, device="cpu")


def rows_of(generator, train, count=3, **changes):
    """Row i has train image i as its exemplar."""
    sampler = SAMPLERS[generator.prediction_type]
    rows = plan_rows(count, train, sampler=sampler, steps=4, exemplar_weight=0.5, **changes)
    return [replace(row, exemplar_id=train.ids[index]) for index, row in enumerate(rows)]


def grey_levels(a, b):
    return int(np.abs(a.astype(int) - b).max())


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_guided_images_are_closer_to_their_exemplars(strength, generator, train):
    rows = rows_of(generator, train, strength=strength, guidance_scale=2.0)
    plain = [replace(row, exemplar_id="", exemplar_weight=0.0) for row in rows]
    exemplars = features_of(generator, train.select(range(len(rows))))

    def distance(drawn):
        return exemplar_distance(generator.encode_features(to_unit(torch.from_numpy(drawn))), exemplars)

    assert distance(generator.draw(rows, train)).mean() < distance(generator.draw(plain, train)).mean()


def test_a_row_alone_decides_its_image(generator, train):
    rows = rows_of(generator, train, exemplar_every=2)
    rows[1] = replace(rows[1], exemplar_id="", exemplar_weight=0.0)
    rows[2] = replace(rows[2], exemplar_every=3)
    together = generator.draw(rows, train)
    for index, row in enumerate(rows):
        assert grey_levels(generator.draw([row], train)[0], together[index]) <= 1
    never = [replace(row, exemplar_id="", exemplar_weight=0.0) for row in rows]
    assert np.array_equal(generator.draw(never, train)[1], together[1])
    assert not any(parameter.grad is not None for parameter in generator.denoiser.parameters())


def test_the_change_is_a_step_down_the_gradient(generator, train):
    """Against autograd, from the prediction to the distance, in steps small enough to be linear."""
    rows = rows_of(generator, train, count=2)
    guidance = ExemplarGuidance(generator, rows, train)
    rng = torch.Generator().manual_seed(0)
    channels = generator.pipeline.vae.config.latent_channels
    side = generator.image_size // generator.pipeline.vae_scale_factor
    x_t, prediction = (torch.randn(2, channels, side, side, generator=rng) for _ in range(2))
    changed = guidance.changed(prediction, x_t, 1.0, step=0)
    a = 0.5**0.5

    def x0_of(prediction):  # at a signal-to-noise ratio of 1
        kind = generator.prediction_type
        by_kind = {"epsilon": (1 / a, -1), "v_prediction": (a, -a), "flow": (1, -0.5)}[kind]
        return by_kind[0] * x_t + by_kind[1] * prediction

    x0 = x0_of(prediction).requires_grad_()
    exemplars = features_of(generator, train.select(range(2)))
    exemplar_distance(generator.encode_features(generator.decode_latents(x0)), exemplars).sum().backward()
    size = x0.grad.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(x0_of(changed) - x0, -0.5 * 0.5 * x0.grad / size, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("sources", ["none", "val", "other"])
def test_exemplars_are_train_images(sources, generator, train):
    rows = rows_of(generator, train, count=1)
    given = {"none": None, "val": train.with_split("val"), "other": train.select([1])}[sources]
    message = {
        "none": "draw.exemplar_weight above 0.* needs the train set",
        "val": "drawing from real images needs a train set, got a val set",
        "other": "the train set lacks the source images",
    }[sources]
    with pytest.raises(InputError, match=message):
        generator.draw(rows, given)
