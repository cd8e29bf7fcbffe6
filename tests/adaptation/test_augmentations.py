"""Augmentations of train images, and the conditioning that keeps them out of drawn images."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from tiny import plan_row, two_classes
from torch import nn

from understudy.adaptation.augmentations import AUGMENTATIONS
from understudy.adaptation.fit import adapt
from understudy.adaptation.inputs import AdaptData, Inputs
from understudy.adaptation.settings import AdaptSettings
from understudy.functional.augment import affine, flip_crop, random_affine
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings

WORDS = ("cat", "dog")


def pixels_of(count, seed):
    return torch.randint(0, 256, (count, 3, 16, 16), generator=torch.Generator().manual_seed(seed)).float()


@given(seed=st.integers(0, 1000), probability=st.sampled_from([None, 0.12, 0.5, 1.0]))
@examples(max_examples=30, deadline=None)
def test_the_parameters_are_those_of_the_affine_map(seed, probability):
    x = pixels_of(6, seed)
    rng = torch.Generator().manual_seed(seed)
    found, parameters = AUGMENTATIONS["affine"].augmented(x, rng, probability=probability)
    expected = affine(
        x,
        degrees=8 * parameters[:, 0],
        shift=0.06 * parameters[:, 1:3],
        scale=1.08 ** parameters[:, 3],
        shear=8 * parameters[:, 4],
    )
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert (parameters.abs() <= 1).all()


@given(seed=st.integers(0, 1000), name=st.sampled_from(sorted(AUGMENTATIONS)))
@examples(max_examples=30, deadline=None)
def test_parameters_are_zero_for_images_that_were_left_as_they_are(seed, name):
    x = pixels_of(32, seed)
    found, parameters = AUGMENTATIONS[name].augmented(
        x, torch.Generator().manual_seed(seed), probability=0.12
    )
    same = (found.round() == x).flatten(1).all(dim=1)
    assert torch.equal(same, (parameters == 0).all(dim=1))
    assert same.any()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_change_has_its_probability_and_mirroring_one_half(name):
    augmentation, x = AUGMENTATIONS[name], torch.zeros(4000, 3, 8, 8)
    _, parameters = augmentation.augmented(x, torch.Generator().manual_seed(0), probability=0.2)
    for change, values in zip(augmentation.changes, parameters.T, strict=True):
        expected = {"mirror": 0.5}.get(change, 0.2)
        if name == "flip" and change == "shift":
            expected = 0
        elif name == "flip-crop" and change == "shift":
            expected *= 2 / 3  # with a padding of one pixel, a third of the shifts are 0
        assert float((values != 0).float().mean()) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("affine", lambda x, rng: random_affine(x, rng, shift=0.06, degrees=8, scale=0.08, shear=8)),
        ("flip-crop", flip_crop),
        ("flip", lambda x, rng: flip_crop(x, rng, padding=0)),
    ],
)
def test_without_a_probability_every_image_is_augmented_as_in_earlier_versions(name, change):
    x = pixels_of(8, 0)
    found, _ = AUGMENTATIONS[name].augmented(x, torch.Generator().manual_seed(3), probability=None)
    assert torch.equal(found, change(x, torch.Generator().manual_seed(3)))


def fresh():
    return load_generator(
        GeneratorSettings(name="class_conditional", resolution=8, channels=(16,), patch=2), device="cpu"
    )


def adapting(**changes):
    small = {"steps": 2, "batch_size": 8, "validate_every": 2, "checkpoint_every": 1, "validation_pairs": 4}
    return AdaptSettings(prompt="{class}", augmentation_probability=0.5, **small | changes)


def data_of(train, val):
    return AdaptData(train=train, val=val, prompt_names=WORDS)


def test_batches_carry_the_augmentation_and_held_out_images_have_none():
    generator, train = fresh(), two_classes(12)
    generator.learn_classes(WORDS, seed=0)
    data = data_of(train, two_classes(4, split="val", seed=1))
    inputs = Inputs(generator, data, settings=adapting(augmentation="affine"), guidance=None)
    batch = inputs.train_batch(torch.Generator().manual_seed(0))
    told = batch.conditioning.augmentation
    originals = {image.tobytes() for image in train.pixels(8)}
    plain = [image.numpy().tobytes() in originals for image in batch.pixels]
    assert plain == (told == 0).all(dim=1).tolist()
    assert told.shape == (8, 5)
    assert 0 < sum(plain) < 8
    part = torch.tensor([5, 2])
    assert torch.equal(batch.select(part).conditioning.augmentation, told[part])
    assert inputs.val_batch(torch.Generator().manual_seed(0)).conditioning.augmentation is None
    leaky = adapting(augmentation="affine").changed(augmentation_probability=None)
    leaky_batch = Inputs(generator, data, settings=leaky, guidance=None).train_batch(torch.Generator())
    assert leaky_batch.conditioning.augmentation is None


def test_without_augmentation_the_network_is_the_one_without_the_layer():
    plain, conditioned = fresh(), fresh()
    for each in (plain, conditioned):
        each.learn_classes(WORDS, seed=0)
        nn.init.normal_(each.denoiser.unet.conv_out.weight, generator=torch.Generator().manual_seed(0))
    conditioned.learn_augmentation(5)
    x, sigma, labels = (
        pixels_of(3, 0)[..., :8, :8] / 255,
        torch.tensor([0.1, 1.0, 9.0]),
        torch.tensor([0, 1, 2]),
    )
    with torch.no_grad():
        expected = plain.denoiser(x, sigma, labels)
        assert torch.equal(conditioned.denoiser(x, sigma, labels, torch.rand(3, 5)), expected), "untrained"
        nn.init.normal_(conditioned.denoiser.augmentation.weight)
        assert torch.equal(conditioned.denoiser(x, sigma, labels, torch.zeros(3, 5)), expected)
        changed = conditioned.denoiser(x, sigma, labels, torch.eye(3, 5))
        assert ((changed - expected).abs().amax(dim=(1, 2, 3)) > 1e-3).all()
        one = conditioned.denoiser(x, sigma, labels, torch.eye(3, 5) * torch.tensor([[0.0], [1], [0]]))
        torch.testing.assert_close(one[[0, 2]], expected[[0, 2]])
        torch.testing.assert_close(one[1], changed[1])
        assert torch.equal(conditioned.denoiser(x, sigma, labels), expected), "nothing stays behind"
    assert conditioned.fingerprint == plain.fingerprint


def test_drawing_uses_no_augmentation_and_the_adapter_has_no_layer(tmp_path):
    train, val = two_classes(12), two_classes(4, split="val", seed=1)
    made, leaky = fresh(), fresh()
    list(adapt(made, data_of(train, val), settings=adapting(), seed=0, folder=tmp_path / "made"))
    assert made.denoiser.augmentation.weight.abs().max() > 0
    settings = adapting().changed(augmentation_probability=None)
    list(adapt(leaky, data_of(train, val), settings=settings, seed=0, folder=tmp_path / "leaky"))
    names = [
        sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*"))
        for name in ("made", "leaky")
    ]
    assert names[0] == names[1], "the adapter looks like any other"
    found = fresh()
    found.load_adapter(tmp_path / "made", method="full")
    assert found.denoiser.augmentation is None
    assert found.fingerprint == made.fingerprint
    plan = [plan_row(prompt=word, sampler="edm", steps=2, guidance_scale=2.0) for word in WORDS]
    drawn = made.draw(plan)
    assert np.array_equal(found.draw(plan), drawn)
    nn.init.normal_(made.denoiser.augmentation.weight)
    assert np.array_equal(made.draw(plan), drawn)


def test_an_interrupted_adaptation_keeps_the_layer(tmp_path):
    data = data_of(two_classes(12), two_classes(4, split="val", seed=1))
    through, first, second = fresh(), fresh(), fresh()
    list(adapt(through, data, settings=adapting(), seed=0, folder=tmp_path / "through"))
    steps = adapt(first, data, settings=adapting(), seed=0, folder=tmp_path / "stopped")
    next(steps)
    list(adapt(second, data, settings=adapting(), seed=0, folder=tmp_path / "stopped"))
    assert torch.equal(second.denoiser.augmentation.weight, through.denoiser.augmentation.weight)
    assert second.fingerprint == through.fingerprint
