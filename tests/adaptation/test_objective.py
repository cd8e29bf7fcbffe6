"""The loss of a batch: in slices and whole, with every distribution term, for every kind of generator."""

import dataclasses
import functools

import pytest
import torch
from devices import Wide
from pydantic import ValidationError
from tiny import (
    save_tiny_flux,
    save_tiny_image_encoder,
    save_tiny_pipeline,
    save_tiny_sd3,
    two_classes,
)
from tiny_adapt import adapting

from understudy.adaptation.inputs import AdaptData, Inputs
from understudy.adaptation.methods import METHODS
from understudy.adaptation.objective import Objective
from understudy.adaptation.settings import DRAWN_FORMS, FEATURE_FORMS, AdaptSettings
from understudy.adaptation.terms import TERMS, FeatureSpace, feature_spaces
from understudy.core.errors import InputError
from understudy.core.processes import Processes
from understudy.data.labelled_set import LabelledSet
from understudy.functional.mmd import mmd2_per_class, moment_mmd2_per_class
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.generators.visual_guidance import VisualGuidance, features_of

BANDWIDTHS = torch.tensor([0.5, 1.0, 2.0])
MEANS = torch.linspace(-1, 1, 2 * 16).view(2, 16)
SCALE = torch.tensor(0.3)
SAVERS = {
    "epsilon": save_tiny_pipeline,
    "v_prediction": functools.partial(save_tiny_pipeline, prediction_type="v_prediction"),
    "flow": functools.partial(save_tiny_sd3, t5=False),
    "flux": save_tiny_flux,
}


@pytest.fixture(scope="module", params=SAVERS)
def any_kind(request, tmp_path_factory):
    """A generator all of whose denoiser is trained. Tests leave nothing in it but gradients."""
    folder = tmp_path_factory.mktemp(request.param)
    SAVERS[request.param](folder / "pipeline")
    save_tiny_image_encoder(folder / "encoder")
    generator = load_generator(
        GeneratorSettings(name=str(folder / "pipeline"), image_encoder=str(folder / "encoder")), device="cpu"
    )
    assert generator.prediction_type == {"flux": "flow"}.get(request.param, request.param)
    METHODS["full"](generator, AdaptSettings(), seed=0, num_classes=2)
    return generator


@pytest.fixture(scope="module")
def generator(tiny_pipeline_folder):
    """As ``any_kind``."""
    generator = load_generator(GeneratorSettings(name=str(tiny_pipeline_folder)), device="cpu")
    METHODS["full"](generator, AdaptSettings(), seed=0, num_classes=2)
    return generator


def inputs_of(generator, *, train=None, visual=None, **changes):
    settings = AdaptSettings(**{"batch_size": 8, "validation_pairs": 4} | changes)
    train = train or two_classes(12)
    guidance = (
        None
        if visual is None
        else VisualGuidance(features_of(generator, train), train, kind=visual, images=2)
    )
    names, val = [f"a {name}" for name in train.class_names], two_classes(4, split="val")
    data = AdaptData(train=train, val=val, prompt_names=names)
    return Inputs(generator, data, settings=settings, guidance=guidance), settings


def prepare(generator, **changes):
    """A batch with what is drawn beside it, and what computes its loss."""
    inputs, settings = inputs_of(
        generator, **{"drawn_images": 6, "drawn_steps": 3, "classes_per_batch": 2} | changes
    )
    objective = Objective(
        generator=generator,
        parameters=list(generator.denoiser.parameters()),
        settings=settings,
        projection=None,
        spaces=(FeatureSpace(generator.encode_features, 16, BANDWIDTHS, MEANS, SCALE),),
        processes=Processes(),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
    )
    rng = torch.Generator().manual_seed(0)
    batch = inputs.train_batch(rng)
    drawn = inputs.drawn_batch(rng) if settings.distribution in DRAWN_FORMS else None
    return batch, objective, drawn


def gradients(generator, batch, objective, drawn=None):
    """The loss, and the gradients of all weights in one row."""
    generator.denoiser.zero_grad(set_to_none=True)
    loss = objective.backward(batch, drawn)
    return loss, in_one_row(generator)


def in_one_row(generator):
    """The gradients of all weights of the denoiser."""
    gradients = [parameter.grad for parameter in generator.denoiser.parameters()]
    return torch.cat([gradient.flatten() for gradient in gradients if gradient is not None])


