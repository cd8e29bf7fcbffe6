import dataclasses

import numpy as np
import pytest
import torch
from diffusers import EDMDPMSolverMultistepScheduler, UNet2DModel
from scipy import stats
from tiny import missing, plan_of, plan_row
from tiny_job import SECTIONS, write_pets
from torch import nn

from understudy.adaptation.fit import adapt
from understudy.adaptation.inputs import AdaptData
from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.functional.denoising import add_noise
from understudy.functional.edm import SIGMA_DATA
from understudy.functional.linear_denoiser import remaining_deviation
from understudy.generators.generator import Adaptable, Conditioning, Generator, NoiseSchedule
from understudy.generators.image_statistics import _num_measured
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.pipeline.run import run
from understudy.settings import build

WORDS = ("a cat", "a dog")
SMALL = {"name": "class_conditional", "resolution": 16, "channels": (16, 16), "patch": 2}


def fresh(**changes):
    return load_generator(GeneratorSettings(**{**SMALL, **changes}), device="cpu")


@pytest.fixture
def generator():
    found = fresh()
    found.learn_classes(WORDS, seed=0)
    nn.init.normal_(found.denoiser.unet.conv_out.weight, std=0.05)  # new networks predict 0
    return found


def rows(train, counts, **changes):
    return plan_of(
        train, counts, prompt_names=WORDS, **{"prompt": "{class}", "sampler": "edm", "steps": 6, **changes}
    )


def training(source="x", **changes):
    sections = {
        "steps": 30,
        "until": "steps",
        "batch_size": 8,
        "validate_every": 15,
        "validation_pairs": 32,
        "augmentation": "none",
        **changes,
    }
    return build({"data": {"source": source}, "generator": SMALL, "adapt": sections}).adapt


class GaussianDenoiser(nn.Module):
    """Predicts v exactly for pixels that are independent normal: mean by class, one deviation."""

    def __init__(self, means, deviation):
        super().__init__()
        self._means, self._deviation = torch.tensor(means), deviation

    def forward(self, x, sigma, labels):
        sigma = sigma.view(-1, 1, 1, 1)
        noisy = x * (sigma**2 + SIGMA_DATA**2).sqrt()
        mean = self._means[labels].view(-1, 1, 1, 1)
        clean = (self._deviation**2 * noisy + sigma**2 * mean) / (self._deviation**2 + sigma**2)
        c_skip = SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)
        c_out = sigma * SIGMA_DATA / (sigma**2 + SIGMA_DATA**2).sqrt()
        return -(clean - c_skip * noisy) / c_out


def test_it_fulfils_the_contract(generator):
    assert missing(generator, Generator, NoiseSchedule, Adaptable) == []
    assert generator.snr.dtype == torch.float32
    assert (generator.snr.diff() < 0).all()
    assert generator.available(WORDS) is None


def test_the_loss_is_that_of_edm(generator, train):
    """lambda(sigma) ||D(y + n; sigma) - y||^2 with the weight and preconditioning of table 1."""
    y = torch.from_numpy(train.pixels(16))
    x0, t = generator.encode_images(y), torch.tensor([3, 200, 500, 700, 800, 900, 950, 999])
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    residual = generator.denoising_residual(x0, eps, t, generator.encode_prompts(["a cat"] * 8))
    sigma = (SIGMA_DATA / generator.snr[t].sqrt()).view(-1, 1, 1, 1)
    clean = x0 * SIGMA_DATA
    noisy = clean + sigma * eps
    root = (sigma**2 + SIGMA_DATA**2).sqrt()
    with torch.no_grad():
        f = -generator.denoiser(noisy / root, sigma.flatten(), torch.zeros(8, dtype=torch.int64))
    denoised = SIGMA_DATA**2 / root**2 * noisy + sigma * SIGMA_DATA / root * f
    weight = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
    edm = (weight * (denoised - clean) ** 2).mean(dim=(1, 2, 3))
    torch.testing.assert_close(residual.square().mean(dim=(1, 2, 3)).detach(), edm, rtol=2e-3, atol=2e-4)


