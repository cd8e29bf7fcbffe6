"""DP-SGD: its noise and its privacy loss against opacus' own, gradients against one image at a time."""

import sys

import numpy as np
import pytest
import torch
from tiny_sets import RECIPE, squares

from understudy.core.errors import InputError
from understudy.core.progress import follow
from understudy.training import private
from understudy.training.private import default_delta, fit_private

pytestmark = pytest.mark.slow  # whole jobs

pytest.importorskip("opacus")


def fitted(on_step=lambda amount: None, **changes):
    given = {"settings": RECIPE, "seed": 0, "device": "cpu", "epsilon": 8.0} | changes
    return follow(fit_private(squares("train", num=48), **given), on_step)


def test_the_promise_is_kept_and_not_far_from_used_up():
    steps = []
    classifier, promise = fitted(steps.append)
    assert 7 < promise.epsilon <= 8
    assert promise.delta == 0.01
    assert len(steps) == RECIPE.steps
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in classifier.backbone.model.modules())
    np.testing.assert_allclose(classifier.predict(squares("test", num=6)).sum(axis=1), 1)


def test_the_loss_agrees_with_another_accountant():
    from opacus.accountants import PRVAccountant

    _, promise = fitted()
    other = PRVAccountant()
    for _ in range(RECIPE.steps):
        other.step(noise_multiplier=promise.noise_multiplier, sample_rate=RECIPE.batch_size / 48)
    assert other.get_epsilon(promise.delta) <= promise.epsilon  # its bound is the tighter one
    assert other.get_epsilon(promise.delta) > 0.5 * promise.epsilon


def test_a_smaller_loss_takes_more_noise():
    assert fitted(epsilon=1.0)[1].noise_multiplier > fitted(epsilon=8.0)[1].noise_multiplier


def test_only_the_seed_decides():
    test = squares("test", num=12)
    first, again, other = (fitted(seed=seed)[0].predict(test) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_gradients_are_those_of_single_images():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    x, y = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])
    private._set_gradients(model, x, y, label_smoothing=0.1)
    for number in range(4):
        loss = torch.nn.functional.cross_entropy(
            model(x[number : number + 1]), y[number : number + 1], label_smoothing=0.1
        )
        expected = torch.autograd.grad(loss, list(model.parameters()))
        for parameter, gradient in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad_sample[number], gradient)
    private._set_gradients(model, x[:0], y[:0], label_smoothing=0.1)
    assert [len(parameter.grad_sample) for parameter in model.parameters()] == [0, 0]


@pytest.mark.parametrize(
    ("images", "delta"), [(2, 0.1), (10, 0.01), (11, 0.01), (999, 0.001), (1000, 0.0001), (1078, 0.0001)]
)
def test_default_delta(images, delta):
    assert default_delta(images) == delta < 1 / images


def test_bad_input(monkeypatch):
    with pytest.raises(InputError, match=r"at least compare.batch_size=8 real images, got 6"):
        next(fit_private(squares("train", num=6), settings=RECIPE, seed=0, device="cpu", epsilon=8.0))
    with pytest.raises(InputError, match="needs a train set"):
        next(fit_private(squares("test"), settings=RECIPE, seed=0, device="cpu", epsilon=8.0))
    with pytest.raises(InputError, match=r"private_epsilon=0.01 with delta 1e-06 cannot be reached"):
        fitted(epsilon=0.01, delta=1e-6)
    monkeypatch.setitem(sys.modules, "opacus.validators", None)
    with pytest.raises(
        InputError, match=r"needs opacus, which is not installed: install understudy\[private\]"
    ):
        private.check_private()
