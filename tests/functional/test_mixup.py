"""Mixup and CutMix against their definitions and torchvision."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torchvision.transforms import v2

from understudy.functional.mixup import beta, cutmix, mixup

X, LABELS = (
    torch.rand(6, 3, 8, 12, generator=torch.Generator().manual_seed(0)),
    torch.tensor([0, 1, 2, 0, 1, 2]),
)
Y = F.one_hot(LABELS, 3).float()
PERM = torch.tensor([3, 5, 0, 1, 2, 4])
NET = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(X[0].numel(), 3)).requires_grad_(
    requires_grad=False
)


def loss(x, y):
    return F.cross_entropy(NET(x), y)


@given(lam=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_mixup_loss_is_the_convex_combination(lam):
    x, y = mixup(X, Y, PERM, lam)
    torch.testing.assert_close(x, lam * X + (1 - lam) * X[PERM])
    torch.testing.assert_close(loss(x, y), lam * loss(x, Y) + (1 - lam) * loss(x, Y[PERM]))
    torch.testing.assert_close(y.sum(dim=1), torch.ones(6))


def test_mixup_at_its_ends_is_plain():
    torch.testing.assert_close(loss(*mixup(X, Y, PERM, 1.0)), F.cross_entropy(NET(X), LABELS))
    torch.testing.assert_close(loss(*mixup(X, Y, PERM, 0.0)), F.cross_entropy(NET(X[PERM]), LABELS[PERM]))
    torch.testing.assert_close(loss(*mixup(X, Y, torch.arange(6), 0.3)), F.cross_entropy(NET(X), LABELS))


@given(lam=st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_mixup_is_symmetric_in_the_two_images(lam):
    back = torch.argsort(PERM)
    there, again = mixup(X, Y, PERM, lam), mixup(X[PERM], Y[PERM], back, 1 - lam)
    torch.testing.assert_close(loss(*there), loss(*again))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_against_torchvision(kind, seed):
    """torchvision mixes each image with the one before; what it draws, in its order, is put into ours."""
    transform = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[kind](alpha=0.7, num_classes=3)
    before = torch.arange(6).roll(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lam = float(transform._dist.sample(()))
        left, top = torch.randint(12, size=(1,)), torch.randint(8, size=(1,))
        torch.manual_seed(seed)
        expected = transform(X, LABELS)
    got = (
        mixup(X, Y, before, lam)
        if kind == "mixup"
        else cutmix(X, Y, before, lam, (top.item() / 8, left.item() / 12))
    )
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@given(lam=st.floats(0, 1), top=st.floats(0, 1), left=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_cutmix_labels_follow_the_area(lam, top, left):
    marks = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 8, 12)
    x, y = cutmix(marks, Y, PERM, lam, (top, left))
    foreign = (x == PERM.view(6, 1, 1, 1)).float().mean(dim=(1, 2, 3))
    assert torch.equal(foreign, foreign[:1].expand(6))
    assert foreign[0] <= 1 - lam + 1e-6
    torch.testing.assert_close(y, (1 - foreign[0]) * Y + foreign[0] * Y[PERM])
    rows, columns = (
        (x == PERM.view(6, 1, 1, 1))[0, 0].any(dim=1),
        (x == PERM.view(6, 1, 1, 1))[0, 0].any(dim=0),
    )
    assert int(rows.sum() * columns.sum()) == round(float(foreign[0]) * 96)  # one box


def test_cutmix_at_its_ends():
    for lam, expected in ((1.0, (X, Y)), (0.0, (X[PERM], Y[PERM]))):
        for got, wanted in zip(cutmix(X, Y, PERM, lam, (0.5, 0.5)), expected, strict=True):
            torch.testing.assert_close(got, wanted)


def test_beta():
    rng = torch.Generator().manual_seed(0)
    draws = np.array([beta(0.2, rng) for _ in range(2000)])
    assert ((draws >= 0) & (draws <= 1)).all()
    assert draws.mean() == pytest.approx(0.5, abs=0.04)
    assert draws.var() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), rel=0.1)
    assert beta(0.2, torch.Generator().manual_seed(3)) == beta(0.2, torch.Generator().manual_seed(3))