def test_the_solver_gives_the_network_what_it_was_trained_on(generator):
    solver = EDMDPMSolverMultistepScheduler(sigma_data=SIGMA_DATA)
    solver.set_timesteps(5)
    x0, eps, sigma = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4), solver.sigmas[2]
    found = solver.scale_model_input(SIGMA_DATA * x0 + sigma * eps, solver.timesteps[2])
    solver._step_index = None
    table = (SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)).view(1)
    expected = add_noise(x0, eps, table, torch.zeros(2, dtype=torch.int64))
    index = solver.index_for_timestep(solver.timesteps[2])
    assert index == 2
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_an_exact_denoiser_draws_its_distribution(generator, train, guidance_scale):
    """Mean and deviation of normal pixels are known; guidance g shifts a mean m to about g m."""
    generator._network = GaussianDenoiser([0.4, -0.3, 0.0], 0.2)
    pixels = generator.draw(rows(train, [30, 30], steps=24, guidance_scale=guidance_scale)) / 127.5 - 1
    cats, dogs = pixels[:30], pixels[30:]
    if guidance_scale == 1:
        assert cats.mean() == pytest.approx(0.4, abs=0.01)
        assert dogs.mean() == pytest.approx(-0.3, abs=0.01)
        assert cats.std() == pytest.approx(0.2, abs=0.01)
    else:
        assert cats.mean() > 0.45
        assert dogs.mean() < -0.35


def test_wider_noise_draws_more_varied_images(generator, train):
    generator._network = GaussianDenoiser([0.0, 0.0, 0.0], 0.2)
    plain, wide = (
        generator.draw(rows(train, [20, 0], steps=24, noise_scale=scale)).std() for scale in (1.0, 1.2)
    )
    assert wide == pytest.approx(1.2 * plain, rel=0.02)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_an_image_depends_on_its_row_alone(generator, train, strength):
    plan = rows(train, [2, 2], guidance_scale=2.0, strength=strength)
    together = generator.draw(plan, train)
    assert together.shape == (4, 3, 16, 16)
    assert together.dtype == np.uint8
    apart = np.concatenate([generator.draw([plan[2]], train), generator.draw([plan[3], plan[0]], train)])
    assert np.abs(apart.astype(int) - together[[2, 3, 0]]).max() <= 1


def test_little_noise_keeps_the_real_image_and_full_noise_forgets_it(generator, train):
    generator._network = GaussianDenoiser(
        [0.0, 0.0, 0.0], 1e4
    )  # has seen nothing: takes every image as it is
    little = generator.draw(rows(train, [4, 4], strength=1 / 6), train)
    in_order = np.concatenate(
        [train.select(np.flatnonzero(train.labels == label)).pixels(16) for label in (0, 1)]
    )
    assert np.abs(little.astype(int) - in_order).mean() < 3
    generator._network = GaussianDenoiser([0.0, 0.0, 0.0], 0.2)
    plan = rows(train, [4, 0])
    assert np.array_equal(generator.draw(plan, train), generator.draw(plan, None))
    assert generator.strength_at(1.0, sampler="edm", steps=6) < 1


def test_classes_are_told_apart_and_the_empty_prompt_is_none(generator, train):
    assert generator.encode_prompts(["a dog", "", "a cat"]).states.flatten().tolist() == [1, 2, 0]
    with pytest.raises(
        InputError, match=r"must be the words of a class \(a cat, a dog\), got 'a photo of a cat'"
    ):
        generator.check_prompts(["a photo of a cat"], keep_last=False)
    with pytest.raises(InputError, match="needs different words for each class"):
        fresh().learn_classes(["a cat", "a cat"], seed=0)


def test_the_seed_decides_the_weights():
    first, again, other = (fresh() for _ in range(3))
    assert first.fingerprint == again.fingerprint
    for each, seed in ((first, 0), (again, 0), (other, 1)):
        each.learn_classes(WORDS, seed=seed)
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_it_is_trained_like_any_generator_and_read_back(train, val, tmp_path):
    made = fresh()
    steps = list(
        adapt(
            made,
            AdaptData(train=train, val=val, prompt_names=WORDS),
            settings=training(),
            seed=0,
            folder=tmp_path,
        )
    )
    losses = [step.val_loss for step in steps if step.val_loss is not None]
    assert losses[-1] < 0.95  # of the 1 that a network begins with which predicts nothing
    found = fresh()
    found.load_adapter(tmp_path, method="full")
    plan = rows(train, [2, 2])
    assert np.array_equal(found.draw(plan), made.draw(plan))
    assert UNet2DModel.from_pretrained(tmp_path / "class_conditional").config.num_class_embeds == 3


