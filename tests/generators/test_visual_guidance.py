"""Features that condition images: of which real images they are, and that they arrive in the right rows."""

import dataclasses

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.covariance import ledoit_wolf
from tiny import plan_row, save_tiny_image_encoder
from torch import nn

from understudy.core.errors import InputError
from understudy.generators.generator import Conditioning
from understudy.generators.stable_diffusion import StableDiffusionGenerator
from understudy.generators.visual_guidance import (
    VISUALS,
    ClassFeatures,
    VisualGuidance,
    check_widths,
    features_of,
)

KINDS = [name for name in VISUALS if name != "none"]
WIDTH = 5


def random_features(count, width=WIDTH, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def row(number, train, *, visual="none"):
    """Label and image follow from the number."""
    index = number % len(train)
    return plan_row(
        id=f"i{number}",
        label=int(train.labels[index]),
        seed=100 + number,
        visual=visual,
        visual_id=train.ids[index] if visual == "per-image" else "",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_other_classes_never_matter(kind, train):
    features = random_features(len(train))
    cats = torch.from_numpy(train.labels) == 0
    changed = features.clone()
    changed[~cats] += 100
    own = features[cats]
    answers = [
        VisualGuidance(x, train, kind=kind, images=2).condition([0] * 4, own, [rng(i) for i in range(4)])
        for x in (features, changed)
    ]
    assert torch.equal(*answers)
    assert answers[0].shape == (4, WIDTH)
    assert answers[0].dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_the_row_alone_decides_its_token(kind, train):
    """In any batch and in any order."""
    guidance = VisualGuidance(random_features(len(train)), train, kind=kind, images=2)
    rows = [row(number, train, visual=kind) for number in range(6)]
    together = guidance.tokens(rows)
    order = [4, 1, 5, 0]
    assert torch.equal(guidance.tokens([rows[i] for i in order]), together[order])
    assert torch.equal(torch.cat([guidance.tokens([one]) for one in rows]), together)
    reseeded = guidance.tokens([dataclasses.replace(one, seed=one.seed + 50) for one in rows])
    assert torch.equal(reseeded, together) == (kind == "per-image")


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_without_images_is_named(kind, train):
    cats = train.select(np.flatnonzero(train.labels == 0))
    guidance = VisualGuidance(random_features(len(cats)), cats, kind=kind, images=2)
    with pytest.raises(
        InputError, match="visual guidance needs real images, and class 'dog' has none in the train split"
    ):
        guidance.condition([0, 1], random_features(2), [rng(), rng()])


def test_class_mean_is_of_images_of_the_class_chosen_anew():
    features = random_features(6)
    seen = set()
    for seed in range(40):
        answer = VISUALS["class-mean"](ClassFeatures(features), features[0], 2, rng(seed))
        pairs = [
            (i, j)
            for i in range(6)
            for j in range(i)
            if torch.allclose(answer, features[[i, j]].mean(0), atol=1e-6)
        ]
        assert len(pairs) == 1, "the mean of two of them"
        seen |= set(pairs)
    assert len(seen) > 8, "of 15 pairs"


@pytest.mark.parametrize("images", [6, 7, 100])
def test_class_mean_of_more_images_than_there_are_is_the_mean_of_all(images):
    features = random_features(6)
    torch.testing.assert_close(
        VISUALS["class-mean"](ClassFeatures(features), features[0], images, rng()), features.mean(0)
    )


def test_per_image_is_the_images_own(train):
    features = random_features(len(train))
    guidance = VisualGuidance(features, train, kind="per-image", images=2)
    rows = [row(number, train, visual="per-image") for number in (3, 0, 6)]
    assert torch.equal(guidance.tokens(rows), features[[3, 0, 6]])


def test_sampled_has_mean_and_shrunk_covariance_of_the_class():
    """20,000 draws: standard errors of a mean and a covariance are below 0.03 here."""
    features = random_features(12) * torch.tensor([0.2, 0.5, 1.0, 1.0, 2.0]) + 3
    of_class, generator = ClassFeatures(features), rng()
    drawn = torch.stack([VISUALS["sampled"](of_class, features[0], 1, generator) for _ in range(20_000)])
    expected, shrinkage = ledoit_wolf(features.double().numpy())
    assert 0 < shrinkage < 1
    assert (drawn.mean(0) - features.mean(0)).abs().max() < 0.1
    assert np.abs(np.cov(drawn.numpy().T) - expected).max() < 0.15


@pytest.mark.parametrize("count", [2, 3])
def test_sampled_from_fewer_images_than_features_is_finite(count):
    features = random_features(count, width=40)
    assert VISUALS["sampled"](ClassFeatures(features), features[0], 1, rng()).isfinite().all()


def test_sampled_from_one_image_is_that_image():
    features = random_features(1)
    assert torch.equal(VISUALS["sampled"](ClassFeatures(features), features[0], 1, rng()), features[0])


def test_a_projection_maps_tokens(train):
    features, projection = random_features(len(train)), nn.Linear(WIDTH, 7)
    rows = [row(number, train, visual="per-image") for number in range(3)]
    tokens = VisualGuidance(features, train, kind="per-image", images=2, projection=projection).tokens(rows)
    assert not tokens.requires_grad
    torch.testing.assert_close(tokens, features[:3] @ projection.weight.detach().T + projection.bias.detach())


def test_images_of_another_set_are_named(train):
    guidance = VisualGuidance(random_features(len(train)), train, kind="per-image", images=2)
    with pytest.raises(
        InputError, match="the train set lacks the images elsewhere: the plan was made for another set"
    ):
        guidance.tokens([dataclasses.replace(row(0, train), visual_id="elsewhere")])


def test_features_are_those_of_each_image(tiny_generator, train):
    features = features_of(tiny_generator, train)
    assert features.shape == (len(train), tiny_generator.feature_width)
    with torch.no_grad():
        alone = tiny_generator.encode_features(
            torch.from_numpy(train.select([5]).pixels(16)).float() / 127.5 - 1
        )
    torch.testing.assert_close(features[5:6], alone, rtol=1e-4, atol=1e-5)
    assert features_of(tiny_generator, train.select([])).shape == (0, tiny_generator.feature_width)


def test_features_are_kept_for_these_images_only(tiny_generator, train, tmp_path):
    cache = tmp_path / "new" / "features.safetensors"
    first = features_of(tiny_generator, train, cache=cache)
    marked = first + 1
    with safetensors.safe_open(cache, framework="pt") as stored:
        metadata = stored.metadata()
    safetensors.torch.save_file({"features": marked}, cache, metadata=metadata)
    assert torch.equal(features_of(tiny_generator, train, cache=cache), marked), "what is there is used"
    fewer = train.select(range(5))
    assert torch.equal(features_of(tiny_generator, fewer, cache=cache), features_of(tiny_generator, fewer))
    assert torch.equal(safetensors.torch.load_file(cache)["features"], features_of(tiny_generator, fewer)), (
        "and replaced"
    )


def test_features_without_an_encoder(tiny_pipeline_folder, train):
    generator = StableDiffusionGenerator.load(str(tiny_pipeline_folder))
    generator._features = None
    with pytest.raises(
        InputError, match="image features need an image encoder, .* set generator.image_encoder"
    ):
        features_of(generator, train)


def test_widths_that_do_not_fit_name_both_and_the_way_out(tiny_generator, tiny_pipeline_folder, tmp_path):
    check_widths(tiny_generator, projection=False)
    save_tiny_image_encoder(tmp_path, width=24)
    other = StableDiffusionGenerator.load(str(tiny_pipeline_folder), image_encoder=str(tmp_path))
    check_widths(other, projection=True)
    with pytest.raises(
        InputError,
        match=r"text state of width 16 by an image feature of width 24: .*visual.projection=true",
    ):
        check_widths(other, projection=False)


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 7])
def test_token_b_stands_in_row_b(batch):
    """Reshaping in the wrong order would scramble batches of two and more, unless length equals batch."""
    length, width = 4, 3
    states = torch.arange(batch * length * width, dtype=torch.float32).view(batch, length, width)
    tokens, pooled = (
        -1 - torch.arange(batch * width, dtype=torch.float64).view(batch, width),
        torch.ones(batch, 2),
    )
    before = states.clone()
    told = Conditioning(states, pooled).with_last(tokens)
    for index in range(batch):
        assert torch.equal(told.states[index, -1], tokens[index].float())
        assert torch.equal(told.states[index, :-1], before[index, :-1])
    assert told.states.dtype == torch.float32
    assert torch.equal(told.pooled, pooled)
    assert torch.equal(states, before), "the original stays"


def test_a_dropped_prompt_keeps_the_augmentation_of_its_image():
    states, pooled, augmentation = torch.rand(3, 2, 4), torch.rand(3, 5), torch.rand(3, 6)
    told = Conditioning(states, pooled, augmentation).with_last(torch.rand(3, 4))
    none = Conditioning(torch.zeros(1, 2, 4), torch.zeros(1, 5))
    chosen = told.where(torch.tensor([True, False, True]), none).select(torch.tensor([1, 2]))
    assert chosen.states[0].abs().max() == chosen.pooled[0].abs().max() == 0
    assert torch.equal(chosen.states[1], told.states[2])
    assert torch.equal(chosen.augmentation, augmentation[1:])


@pytest.mark.parametrize("shape", [(2, 4), (3, 5), (1, 4), (3, 1, 4), (12,)])
def test_tokens_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"tokens must be of shape \(3, 4\), one per row, got \("):
        Conditioning(torch.zeros(3, 6, 4)).with_last(torch.zeros(shape))
