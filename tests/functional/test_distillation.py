"""Soft labels, feature distance and two streams against closed forms, torch and scikit-learn."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import paired_cosine_distances
from torch.nn import functional as F

from understudy.functional.distillation import feature_distance, soft_label_loss, two_stream_loss

RNG = torch.Generator().manual_seed(0)
Z, V = 3 * torch.randn(6, 4, generator=RNG), 3 * torch.randn(6, 4, generator=RNG)
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
SHARES = st.floats(0, 1)


@given(share=SHARES)
@settings(max_examples=20, deadline=None)
def test_a_certain_teacher_equals_the_label(share):
    sure = 1e4 * F.one_hot(LABELS, 4).float()
    expected = F.cross_entropy(Z, LABELS, reduction="none")
    torch.testing.assert_close(soft_label_loss(Z, LABELS, sure, share=share, temperature=1.0), expected)


@given(share=SHARES, temperature=st.floats(0.5, 20), smoothing=st.floats(0, 0.5))
@settings(max_examples=30, deadline=None)
def test_against_the_divergence_of_torch(share, temperature, smoothing):
    """Cross entropy is the divergence from the teacher and the teacher's entropy."""
    teacher = (V / temperature).softmax(dim=1)
    divergence = F.kl_div((Z / temperature).log_softmax(dim=1), teacher, reduction="none").sum(dim=1)
    soft = temperature**2 * (divergence + torch.distributions.Categorical(teacher).entropy())
    hard = F.cross_entropy(Z, LABELS, label_smoothing=smoothing, reduction="none")
    got = soft_label_loss(Z, LABELS, V, share=share, temperature=temperature, label_smoothing=smoothing)
    torch.testing.assert_close(got, (1 - share) * hard + share * soft, rtol=1e-4, atol=1e-5)


def test_at_high_temperature_the_gradient_is_the_difference_of_logits():
    """Hinton et al. 2015, eq. 4: (z - v) / K for logits of mean zero, at every high temperature."""
    z, v = (x.double() - x.double().mean(dim=1, keepdim=True) for x in (Z, V))
    z.requires_grad_()
    loss = soft_label_loss(z, LABELS, v, share=1.0, temperature=1e4).sum()
    torch.testing.assert_close(torch.autograd.grad(loss, z)[0], (z - v).detach() / 4, rtol=1e-2, atol=2e-3)


def test_labels_may_be_probabilities():
    y = F.one_hot(LABELS, 4).float()
    for share in (0.0, 0.3):
        hard, mixed = (soft_label_loss(Z, labels, V, share=share, temperature=2.0) for labels in (LABELS, y))
        torch.testing.assert_close(hard, mixed)


def test_feature_distance_against_scikit_learn():
    torch.testing.assert_close(feature_distance(Z, V), torch.tensor(paired_cosine_distances(Z, V).mean()))


@given(scale=st.floats(0.1, 10))
@settings(max_examples=10, deadline=None)
def test_feature_distance_ignores_length(scale):
    torch.testing.assert_close(feature_distance(Z, scale * V), feature_distance(Z, V))
    assert feature_distance(Z, scale * Z).item() == pytest.approx(0, abs=1e-6)
    assert feature_distance(Z, -scale * Z).item() == pytest.approx(2, abs=1e-6)


@given(num_first=st.integers(0, 6), w=st.floats(0.1, 5))
@settings(max_examples=30, deadline=None)
def test_the_gradient_of_two_streams_is_the_weighted_sum(num_first, w):
    weights = torch.ones(4, requires_grad=True)
    losses = F.cross_entropy(weights * Z, LABELS, reduction="none")

    def gradient(loss):
        return torch.autograd.grad(loss, weights, retain_graph=True)[0]

    parts = [
        (part.mean(), weight)
        for part, weight in ((losses[:num_first], 1.0), (losses[num_first:], w))
        if len(part)
    ]
    expected = sum(weight * gradient(mean) for mean, weight in parts)
    torch.testing.assert_close(gradient(two_stream_loss(losses, num_first, w=w)), expected)