def test_bfloat16_keeps_weights_and_nearly_the_figures(train):
    half, whole = fresh(precision="bfloat16"), fresh()
    for each in (half, whole):
        each.learn_classes(WORDS, seed=0)
        nn.init.ones_(each.denoiser.unet.conv_out.weight)
    assert next(half.denoiser.parameters()).dtype == torch.float32
    x0, t = half.encode_images(torch.from_numpy(train.pixels(16)[:2])), torch.tensor([100, 900])
    first, second = (
        each.denoising_residual(x0, torch.ones_like(x0), t, each.encode_prompts(["a cat", ""]))
        for each in (half, whole)
    )
    torch.testing.assert_close(first, second, rtol=0.1, atol=0.1)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 18}, "generator.resolution must be a multiple of 4"),
        ({"vae_tiling": True}, "generator.vae_tiling has no effect on the generator 'class_conditional'"),
        ({"image_encoder": "x"}, "generator.image_encoder has no effect"),
        ({"precision": "float16"}, "needs generator.precision float32 or bfloat16"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        fresh(**changes)


def test_what_it_cannot_do_is_refused(generator, tmp_path):
    with pytest.raises(InputError, match="is not trained yet: adapt it"):
        _ = fresh().denoiser
    with pytest.raises(
        InputError,
        match="draw.sampler must be one for edm, as the generator needs, got 'unipc': choose edm",
    ):
        generator.strength_at(1.0, sampler="unipc", steps=4)
    with pytest.raises(
        InputError, match="must be complete, but class_conditional in it is missing: copy the whole"
    ):
        generator.load_adapter(tmp_path, method="full")
    with pytest.raises(InputError, match="draw.adapter_scale must be 1"):
        generator.load_adapter(tmp_path, method="full", scale=0.5)
    with pytest.raises(InputError, match="need a text encoder"):
        generator.learn_tokens(["S*"], num_vectors=1, initial_word="photo")
    with pytest.raises(InputError, match="image encoder, and the generator 'class_conditional' has none"):
        _ = generator.feature_width
    with pytest.raises(ValueError, match="must share sampler"):
        row = plan_row(sampler="edm")
        generator.draw([row, dataclasses.replace(row, steps=3)])


@pytest.mark.slow
def test_a_whole_run_needs_no_other_model(tmp_path):
    source = write_pets(tmp_path / "pets")
    settings = build(SECTIONS, {"data": {"source": str(source)}, "generator": SMALL})
    assert (settings.draw.prompt, settings.draw.sampler, settings.adapt.min_snr_gamma) == (
        "{class}",
        "edm",
        None,
    )
    assert (settings.adapt.until, settings.adapt.ema_length, settings.adapt.num_steps) == ("plateau", 0.1, 20)
    with pytest.raises(
        InputError, match="generator.channels must begin with at least 48, .* got 16: raise it"
    ):
        narrow = build(SECTIONS, {"data": {"source": str(source)}, "generator": {**SMALL, "patch": 4}})
        run(narrow, tmp_path / "narrow")
    results = run(settings, tmp_path / "run")
    assert {"real", "real+val", "synthetic", "mixed", "bridged"} <= set(results["arms"])
    again = run(settings, tmp_path / "run")
    assert again["arms"] == results["arms"]
    with pytest.raises(InputError, match="adapt.method must be full for the generator 'class_conditional'"):
        run(
            build({"data": {"source": str(source)}, "generator": SMALL, "adapt": {"method": "lora"}}),
            tmp_path / "other",
        )


class ExactDenoiser(nn.Module):
    """Predicts v exactly for a distribution of these images and no others, whatever the class."""

    def __init__(self, images):
        super().__init__()
        self._y = SIGMA_DATA * images.flatten(1)

    def forward(self, x, sigma, labels):
        sigma = sigma.view(-1, 1)
        noisy = x.flatten(1) * (sigma**2 + SIGMA_DATA**2).sqrt()
        clean = (-(torch.cdist(noisy, self._y) ** 2) / (2 * sigma**2)).softmax(dim=1) @ self._y
        c_skip = SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)
        c_out = sigma * SIGMA_DATA / (sigma**2 + SIGMA_DATA**2).sqrt()
        return (-(clean - c_skip * noisy) / c_out).view(x.shape)


