"""Batches of fixed shares, and Mixup and CutMix within the loop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sets import RECIPE, fit, squares

from understudy.core.errors import InputError
from understudy.training.arms import Arm
from understudy.training.batches import Images, batches_of
from understudy.training.fit import fit_arm
from understudy.training.settings import Phase


@given(
    num_real=st.integers(1, 9),
    num_synthetic=st.integers(1, 50),
    share=st.floats(0.07, 0.93),
    seed=st.integers(0, 99),
)
@settings(max_examples=50, deadline=None)
def test_balanced_batches_have_their_share_of_real_images(num_real, num_synthetic, share, seed):
    labels = torch.zeros(num_real + num_synthetic, dtype=torch.int64)
    images = Images(torch.empty(len(labels), 0), labels, num_real)
    rng = torch.Generator().manual_seed(seed)
    drawn = list(batches_of(images, Phase(data="mixed", real_share=share), 8, num_steps=6, rng=rng))
    real = torch.stack([(batch < num_real).sum() for batch in drawn])
    assert (real == round(share * 8)).all()
    for part, size in (
        (torch.cat([batch[batch < num_real] for batch in drawn]), num_real),
        (torch.cat([batch[batch >= num_real] for batch in drawn]), num_synthetic),
    ):
        counts = part.unique(return_counts=True)[1]
        assert (
            counts.max() - (counts.min() if len(counts) == size else 0) <= 1
        )  # epochs: none twice before all once


@pytest.mark.parametrize("mixing", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_mixing_changes_the_phase_it_belongs_to(mixing):
    def losses(phases):
        seen = []
        fit(
            Arm(name="x", phases=phases, summary=""),
            train=squares("train"),
            synthetic=squares("synthetic", seed=1),
            watch=lambda step: seen.append(step.loss),
        )
        return seen

    plain = (Phase(data="synthetic"), Phase(data="real"))
    mixed = (Phase(data="synthetic", **mixing), Phase(data="real"))
    assert losses(mixed) == losses(mixed)
    assert losses(mixed)[0] != losses(plain)[0]
    later = (Phase(data="synthetic"), Phase(data="real", **mixing))
    assert losses(later)[:4] == losses(plain)[:4]
    assert losses(later)[4] != losses(plain)[4]


def test_mixing_needs_two_classes():
    one = squares("train").select([0, 3, 6])
    with pytest.raises(InputError, match="mixup and cutmix need images of at least two classes, got one"):
        fit_arm("real+mixup", train=one, synthetic=None, settings=RECIPE, seed=0, device="cpu")


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_share_that_rounds_to_none_or_all_is_refused(share):
    arm = Arm(name="x", phases=(Phase(data="mixed", real_share=share),), summary="")
    with pytest.raises(InputError, match="must leave real and synthetic images"):
        fit_arm(
            arm, train=squares("train"), synthetic=squares("synthetic"), settings=RECIPE, seed=0, device="cpu"
        )
