"""Losses over regions against loops over regions and pairs, as the authors of the paper compute them."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from understudy.functional.region_losses import discrepancy, robustness


def outputs(seed, num_real, num_synthetic, num_regions):
    rng = torch.Generator().manual_seed(seed)
    s, g = (torch.randn(num, 3, generator=rng, dtype=torch.float64) for num in (num_real, num_synthetic))
    i, j = (torch.randint(num_regions, (num,), generator=rng) for num in (num_real, num_synthetic))
    return s, g, i, j


@given(
    seed=st.integers(0, 999),
    num_real=st.integers(0, 4),
    num_synthetic=st.integers(1, 6),
    num_regions=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_against_loops_over_regions_and_pairs(seed, num_real, num_synthetic, num_regions):
    s, g, i, j = outputs(seed, num_real, num_synthetic, num_regions)
    expected = torch.zeros(2, dtype=torch.float64)
    for region in range(num_regions):
        real, synthetic = s[i == region], g[j == region]
        if len(real):
            for one in synthetic:
                expected[0] += sum(F.mse_loss(one, other) for other in real) / len(real) / num_synthetic
                expected[1] += (
                    sum(F.mse_loss(one, other) for other in synthetic) / len(synthetic) / num_synthetic
                )
    torch.testing.assert_close(torch.stack([discrepancy(s, g, i, j), robustness(g, j, i)]), expected)


@given(seed=st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_equal_outputs_cost_nothing(seed):
    _, _, i, j = outputs(seed, 4, 6, 2)
    same = torch.ones(4, 3), torch.ones(6, 3)
    assert discrepancy(*same, i, j) == 0
    assert robustness(same[1], j, i) == 0


def test_a_constant_added_to_all_outputs_changes_nothing():
    s, g, i, j = outputs(0, 4, 6, 2)
    torch.testing.assert_close(discrepancy(s + 3, g + 3, i, j), discrepancy(s, g, i, j))
    torch.testing.assert_close(robustness(g + 3, j, i), robustness(g, j, i))
