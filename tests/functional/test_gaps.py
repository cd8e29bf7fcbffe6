"""The decomposition of published accuracies, with terms computed by hand, and its identity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.functional.gaps import (
    PATH,
    REVERSE_PATH,
    VARIANTS,
    appearance_excess,
    content_hypothesis,
    gap_terms,
    path_terms,
    relative_drop,
    shares,
)

# Ravuri and Vinyals 2019, table 2: ImageNet, VQ-VAE-2, top-1
RAVURI = {"real": 73.09, "reconstructed": 69.90, "plain": 54.83}
# Slim 2020: CIFAR-10, BigGAN, flip and crop
SLIM = {"plain": 79.76, "filtered": 83.84, "fresh": 84.25, "filtered+fresh": 88.56}
accuracies = st.floats(0, 1)


def test_vq_vae_2_on_imagenet():
    terms = gap_terms(RAVURI, best="plain")
    assert (terms["total"], terms["appearance"], terms["content"]) == (
        pytest.approx(18.26),
        pytest.approx(3.19),
        pytest.approx(15.07),
    )
    found = shares(terms)
    assert (found["appearance"], found["content"]) == (
        pytest.approx(0.175, abs=5e-4),
        pytest.approx(0.825, abs=5e-4),
    )
    assert appearance_excess(terms) == pytest.approx(3.19 - 9.13)


def test_filter_and_fresh_images_in_both_orders():
    assert path_terms(SLIM, PATH) == [pytest.approx(4.08), pytest.approx(4.72)]
    assert path_terms(SLIM, REVERSE_PATH) == [pytest.approx(4.49), pytest.approx(4.31)]
    assert sum(path_terms(SLIM, PATH)) == pytest.approx(sum(path_terms(SLIM, REVERSE_PATH)))
    # The other two differences of the report: truncation after both, and fresh images without augmentation.
    assert gap_terms({"real": 94.26, "plain": 88.56, "diverse": 83.85}, best="plain")[
        "diversity"
    ] == pytest.approx(-4.71)
    assert gap_terms({"real": 94.26, "plain": 62.26, "fresh": 59.48}, best="plain")[
        "quantity"
    ] == pytest.approx(-2.78)


@pytest.mark.parametrize(
    ("real", "other", "drop"),
    [(73.09, 42.65, 41.6), (91.47, 65.92, 27.9), (73.09, 69.90, 4.4), (91.47, 89.46, 2.2)],
)
def test_relative_drops_of_the_abstract(real, other, drop):
    """Ravuri and Vinyals' abstract has these four, the labels top-1 and top-5 swapped."""
    assert 100 * relative_drop(real, other) == pytest.approx(drop, abs=0.05)
    assert relative_drop(0, 0) == 0


@given(
    st.dictionaries(st.sampled_from(["reconstructed", *VARIANTS[1:]]), accuracies),
    accuracies,
    accuracies,
    st.data(),
)
def test_terms_sum_to_the_total_for_any_accuracies(others, real, plain, data):
    measured = others | {"real": real, "plain": plain}
    best = data.draw(st.sampled_from([role for role in VARIANTS if role in measured]))
    terms = gap_terms(measured, best=best)
    assert terms["remaining"] + terms["recovered"] == pytest.approx(terms["total"], abs=1e-12)
    assert ("appearance" in terms) == ("content" in terms) == ("reconstructed" in measured)
    if "appearance" in terms:
        assert terms["appearance"] + terms["content"] + terms["recovered"] == pytest.approx(
            terms["total"], abs=1e-12
        )
    assert {"quality", "quantity", "diversity", "matched"} & set(terms) == {
        name
        for name, role in {
            "quality": "filtered",
            "quantity": "fresh",
            "diversity": "diverse",
            "matched": "matched",
        }.items()
        if role in measured
    }


def test_terms_of_means_are_means_of_terms():
    rng = np.random.default_rng(0)
    cells = {role: rng.random((3, 50)) < 0.7 for role in ("real", "reconstructed", *VARIANTS)}
    cells = {role: values.astype(float) for role, values in cells.items()}
    means = {role: float(values.mean()) for role, values in cells.items()}
    for name, term in gap_terms(cells, best="fresh").items():
        assert term.shape == (3, 50)
        assert term.mean() == pytest.approx(gap_terms(means, best="fresh")[name])


def test_the_path_ends_before_the_first_missing_set():
    assert path_terms({"plain": 0.5, "filtered": 0.75}, PATH) == [0.25]
    assert path_terms({"plain": 0.5, "filtered+fresh": 0.75}, PATH) == []
    assert path_terms({"plain": 0.5, "fresh": 0.75}, PATH) == []


def test_hypothesis():
    assert content_hypothesis((0.01, 0.05), is_gap=True) == "refuted"
    assert content_hypothesis((-0.05, -0.01), is_gap=True) == "supported"
    assert (
        content_hypothesis((-0.05, 0.01), is_gap=True)
        == content_hypothesis((0, 0), is_gap=True)
        == "undecided"
    )
    assert content_hypothesis((0.01, 0.05), is_gap=False) == "no gap"


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="accuracies must have plain, fresh, got real"):
        gap_terms({"real": 0.9}, best="fresh")
    for total in (0.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="a positive total"):
            shares({"total": total})
