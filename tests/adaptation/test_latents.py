"""Latents of train images that are encoded once, and residuals in bfloat16."""

import numpy as np
import pytest
import torch
from tiny import two_classes

from understudy.adaptation.inputs import AdaptData, Inputs
from understudy.adaptation.objective import Objective
from understudy.adaptation.settings import AdaptSettings
from understudy.core.processes import Processes
from understudy.data.labelled_set import LabelledSet
from understudy.generators.load import load_generator
from understudy.generators.precision import adapting_precision
from understudy.generators.settings import GeneratorSettings


@pytest.fixture(scope="module")
def generator(tiny_pipeline_folder):
    return load_generator(GeneratorSettings(name=str(tiny_pipeline_folder)), device="cpu")


def counting(monkeypatch, generator):
    """Counts images that are encoded."""
    counts, encode = [], generator.encode_images
    monkeypatch.setattr(
        generator, "encode_images", lambda pixels: (counts.append(len(pixels)), encode(pixels))[1]
    )
    return counts


def inputs_of(generator, **changes):
    settings = AdaptSettings(**{"batch_size": 4, "steps": 20} | changes)
    train, val = two_classes(6), two_classes(4, split="val", seed=1)
    data = AdaptData(train=train, val=val, prompt_names=("a cat", "a dog"))
    return Inputs(generator, data, settings=settings, guidance=None)


@pytest.mark.parametrize(("augmentation", "views"), [("none", 1), ("flip", 2)])
def test_each_view_of_an_image_is_encoded_once(augmentation, views, generator, monkeypatch):
    counts = counting(monkeypatch, generator)
    inputs = inputs_of(generator, augmentation=augmentation)
    assert sum(counts) == 6 * views + 1  # and one image shows the size
    del counts[:]
    flipped = 0
    for seed in range(10):
        batch = inputs.train_batch(torch.Generator().manual_seed(seed))
        assert not counts
        torch.testing.assert_close(
            batch.x0, generator.encode_images(batch.pixels), msg="latents of the very pixels"
        )
        del counts[:]
        flipped += len({picture.numpy().tobytes() for picture in batch.pixels})
    assert flipped == 40, "images differ within a batch"


@pytest.mark.parametrize("changes", [{"augmentation": "affine"}, {"augmentation": "flip", "steps": 2}])
def test_views_are_not_encoded_beforehand_where_that_is_more_work(changes, generator, monkeypatch):
    counts = counting(monkeypatch, generator)
    inputs = inputs_of(generator, **changes)
    assert not counts
    inputs.train_batch(torch.Generator().manual_seed(0))
    assert counts == [4]


def test_a_residual_in_bfloat16_is_close_and_stays_in_float32(generator):
    inputs = inputs_of(generator)
    batch = inputs.train_batch(torch.Generator().manual_seed(0))
    exact, moved = (
        Objective(
            generator=generator,
            parameters=[],
            settings=AdaptSettings(),
            projection=None,
            spaces=(),
            processes=Processes(),
            scaler=torch.amp.GradScaler("cpu", enabled=False),
            precision=precision,
        ).residual(batch, torch.arange(4))
        for precision in ("float32", "bfloat16")
    )
    assert moved.dtype == torch.float32
    assert 0 < float((exact - moved).abs().mean()) < 0.02 * float(exact.abs().mean())


def test_a_processor_adapts_in_float32():
    assert adapting_precision(torch.device("cpu")) == "float32"


def test_samples_of_the_posterior(generator, monkeypatch):
    """Another sample at every step, with the mean and the spread of the autoencoder, however many at once."""
    plain, sampled, sliced = (
        inputs_of(generator, augmentation="none", **changes)
        for changes in ({}, {"latents": "sample"}, {"latents": "sample", "micro_batch": 1})
    )
    pixels = plain.train_batch(torch.Generator().manual_seed(0)).pixels
    mean, std = generator.posterior(pixels)
    torch.testing.assert_close(mean, generator.encode_images(pixels))
    assert (std > 0).all()
    scores = []
    for seed in range(60):
        first, again = (
            inputs.train_batch(torch.Generator().manual_seed(seed)) for inputs in (sampled, sliced)
        )
        torch.testing.assert_close(first.x0, again.x0)
        mean, std = generator.posterior(first.pixels)
        scores.append((first.x0 - mean) / std)
    scores = torch.stack(scores)
    assert abs(float(scores.mean())) < 4 / scores.numel() ** 0.5
    assert abs(float(scores.std()) - 1) < 0.05
    rng = torch.Generator().manual_seed(1)
    assert torch.equal(sampled.val_batch(rng).x0, plain.val_batch(torch.Generator().manual_seed(1)).x0)


def test_random_squares_reach_the_ends_of_long_images(generator, monkeypatch):
    """The images are stripes: the place of a square can be read off its first column."""
    size = generator.image_size
    stripes = np.tile(np.arange(3 * size, dtype=np.uint8), (3, size, 1))
    train = LabelledSet.from_images([stripes] * 6, [0, 1] * 3, class_names=["cat", "dog"], split="train")
    data = AdaptData(train=train, val=two_classes(4, split="val", seed=1), prompt_names=("a cat", "a dog"))
    settings = AdaptSettings(batch_size=6, steps=20, augmentation="none", crop="random")
    counts, inputs = (
        counting(monkeypatch, generator),
        Inputs(generator, data, settings=settings, guidance=None),
    )
    assert not counts, "no square is encoded beforehand"
    starts = []
    for seed in range(20):
        batch = inputs.train_batch(torch.Generator().manual_seed(seed))
        assert batch.pixels.shape == (6, 3, size, size)
        starts += batch.pixels[:, 0, 0, 0].tolist()
        assert (batch.pixels.diff(dim=-1) == 1).all(), "nothing is squashed"
    assert min(starts) <= 3 and max(starts) >= 2 * size - 3
    again = inputs.train_batch(torch.Generator().manual_seed(19))
    assert torch.equal(again.pixels, batch.pixels)


class HalfOf:
    """The first of two processes, as far as inputs know them; the other has encoded the same."""

    def slice_of(self, size):
        return torch.arange(size // 2)

    def gather(self, part):
        return torch.cat([part, part])


@pytest.mark.parametrize("latents", ["mean", "sample"])
def test_each_process_encodes_its_share_of_a_batch(latents, generator, monkeypatch):
    settings = AdaptSettings(batch_size=4, steps=1, augmentation="affine", latents=latents)
    data = AdaptData(
        train=two_classes(6), val=two_classes(4, split="val", seed=1), prompt_names=("a cat", "a dog")
    )
    inputs = Inputs(generator, data, settings=settings, guidance=None, processes=HalfOf())
    name = "posterior" if latents == "sample" else "encode_images"
    counts, encode = [], getattr(generator, name)
    monkeypatch.setattr(generator, name, lambda pixels: (counts.append(len(pixels)), encode(pixels))[1])
    batch = inputs.train_batch(torch.Generator().manual_seed(0))
    assert sum(counts) == 2 and len(batch.x0) == len(batch.pixels) == 4
