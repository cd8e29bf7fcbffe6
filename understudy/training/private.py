"""A differentially private classifier of the real images (DP-SGD); needs ``understudy[private]``."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from understudy.core.errors import InputError
from understudy.data.decoded_images import decoded
from understudy.data.labelled_set import LabelledSet
from understudy.training.augmentations import AUGMENTATIONS
from understudy.training.backbones import Backbone, build_backbone, seeded_globals
from understudy.training.classifier import TrainedClassifier
from understudy.training.loop import DivergedError, phase_rng
from understudy.training.optimisers import build_optimiser
from understudy.training.schedules import SCHEDULES
from understudy.training.settings import CompareSettings

# The gradient of each image is clipped to this norm. Abadi et al. 2016 use the median norm; computing it
# costs privacy.
_MAX_NORM = 1.0


@final
@dataclass(frozen=True, kw_only=True)
class Promise:
    """The guarantee of differential privacy for one training.

    Attributes:
        epsilon: privacy loss.
        delta: probability of a larger loss.
        noise_multiplier: standard deviation of the noise, divided by the norm that gradients are clipped to.
    """

    epsilon: float
    delta: float
    noise_multiplier: float


def check_private() -> None:
    """Check that :func:`fit_private` can run on this machine.

    Raises:
        InputError: if opacus is missing.
    """
    _opacus()


def default_delta(num_images: int) -> float:
    """The largest power of ten below 1 / ``num_images``.

    A delta of 1 / N would allow a mechanism that publishes one of the N images.

    Example:
        >>> default_delta(1078), default_delta(1000), default_delta(999)
        (0.0001, 0.0001, 0.001)
    """
    return float(f"1e-{len(str(num_images))}")


def fit_private(
    train: LabelledSet,
    *,
    settings: CompareSettings,
    seed: int,
    device: str,
    epsilon: float,
    delta: float | None = None,
) -> Generator[int, None, tuple[TrainedClassifier, Promise]]:
    """Train a classifier on real images with DP-SGD; Abadi et al. 2016 (arXiv:1607.00133), algorithm 1.

    Each image joins each batch independently (Poisson sampling, ``batch_size`` on average). Its gradient is
    clipped to norm 1, and normal noise is added to the sum. The noise is strong enough for all steps together
    to stay within ``epsilon`` (Rényi accountant). Batch normalisation mixes images, so group normalisation
    takes its place, and plain timm cannot load this classifier. Pretrained weights count as public.
    Everything else is as in the other arms.

    This is a reference for measurements, not a release mechanism: the noise comes from an ordinary seeded
    generator (the secure mode of opacus is off), and the guarantee holds for exact arithmetic.

    Args:
        train: real images.
        settings: backbone, optimiser and so on; ``steps`` is the length of the training.
        seed: decides head, batches, augmentation and noise.
        device: where to train.
        epsilon: privacy loss, above 0.
        delta: probability of a larger loss, in (0, 1); :func:`default_delta` if None.

    Yields:
        1 after each step.

    Returns:
        The classifier and its guarantee.

    Raises:
        InputError: if opacus is missing, if ``train`` is another split or has fewer images than a batch, or
            if no amount of noise reaches ``epsilon``.
    """
    _check_size(train, settings)
    opacus, rate = _opacus(), settings.batch_size / len(train)
    delta = delta or default_delta(len(train))
    promise = _promise(epsilon=epsilon, delta=delta, sample_rate=rate, steps=settings.steps)
    backbone = build_backbone(settings, train.num_classes, rng_seed=seed)
    backbone = _without_batch_norm(opacus, backbone, seed=seed)
    model = backbone.model.to(device).train()
    rng = phase_rng(seed, 0)
    optimiser = _private_optimiser(opacus, model, settings, promise, rng)
    augment, schedule = AUGMENTATIONS[settings.augmentation], SCHEDULES[settings.schedule]
    images = decoded(train, backbone.input_size)
    labels = torch.from_numpy(train.labels).to(device)
    for step in range(settings.steps):
        chosen = (torch.rand(len(train), generator=rng) < rate).nonzero()[:, 0]
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * schedule(step, settings.steps)
        x = augment(torch.from_numpy(images[chosen.numpy()]).to(device), backbone.normalise, rng)
        optimiser.zero_grad()
        _set_gradients(model, x, labels[chosen.to(device)], label_smoothing=settings.label_smoothing)
        optimiser.step()
        yield 1
    return TrainedClassifier(backbone, train.class_names, device), promise


def _check_size(train: LabelledSet, settings: CompareSettings) -> None:
    train.check_split("train", purpose="fitting a classifier")
    if len(train) < settings.batch_size:
        raise InputError(
            f"the private reference needs at least compare.batch_size={settings.batch_size} real images, got "
            f"{len(train)}: lower compare.batch_size"
        )


def _private_optimiser(
    opacus: Any, model: nn.Module, settings: CompareSettings, promise: Promise, rng: torch.Generator
) -> Any:
    """An optimiser that clips the gradient of each image and adds noise to their sum."""
    device, seed = next(model.parameters()).device, int(torch.randint(2**62, (), generator=rng))
    return opacus.optimizers.DPOptimizer(
        build_optimiser(model, settings),
        noise_multiplier=promise.noise_multiplier,
        max_grad_norm=_MAX_NORM,
        expected_batch_size=settings.batch_size,
        generator=torch.Generator(device).manual_seed(seed),
    )


@lru_cache  # takes seconds, and is the same for all shadow models
def _promise(*, epsilon: float, delta: float, sample_rate: float, steps: int) -> Promise:
    """The guarantee with the least noise that stays within ``epsilon``."""
    accountants = _opacus().accountants
    accountant, find = accountants.RDPAccountant(), accountants.utils.get_noise_multiplier
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order")  # the bound holds, but could be tighter
        try:
            target = {"target_epsilon": epsilon, "target_delta": delta, "accountant": "rdp"}
            noise = float(find(sample_rate=sample_rate, steps=steps, **target))
        except ValueError as error:
            raise InputError(
                f"membership.private_epsilon={epsilon:g} with delta {delta:g} cannot be reached: raise it "
                f"({error})"
            ) from error
        accountant.history = [(noise, sample_rate, steps)]
        return Promise(epsilon=float(accountant.get_epsilon(delta)), delta=delta, noise_multiplier=noise)


def _without_batch_norm(opacus: Any, backbone: Backbone, *, seed: int) -> Backbone:
    """Replace batch normalisation by group normalisation, which does not mix images."""
    with seeded_globals(seed):
        model = opacus.validators.ModuleValidator.fix(backbone.model)
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # vmap shares tensors between images, so none may be overwritten
    return replace(backbone, model=model)


def _set_gradients(model: Any, x: Tensor, y: Tensor, *, label_smoothing: float) -> None:
    """Store the gradients of each image, (B, ...), in every parameter.

    The optimiser of opacus expects them there. A batch may be empty.
    """
    parameters = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        logits = functional_call(model, parameters, (x[None],))
        return F.cross_entropy(logits, y[None], label_smoothing=label_smoothing)

    if len(x):
        held = {name: value.detach() for name, value in parameters.items()}
        per_image = torch.vmap(torch.func.grad(loss), in_dims=(None, 0, 0), randomness="different")
        gradients = per_image(held, x, y)
        if not all(value.isfinite().all() for value in gradients.values()):
            raise DivergedError(
                "the gradients of the private classifier must stay finite: lower compare.learning_rate"
            )
    else:
        gradients = {name: value.new_zeros(0, *value.shape) for name, value in parameters.items()}
    for name, value in parameters.items():
        cast("Any", value).grad_sample = gradients[name]


def _opacus() -> Any:
    """Import opacus, which is heavy and optional, when it is needed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # raised while opacus is imported
            for part in ("accountants.utils", "optimizers", "validators"):
                importlib.import_module(f"opacus.{part}")
    except ImportError as error:
        raise InputError(
            "membership.private_epsilon needs opacus, which is not installed: install understudy[private], "
            "or leave --epsilon (membership.private_epsilon) out"
        ) from error
    return importlib.import_module("opacus")