def relative_difference(one, other):
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("name", list(TERMS))
def test_slices_give_the_gradient_of_the_whole(name, any_kind):
    """Also with slices that are not equal; sums of float32 in another order differ in the sixth digit."""
    batch, objective, drawn = prepare(any_kind, distribution=name)
    whole_loss, whole = gradients(any_kind, batch, objective, drawn)
    assert torch.isfinite(whole).all() and whole.norm() > 0
    in_slices = objective.settings.model_copy(update={"micro_batch": 3})
    sliced = dataclasses.replace(objective, settings=in_slices)
    loss, gradient = gradients(any_kind, batch, sliced, drawn)
    assert (objective.micro_batch.size, sliced.micro_batch.size) == (8, 3)
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    assert relative_difference(gradient, whole) < 1e-4


def by_hand(name, residual, batch, generator):
    """The terms on residuals as the papers write them, in plain torch."""
    snr = generator.snr[batch.t].view(-1, 1, 1, 1)
    if name == "batch-mean":
        return (residual.sum(0) / len(residual)).pow(2).mean()
    if name == "batch-sum":
        return (snr.clamp(max=5) / snr * residual).sum(0).pow(2).mean()
    if name == "class-mean":
        return sum(residual[batch.labels == label].mean(0).pow(2).mean() for label in (0, 1)) / 2
    alpha = snr / (1 + snr)
    x_t = alpha.sqrt() * batch.x0 + (1 - alpha).sqrt() * batch.eps
    x0 = (x_t - (1 - alpha).sqrt() * (residual + batch.eps)) / alpha.sqrt()
    real, denoised = (
        generator.encode_features(pixels)
        for pixels in (batch.pixels / 127.5 - 1, generator.decode_latents(x0))
    )
    if name == "covariance":
        means = MEANS[batch.labels]
        return moment_mmd2_per_class(real - means, denoised - means, batch.labels, SCALE, alpha.flatten())
    return mmd2_per_class(real, denoised, batch.labels, BANDWIDTHS, alpha.flatten())


@pytest.mark.parametrize("name", [name for name in TERMS if name != "none" and name not in DRAWN_FORMS])
@pytest.mark.parametrize("weight", [None, 2.5])
def test_the_loss_is_denoising_loss_plus_weighted_term(name, weight, generator):
    batch, objective, _ = prepare(generator, distribution=name, distribution_weight=weight)
    loss, gradient = gradients(generator, batch, objective)

    residual = objective.residual(batch, torch.arange(8))
    snr = generator.snr[batch.t]
    expected = (snr.clamp(max=5) / snr * residual.pow(2).flatten(1).mean(1)).mean()
    plain = float(expected.detach())
    expected = expected + (weight or TERMS[name].weight) * by_hand(name, residual, batch, generator)
    generator.denoiser.zero_grad(set_to_none=True)
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    assert abs(loss - plain) > 1e-3 * plain
    assert relative_difference(gradient, in_one_row(generator)) < 1e-4


@pytest.mark.parametrize("name", FEATURE_FORMS)
def test_the_term_is_the_mean_over_encoders(name, generator):
    """Each encoder has its own width, bandwidths and moments; the loss without a term is the same."""
    batch, objective, drawn = prepare(generator, distribution=name)
    train, few = two_classes(12), {"distribution": name, "distribution_encoders": ("generator", "edges")}
    both = feature_spaces(generator, train, AdaptSettings(**few), {"edges": edges})
    assert [space.width for space in both] == [16, 3 * 14 * 16]
    plain, _ = gradients(generator, batch, dataclasses.replace(objective, settings=AdaptSettings()))
    (one, one_gradient), (other, other_gradient), (mean, gradient) = (
        gradients(generator, batch, dataclasses.replace(objective, spaces=spaces), drawn)
        for spaces in (both[:1], both[1:], both)
    )
    assert abs(one - other) > 1e-3 * plain
    assert mean == pytest.approx((one + other) / 2, rel=1e-5)
    assert relative_difference(gradient, (one_gradient + other_gradient) / 2) < 1e-4


def edges(pixels):
    """A second encoder: differences of neighbouring rows."""
    return (pixels[:, :, 2:] - pixels[:, :, :-2]).flatten(1)


