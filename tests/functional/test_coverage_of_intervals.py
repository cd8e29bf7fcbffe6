"""Coverage of the intervals of precision, recall, coverage and Vendi score, near their ends and between.

Every cell draws all points again in every experiment; the mean over experiments is the truth. The coverage of
150 experiments has a standard error of 2 points.
"""

import numpy as np
import pytest

from understudy.functional.coverage import balls, neighbour_measures
from understudy.functional.diversity import vendi_interval
from understudy.functional.resampling import (
    freedom,
    jackknife_spread,
    jackknife_variance,
    share_interval,
)

EXPERIMENTS = 150
SHARES = [
    (num_real, num_synthetic, shift, scale)
    for num_real, num_synthetic in ((60, 30), (60, 60), (120, 60))
    for shift, scale in ((0, 1), (0, 0.3), (0, 2), (0.7, 1), (3, 1))
]
"""The last shift parts the two sets, so that precision, recall and coverage are 0."""


@pytest.mark.parametrize(("num_real", "num_synthetic", "shift", "scale"), SHARES)
def test_precision_recall_and_coverage(num_real, num_synthetic, shift, scale):
    rng, found = np.random.default_rng(num_real), {"precision": [], "recall": [], "coverage": []}
    for _ in range(EXPERIMENTS):
        real = rng.normal(size=(num_real, 8))
        synthetic = shift + scale * rng.normal(size=(num_synthetic, 8))
        measured = neighbour_measures(real, synthetic, balls(real, k=5), balls(synthetic, k=5))
        for name, ends in found.items():
            sides = (measured[name].without_real, measured[name].without_synthetic)
            variance, spread = (
                sum(of(side, np.zeros(len(side))) for side in sides)
                for of in (jackknife_variance, jackknife_spread)
            )
            num = num_synthetic if name == "precision" else num_real
            ends.append(share_interval(measured[name].value, variance, freedom(variance, spread), num))
    for name, ends in found.items():
        values, low, high = np.array(ends).T
        assert np.mean((low <= values.mean()) & (values.mean() <= high)) >= 0.93, name


VENDI = [
    (num, width, kind)
    for kind, nums in (("normal", (50, 100)), ("shifted", (50, 100)), ("classes", (100, 200)))
    for num in nums
    for width in (3, 8)
]
"""With five classes of ten points, 91% is covered."""


@pytest.mark.parametrize(("num", "width", "kind"), VENDI)
def test_vendi_score(num, width, kind):
    rng, ends = np.random.default_rng(num + width), []
    centres = 3 * rng.normal(size=(5, width))
    groups = np.arange(num) % 5 if kind == "classes" else np.zeros(num, dtype=int)
    for _ in range(300):
        x = rng.normal(size=(num, width)) + {"normal": 0, "shifted": 3, "classes": centres[groups]}[kind]
        ends.append(vendi_interval([(x, groups)]))
    values, low, high = np.array(ends).T
    assert np.mean((low <= values.mean()) & (values.mean() <= high)) >= 0.93
