import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy

from understudy.functional.uncertainty import predictive_entropy

logits = arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.floats(-50, 50))


def softmax(x):
    exp = np.exp(x - x.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


@given(logits)
def test_it_is_that_of_scipy_and_between_none_and_that_of_guessing(x):
    p = softmax(x)
    found = predictive_entropy(p)
    np.testing.assert_allclose(found, entropy(p, axis=1), atol=1e-12)
    assert (found >= 0).all() and (found <= np.log(p.shape[1]) + 1e-12).all()


@given(logits)
def test_the_order_of_classes_does_not_matter(x):
    p = softmax(x)
    np.testing.assert_allclose(predictive_entropy(p[:, ::-1]), predictive_entropy(p), atol=1e-12)


def test_other_arrays_are_refused():
    with pytest.raises(ValueError, match=r"must be \(N, C\) and not negative, got \(2,\)"):
        predictive_entropy(np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="not negative"):
        predictive_entropy(np.array([[1.5, -0.5]]))
