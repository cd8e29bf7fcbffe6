"""The linear layer of class means against scikit-learn's nearest centroid and the squared distances."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid

from understudy.functional.prototypes import class_means, nearest_mean_layer


def features(seed, *, num_classes=4, per_class=3, length=1.0):
    """Features of images, their labels, and features of other images."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(num_classes).repeat(per_class)
    centres = torch.randn(num_classes, 5, generator=rng, dtype=torch.float64)
    f = centres[y] + torch.randn(len(y), 5, generator=rng, dtype=torch.float64)
    return length * f, y, length * torch.randn(50, 5, generator=rng, dtype=torch.float64)


@given(seed=st.integers(0, 99), per_class=st.integers(2, 4), length=st.sampled_from([1e-3, 1.0, 1e3]))
@settings(max_examples=30, deadline=None)
def test_it_is_the_nearest_class_mean(seed, per_class, length):
    f, y, others = features(seed, per_class=per_class, length=length)
    c = class_means(f, y, 4)
    w, b = nearest_mean_layer(c)
    expected = NearestCentroid().fit(f.numpy(), y.numpy())
    np.testing.assert_allclose(c.numpy(), expected.centroids_)
    assert (others @ w.T + b).argmax(dim=1).tolist() == expected.predict(others.numpy()).tolist()


@given(seed=st.integers(0, 99), p=st.floats(0.3, 0.999))
@settings(max_examples=30, deadline=None)
def test_probabilities_are_those_of_squared_distances(seed, p):
    f, y, others = features(seed)
    c = class_means(f, y, 4)
    w, b = nearest_mean_layer(c, p=p)
    between = torch.cdist(c, c).square() / 2
    s = np.log(3 * p / (1 - p)) / (between.sum() / 12)  # 12 pairs of different classes
    expected = (-s * torch.cdist(others, c).square() / 2).softmax(dim=1)
    torch.testing.assert_close((others @ w.T + b).softmax(dim=1), expected)


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_class_means_that_are_equally_far_apart_get_p(num_classes):
    c = 7 * torch.eye(num_classes) + 100
    w, b = nearest_mean_layer(c, p=0.8)
    probabilities = (c @ w.T + b).softmax(dim=1).diagonal()
    torch.testing.assert_close(probabilities, torch.full((num_classes,), 0.8), rtol=1e-3, atol=0)


def test_length_and_position_of_the_features_do_not_matter():
    f, y, others = features(0)
    expected = nearest_mean_layer(class_means(f, y, 4))
    got = nearest_mean_layer(class_means(100 * f - 5, y, 4))
    for logits in zip(
        (others @ expected[0].T + expected[1]).log_softmax(dim=1),
        ((100 * others - 5) @ got[0].T + got[1]).log_softmax(dim=1),
        strict=True,
    ):
        torch.testing.assert_close(*logits)


def test_equal_means_give_zeros():
    w, b = nearest_mean_layer(torch.ones(3, 2))
    assert not w.any()
    assert not b.any()


@pytest.mark.parametrize("c", [torch.ones(1, 2), class_means(torch.ones(2, 2), torch.tensor([0, 0]), 2)])
def test_what_has_no_nearest_mean(c):
    with pytest.raises(ValueError, match="class means must be finite and of at least 2 classes"):
        nearest_mean_layer(c)