def enlarged(size=32):
    """Six dark images and two light ones of 4 x 4 pixels, each pixel repeated."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (8, 3, 4, 4))
    labels = np.array([0] * 6 + [1] * 2)
    small = np.where(labels[:, None, None, None] == 0, 20 + 0.3 * noise, 180 + 0.25 * noise)
    pixels = small.astype(np.uint8).repeat(size // 4, axis=2).repeat(size // 4, axis=3)
    return LabelledSet.from_images(pixels, labels, class_names=("dark", "light"), split="train")


@pytest.mark.parametrize("is_measured", [False, True])
def test_enlarged_images_come_equally_often_with_measured_noise_alone(is_measured):
    """Published noise does not hide enlarged images, so drawing starts nearer to some of them."""
    images = enlarged()
    generator = fresh(resolution=32)
    generator.learn_classes(WORDS, seed=0)
    if is_measured:
        generator.learn_images(images)
    pixels = images.pixels(32)
    generator._network = ExactDenoiser(generator.encode_images(torch.from_numpy(pixels)))
    plan = [plan_row(prompt="a cat", sampler="edm", steps=12, seed=seed) for seed in range(400)]
    drawn = generator.draw(plan, None).astype(int)
    distance = np.abs(drawn[:, None] - pixels[None].astype(int)).mean(axis=(2, 3, 4))
    assert distance.min(axis=1).max() <= 1, "no noise is left"
    p = stats.chisquare(np.bincount(distance.argmin(axis=1), minlength=len(images))).pvalue
    assert p > 0.05 if is_measured else p < 1e-6


def test_images_are_centred_and_scaled_as_measured(generator, train, tmp_path):
    generator.learn_images(train)
    pixels = torch.from_numpy(train.pixels(16))
    latents = generator.encode_images(pixels)
    torch.testing.assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    assert latents.square().mean().sqrt().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(generator.decode_latents(latents), pixels.float() / 127.5 - 1)
    generator.save_adapter(tmp_path, method="full")
    found = fresh()
    found.load_adapter(tmp_path, method="full")
    assert torch.equal(found.encode_images(pixels), latents)
    assert torch.equal(found.snr, generator.snr)
    plan = rows(train, [1, 1])
    assert np.array_equal(found.draw(plan), generator.draw(plan))


def test_an_adapter_of_an_earlier_version_draws_with_the_published_noise(generator, train, tmp_path):
    generator.save_adapter(tmp_path, method="full")
    assert not (tmp_path / "class_conditional" / "image_statistics.safetensors").exists()
    found = fresh()
    found.learn_images(train)
    found.load_adapter(tmp_path, method="full")
    assert found.snr.max() == pytest.approx((SIGMA_DATA / np.exp(-1.2 - 1.2 * 3.2905)) ** 2, rel=1e-3)
    plan = rows(train, [2, 2], strength=0.5)
    assert np.array_equal(found.draw(plan, train), generator.draw(plan, train))


def test_training_starts_from_the_best_linear_denoiser_of_patches(train):
    """Then the loss of v is the mean of what remains; with the published preconditioning it is 1."""
    losses = {}
    for is_measured in (False, True):
        generator = fresh()
        generator.learn_classes(WORDS, seed=0)
        if is_measured:
            generator.learn_images(train)
        x0 = generator.encode_images(torch.from_numpy(train.pixels(16)))
        eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
        t = torch.full((len(x0),), 300)
        with torch.no_grad():
            residual = generator.denoising_residual(x0, eps, t, generator.encode_prompts([""] * len(x0)))
        losses[is_measured] = float(residual.square().mean())
        sigma = SIGMA_DATA / generator.snr[t[:1]].sqrt()
    eigenvalues, _ = generator._images.patches
    assert losses[True] == pytest.approx(float(remaining_deviation(sigma, eigenvalues)) ** 2, rel=0.1)
    assert losses[True] < losses[False]


def test_an_adaptation_that_an_earlier_version_began_keeps_its_noise(train, val, tmp_path):
    data = AdaptData(train=train, val=val, prompt_names=WORDS)
    made = fresh()
    steps = adapt(made, data, settings=training(steps=6, checkpoint_every=3), seed=0, folder=tmp_path)
    for _ in range(4):
        next(steps)
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert checkpoint.pop("knows_images")
    torch.save(checkpoint, tmp_path / "checkpoint.pt")
    resumed = fresh()
    untouched = resumed.snr
    list(adapt(resumed, data, settings=training(steps=6, checkpoint_every=3), seed=0, folder=tmp_path))
    assert torch.equal(resumed.snr, untouched)
    assert not torch.equal(made.snr, untouched)


@pytest.mark.parametrize(
    ("size", "num"), [(8, 87381), (32, 5461), (128, 500), (200, 500), (256, 341), (512, 85), (1024, 21)]
)
def test_few_large_images_are_measured(size, num):
    """Two to the power of 26 values at most, unless there are twice as many images."""
    assert _num_measured(size) == num
    assert num * 3 * size**2 <= 2**26


def test_batches_of_prompts_are_joined_with_their_augmentation(generator):
    parts = [
        dataclasses.replace(generator.encode_prompts([words]), augmentation=torch.tensor([[number]]))
        for words, number in zip(WORDS, (1.0, 2.0), strict=True)
    ]
    assert Conditioning.joined(parts).augmentation.tolist() == [[1.0], [2.0]]
    assert Conditioning.joined([generator.encode_prompts(WORDS)]).augmentation is None