def test_a_term_without_features_needs_no_encoder(generator):
    assert feature_spaces(generator, two_classes(4), AdaptSettings(distribution="moments"), {}) == ()
    assert AdaptSettings(distribution_encoders=("photo",)).further_encoders == ()


@pytest.mark.parametrize("names", [("mini", "mini"), ("generator", "auto")])
def test_each_encoder_is_named_once(names):
    with pytest.raises(ValidationError, match="must name each encoder once, and not as 'auto', got"):
        AdaptSettings(distribution_encoders=names)


def test_without_a_term_the_loss_is_the_denoising_loss(generator):
    batch, objective, _ = prepare(generator)
    loss, _ = gradients(generator, batch, objective)
    snr, residual = generator.snr[batch.t], objective.residual(batch, torch.arange(8))
    assert loss == pytest.approx(
        float((snr.clamp(max=5) / snr * residual.pow(2).flatten(1).mean(1)).mean().detach()), rel=1e-6
    )


def test_weight_of_the_released_code_is_that_of_the_paper_at_its_batch_size(generator):
    """0.003 before the sum over 8 images of weight 1 is 0.192 before their mean."""
    assert TERMS["batch-sum"].weight == 0.003
    assert TERMS["batch-mean"].weight == pytest.approx(0.192)
    found = []
    for name in ("batch-sum", "batch-mean"):
        batch, objective, _ = prepare(generator, distribution=name)
        noisy = dataclasses.replace(batch, t=torch.arange(200, 1000, 100))  # w = 1 from t = 147 on
        assert (generator.snr[noisy.t] < 5).all()
        found.append(gradients(generator, noisy, objective))
    (sum_loss, sum_gradient), (mean_loss, mean_gradient) = found
    assert sum_loss == pytest.approx(mean_loss, rel=1e-6)
    assert relative_difference(sum_gradient, mean_gradient) < 1e-5


def test_a_timestep_without_signal_does_not_spoil_the_kernel(any_kind):
    """Flow matching ends in pure noise, without any signal; a class may have nothing else in a batch."""
    batch, objective, _ = prepare(any_kind, distribution="kernel")
    loss, gradient = gradients(
        any_kind, dataclasses.replace(batch, t=torch.full((8,), len(any_kind.snr) - 1)), objective
    )
    assert torch.isfinite(torch.tensor(loss))
    assert torch.isfinite(gradient).all()


