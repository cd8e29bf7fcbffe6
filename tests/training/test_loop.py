"""The loop: order of images, schedule, determinism, and that it learns."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sets import RECIPE, fit, squares
from torch import nn

from understudy.training import fit as compare
from understudy.training.augmentations import AUGMENTATIONS
from understudy.training.backbones import Backbone, seeded_globals
from understudy.training.batches import batches, batches_of, class_balanced_batches, phase_images
from understudy.training.data import TrainingData
from understudy.training.schedules import SCHEDULES
from understudy.training.settings import Phase


@given(num=st.integers(1, 40), batch=st.integers(2, 17), steps=st.integers(1, 12), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_batches_are_shuffled_epochs(num, batch, steps, seed):
    drawn = list(batches(num, batch, num_steps=steps, rng=torch.Generator().manual_seed(seed)))
    assert [len(part) for part in drawn] == [batch] * steps
    order = torch.cat(drawn)
    for start in range(0, len(order), num):
        epoch = order[start : start + num].tolist()
        assert len(set(epoch)) == len(epoch)
        if len(epoch) == num:
            assert sorted(epoch) == list(range(num))


@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any),
    batch=st.integers(1, 17),
    steps=st.integers(1, 12),
    seed=st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_class_balanced_batches_see_classes_and_their_images_equally_often(sizes, batch, steps, seed):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=rng)]
    drawn = list(class_balanced_batches(labels, batch, num_steps=steps, rng=rng))
    assert [len(part) for part in drawn] == [batch] * steps
    order = torch.cat(drawn)
    per_class, per_image = labels[order].bincount(minlength=len(sizes)), order.bincount(minlength=len(labels))
    for label, size in enumerate(sizes):
        if size:
            assert batch * steps // sum(map(bool, sizes)) <= per_class[label]
            assert per_class[label] <= -(-batch * steps // sum(map(bool, sizes)))
            assert per_image[labels == label].max() - per_image[labels == label].min() <= 1


@pytest.mark.parametrize("kind", ["real", "synthetic", "mixed"])
@pytest.mark.parametrize("quota", [None, [2, 1, 2]])
def test_class_balanced_phases_have_the_images_in_use(kind, quota):
    """There are 4, 3 and 2 real images of three classes; the quota says which synthetic ones are used."""
    real = squares("train", num=12).select([0, 3, 6, 9, 1, 4, 7, 2, 5])
    synthetic = squares("synthetic", num=9)
    data = TrainingData(train=real, synthetic=synthetic, quota=None if quota is None else np.array(quota))
    phase = Phase(data=kind, class_balanced=True)
    images = phase_images(phase, data, size=8, device="cpu")
    drawn = list(batches_of(images, phase, 9, num_steps=40, rng=torch.Generator().manual_seed(0)))
    counts = images.labels[torch.cat(drawn)].bincount()
    assert counts.tolist() == [120, 120, 120]
    assert set(torch.cat(drawn).tolist()) == set(range(len(images.labels)))


@pytest.mark.parametrize("steps", [1, 2, 7, 100, 301])
@pytest.mark.parametrize("name", list(SCHEDULES))
def test_schedules_rise_then_fall(name, steps):
    factors = [SCHEDULES[name](step, steps) for step in range(steps)]
    peak = factors.index(max(factors))
    assert max(factors) == 1
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert all(factor > 0 for factor in factors)
    assert peak <= 0.05 * steps + 1


def test_quarters_are_the_steps_of_pytorch_after_a_warm_up():
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones=[50, 100, 150], gamma=0.2)
    for epoch in range(200):
        for step in (10 * epoch, 10 * epoch + 9):
            expected = min(1.0, (step + 1) / 50) * reference.get_last_lr()[0]
            assert SCHEDULES["quarters"](step, 2000) == pytest.approx(expected)
        optimiser.step()
        reference.step()


def _losses(*, seed=0, name="bridged", **changes):
    seen = []
    fit(
        name,
        train=squares("train"),
        synthetic=squares("synthetic", seed=1),
        settings=RECIPE.model_copy(update=changes),
        seed=seed,
        watch=lambda step: seen.append(step.loss),
    )
    return seen


@pytest.mark.parametrize("augmentation", list(AUGMENTATIONS))
def test_losses_follow_from_the_seed_alone(augmentation):
    first = _losses(augmentation=augmentation)
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)
        assert _losses(augmentation=augmentation) == first
    assert _losses(augmentation=augmentation, seed=1) != first


def test_dropout_follows_the_seed_too(monkeypatch):
    """Dropout layers draw from the global generator and take no other."""

    def build(settings, num_classes, *, rng_seed):
        with seeded_globals(rng_seed):
            model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 32 * 32, num_classes))
        return Backbone(model, "linear", {}, 32, (0.5,) * 3, (0.5,) * 3)

    monkeypatch.setattr(compare, "build_backbone", build)
    first = _losses(name="real")
    with torch.random.fork_rng(devices=[]):
        torch.rand(7)
        assert _losses(name="real") == first


def test_it_learns():
    losses = _losses(name="real", steps=40, learning_rate=5e-3, augmentation="none")
    assert sum(losses[-5:]) / 5 < 0.7 * sum(losses[:5]) / 5
