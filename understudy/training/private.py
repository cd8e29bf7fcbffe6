"""A differentially private reference: real images alone, trained with DP-SGD (needs the extra ``understudy[private]``)."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast, final

import timm.optim
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.training.augmentations import AUGMENTATIONS
from understudy.training.backbones import Backbone, build_backbone, seeded_globals
from understudy.training.classifier import TrainedClassifier, pixels_of
from understudy.training.loop import DivergedError, phase_rng
from understudy.training.schedules import SCHEDULES
from understudy.training.settings import CompareSettings

_MAX_NORM = 1.0  # gradients of single images are clipped to it; Abadi et al. 2016 take the median norm, which would cost privacy


@final
@dataclass(frozen=True, kw_only=True)
class Promise:
    """What differential privacy says of one training.

    Attributes:
        epsilon: privacy loss that was spent.
        delta: chance of a larger one.
        noise_multiplier: standard deviation of the noise over the largest gradient of an image.
    """

    epsilon: float
    delta: float
    noise_multiplier: float


def check_private() -> None:
    """Refuse at once what :func:`fit_private` could not do here.

    Raises:
        InputError: if opacus is missing.
    """
    _opacus()


def default_delta(num_images: int) -> float:
    """The largest power of ten below one over the number of images.

    With a delta of 1 / N, giving one image of N away whole would count as private.

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
    on_step: Callable[[], Any] | None = None,
) -> tuple[TrainedClassifier, Promise]:
    """Train a classifier on real images with DP-SGD; Abadi et al. 2016 (arXiv:1607.00133), algorithm 1.

    Every image is in a batch by chance of its own (Poisson sampling, ``batch_size`` on average), its gradient is clipped to norm 1, and
    normal noise is added to their sum, so much that all steps together stay within ``epsilon`` (Rényi accountant). Batch
    normalisation, which mixes images, becomes group normalisation, so plain timm cannot load this classifier. Pretrained weights count
    as public. The rest is the recipe of the other arms.

    The noise is from an ordinary, seeded generator and not from a cryptographic one (opacus' secure mode is off), and the guarantee is
    for exact arithmetic: this is a reference for measuring, not a release mechanism.

    Args:
        train: real images.
        settings: the recipe; ``steps`` is the length.
        seed: decides head, batches, augmentation and noise.
        device: where to train.
        epsilon: privacy loss, above 0.
        delta: chance of a larger one, in (0, 1); :func:`default_delta` if not set.
        on_step: called for each step.

    Returns:
        The classifier and what was promised.

    Raises:
        InputError: if opacus is missing, for a set of another split or fewer images than a batch, or an epsilon that no noise reaches.
    """
    train.require("train", purpose="fitting a classifier")
    if len(train) < settings.batch_size:
        raise InputError(
            f"the private reference needs at least compare.batch_size={settings.batch_size} real images, got {len(train)}: lower it"
        )
    opacus, rate = _opacus(), settings.batch_size / len(train)
    promise = _promise(
        epsilon=epsilon, delta=delta or default_delta(len(train)), sample_rate=rate, steps=settings.steps
    )
    backbone = _without_batch_norm(
        opacus, build_backbone(settings, train.num_classes, rng_seed=seed), seed=seed
    )
    model = backbone.model.to(device).train()
    rng = phase_rng(seed, 0)
    optimiser = opacus.optimizers.DPOptimizer(
        timm.optim.create_optimizer_v2(
            model, settings.optimiser, lr=settings.learning_rate, weight_decay=settings.weight_decay, momentum=0.9
        ),
        noise_multiplier=promise.noise_multiplier, max_grad_norm=_MAX_NORM, expected_batch_size=settings.batch_size,
        generator=torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=rng))),
    )  # fmt: skip
    augment, schedule = AUGMENTATIONS[settings.augmentation], SCHEDULES[settings.schedule]
    pixels, labels = (
        pixels_of(train, backbone.input_size).to(device),
        torch.from_numpy(train.labels).to(device),
    )
    for step in range(settings.steps):
        chosen = (torch.rand(len(train), generator=rng) < rate).nonzero()[:, 0].to(device)
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * schedule(step, settings.steps)
        x = augment(pixels[chosen], backbone.normalise, rng)
        optimiser.zero_grad()
        _set_gradients(model, x, labels[chosen], label_smoothing=settings.label_smoothing)
        optimiser.step()
        if on_step is not None:
            on_step()
    return TrainedClassifier(backbone, train.class_names, device), promise


@lru_cache  # some seconds, and the same for all shadow models
def _promise(*, epsilon: float, delta: float, sample_rate: float, steps: int) -> Promise:
    """The least noise that stays within ``epsilon``, and what is then spent."""
    accountants = _opacus().accountants
    accountant, find = accountants.RDPAccountant(), accountants.utils.get_noise_multiplier
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order")  # the bound holds, it could be tighter
        try:
            noise = float(
                find(
                    target_epsilon=epsilon,
                    target_delta=delta,
                    sample_rate=sample_rate,
                    steps=steps,
                    accountant="rdp",
                )
            )
        except ValueError as error:
            raise InputError(
                f"membership.private_epsilon {epsilon:g} with delta {delta:g} cannot be reached: raise it ({error})"
            ) from error
        accountant.history = [(noise, sample_rate, steps)]
        return Promise(epsilon=float(accountant.get_epsilon(delta)), delta=delta, noise_multiplier=noise)


def _without_batch_norm(opacus: Any, backbone: Backbone, *, seed: int) -> Backbone:
    """Group normalisation instead, which knows no other image."""
    with seeded_globals(seed):
        model = opacus.validators.ModuleValidator.fix(backbone.model)
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # weights that all images share cannot take the values of one
    return replace(backbone, model=model)


def _set_gradients(model: Any, x: Tensor, y: Tensor, *, label_smoothing: float) -> None:
    """Give every parameter the gradient of each image, (B, ...), where opacus' optimiser looks for it; a batch may be empty."""
    parameters = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(
            functional_call(model, parameters, (x[None],)), y[None], label_smoothing=label_smoothing
        )

    if len(x):
        held = {name: value.detach() for name, value in parameters.items()}
        gradients = torch.vmap(torch.func.grad(loss), in_dims=(None, 0, 0), randomness="different")(
            held, x, y
        )
        if not all(value.isfinite().all() for value in gradients.values()):
            raise DivergedError(
                "the private classifier's gradients are no numbers any more: lower compare.learning_rate"
            )
    else:
        gradients = {name: value.new_zeros(0, *value.shape) for name, value in parameters.items()}
    for name, value in parameters.items():
        cast("Any", value).grad_sample = gradients[name]


def _opacus() -> Any:
    """The library, loaded when it is needed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it imports
            for part in ("accountants.utils", "optimizers", "validators"):
                importlib.import_module(f"opacus.{part}")
    except ImportError as error:
        raise InputError(
            "membership.private_epsilon needs opacus, which is not installed: install understudy[private], or leave the setting out"
        ) from error
    return importlib.import_module("opacus")