def coloured(counts):
    """Train images of single colours, so many of each class; the colour is the image's number."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    pixels = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 16, 16).numpy()
    return LabelledSet.from_images(
        pixels, labels, class_names=[f"c{label}" for label in range(len(counts))], split="train"
    )


def drawn_indices(inputs, seed):
    batch = inputs.train_batch(torch.Generator().manual_seed(seed))
    return batch.pixels[:, 0, 0, 0].tolist(), batch.labels.tolist()


def test_batches_within_class_hold_few_classes_with_equal_shares(generator):
    changes = {"distribution": "class-mean", "classes_per_batch": 3, "augmentation": "none", "batch_size": 8}
    inputs, _ = inputs_of(generator, train=coloured([6, 6, 6, 6, 2]), **changes)
    seen = set()
    for seed in range(20):
        images, labels = drawn_indices(inputs, seed)
        counts = {label: labels.count(label) for label in set(labels)}
        assert sorted(counts.values()) == [2, 3, 3]
        seen |= set(counts)
        for label in counts:
            own = [image for image, other in zip(images, labels, strict=True) if other == label]
            available = 2 if label == 4 else 6
            assert len(set(own)) == min(len(own), available), (
                "no image comes again before all of its class were used"
            )
    assert seen == {0, 1, 2, 3, 4}


def test_fewer_classes_than_asked_for_share_the_batch(generator):
    inputs, _ = inputs_of(
        generator, train=coloured([5, 3]), distribution="kernel", classes_per_batch=9, augmentation="none"
    )
    images, labels = drawn_indices(inputs, 0)
    assert labels.count(0) == labels.count(1) == 4
    assert len(set(images)) == 4 + 3


def test_batches_of_other_terms_are_random_images_without_repeats(generator):
    inputs, _ = inputs_of(generator, train=coloured([4, 4]), augmentation="none", classes_per_batch=1)
    assert sorted(drawn_indices(inputs, 0)[0]) == list(range(8))


@pytest.mark.parametrize("name", [name for name in TERMS if TERMS[name] and TERMS[name].within_class])
def test_a_class_needs_two_images_in_a_batch(name, tiny_generator, train, val, tmp_path):
    message = "size must be at least 4, two images for each of 2 classes, got 3.*lower adapt.classes_per"
    with pytest.raises(InputError, match=message):
        next(adapting(tiny_generator, train, val, tmp_path, batch_size=3, distribution=name))
    one = {"batch_size": 3, "classes_per_batch": 1, "validation_pairs": 2, "distribution": name}
    assert next(adapting(tiny_generator, train, val, tmp_path, **one)).loss > 0


def test_dropped_rows_have_no_text_and_no_feature(generator):
    """Dropped rows get the states of the empty prompt, the others features in the last place."""
    batch, objective, _ = prepare(generator, visual="per-image", caption_dropout=0.5)
    assert 0 < batch.dropped.sum() < 8
    told = []
    hook = generator.denoiser.register_forward_pre_hook(
        lambda module, args, kwargs: told.append(kwargs["encoder_hidden_states"]), with_kwargs=True
    )
    objective.residual(batch, torch.arange(8))
    hook.remove()
    nothing = generator.encode_prompts([""]).states[0]
    for row in range(8):
        if batch.dropped[row]:
            assert torch.equal(told[0][row], nothing)
        else:
            assert torch.equal(told[0][row, -1], batch.features[row])
            assert torch.equal(told[0][row, :-1], batch.conditioning.states[row, :-1])


def test_held_out_images_keep_their_condition(generator):
    inputs, _ = inputs_of(generator, visual="class-mean", validation_pairs=10)
    batch = inputs.val_batch(torch.Generator().manual_seed(0))
    assert not batch.dropped.any()
    assert batch.features.shape == (10, generator.feature_width)
    assert len(batch.t.unique()) == 10


@pytest.mark.parametrize(
    "stage",
    [
        "backward",
        pytest.param("forward", marks=pytest.mark.slow),
        pytest.param("term", marks=pytest.mark.slow),
    ],
)
def test_a_step_that_runs_out_of_memory_is_repeated_with_fewer_images(stage, any_kind, monkeypatch):
    """The gradients are those of the whole batch, also if some were computed before memory ran out."""
    whole_loss, expected = gradients(any_kind, *prepare(any_kind, distribution="kernel"))
    batch, objective, _ = prepare(any_kind, distribution="kernel")
    parts, first = [], next(iter(any_kind.denoiser.parameters()))
    residual, encode = any_kind.denoising_residual, any_kind.encode_features

    def check(where, number):
        if where == stage and number > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def small_residual(x0, *arguments):
        parts.append(len(x0))
        check("forward", len(x0))
        return residual(x0, *arguments)

    def small_encode(pixels):
        check("term", len(pixels))
        return encode(pixels)

    monkeypatch.setattr(any_kind, "denoising_residual", small_residual)
    small = dataclasses.replace(objective.spaces[0], encode=small_encode)
    objective = dataclasses.replace(objective, spaces=(small,))
    handle = first.register_post_accumulate_grad_hook(lambda weights: check("backward", parts[-1]))
    with pytest.warns(UserWarning, match="the adaptation ran out of memory"):
        loss, gradient = gradients(any_kind, batch, objective)
    handle.remove()
    assert objective.micro_batch.size == 2
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    assert relative_difference(gradient, expected) < 1e-4


@pytest.mark.parametrize("name", ["none", "batch-sum"])
def test_a_step_fetches_only_its_loss_and_needs_no_float64(name, tiny_pipeline_folder):
    """The device meta has no values: the loss at the end is the first one that is asked for."""
    generator = load_generator(GeneratorSettings(name=str(tiny_pipeline_folder)), device="meta")
    METHODS["full"](generator, AdaptSettings(), seed=0, num_classes=2)
    batch, objective, _ = prepare(generator, distribution=name)
    with Wide() as wide, pytest.raises(RuntimeError, match="item.. cannot be called on meta tensors"):
        objective.backward(batch)
    assert all(parameter.grad is not None for parameter in objective.parameters)
    assert wide.count > 100
    assert wide.found == []
