"""Coverage of the intervals of fidelity measures, near their ends and between.

Every cell draws all points again in every experiment; the mean over experiments is the truth. The coverage of
150 experiments has a standard error of 2 points. Cells whose intervals are known to be too narrow are
expected to fail, with the coverage that was measured.
"""

from functools import cache

import numpy as np
import pytest

from understudy.functional.coverage import balls, neighbour_interval, neighbour_measures
from understudy.functional.diversity import vendi_interval

SHARES = ("precision", "recall", "coverage")
SETS = [
    (num_real, num_synthetic, shift, scale)
    for num_real, num_synthetic in ((60, 30), (60, 60), (120, 60))
    for shift, scale in ((0, 1), (0, 0.3), (0, 2), (0.7, 1), (3, 1))
]
"""The last shift parts the two sets, so that precision, recall and coverage are 0."""


@cache
def measured_in(cell, width):
    """Every measure in each of 150 experiments."""
    num_real, num_synthetic, shift, scale = cell
    rng, measured = np.random.default_rng(num_real), []
    for _ in range(150):
        real = rng.normal(size=(num_real, width))
        synthetic = shift + scale * rng.normal(size=(num_synthetic, width))
        measured.append(neighbour_measures(real, synthetic, balls(real, k=5), balls(synthetic, k=5)))
    return measured


def coverage_of(name, cell, *, width):
    """The share of experiments whose interval of a measure contains the mean over all experiments."""
    num_real, num_synthetic, *_ = cell
    groups = {"real_groups": np.zeros(num_real), "synthetic_groups": [np.zeros(num_synthetic)]}
    ends = [neighbour_interval(name, [measured[name]], **groups) for measured in measured_in(cell, width)]
    values, low, high = np.array(ends).T
    return np.mean((low <= values.mean()) & (values.mean() <= high))


@pytest.mark.parametrize("cell", SETS, ids=lambda cell: "-".join(map(str, cell)))
def test_precision_recall_and_coverage(cell):
    covered = {name: coverage_of(name, cell, width=8) for name in SHARES}
    assert min(covered.values()) >= 0.93, covered


NARROW = [
    ("recall", 2, (60, 30, 3, 1), "85%"),
    ("recall", 2, (60, 30, 1.5, 1), "91%"),
    ("precision", 2, (60, 60, 3, 1), "91%"),
    ("recall", 2, (120, 60, 0.7, 1), "89%"),
    ("precision", 2, (120, 60, 2, 1), "89%"),
    ("recall", 2, (120, 60, 3, 1), "84%"),
    ("recall", 8, (60, 30, 2, 1), "77%"),
    ("recall", 8, (60, 60, 2, 1), "79%"),
    ("density", 2, (60, 60, 3, 1), "82%"),
    ("density", 8, (60, 30, 1.5, 1), "89%"),
    ("density", 8, (60, 60, 2, 1), "85%"),
    ("density", 8, (60, 30, 0, 3), "65%"),
    ("density", 8, (60, 30, 3, 1), "2%"),
]
"""Sets that hardly overlap: few points, or in two dimensions the balls of single outlying ones, decide."""


@pytest.mark.parametrize(
    ("name", "width", "cell"),
    [
        pytest.param(name, width, cell, marks=pytest.mark.xfail(strict=True, reason=f"covered in {measured}"))
        for name, width, cell, measured in NARROW
    ],
)
def test_intervals_that_are_too_narrow(name, width, cell):
    assert coverage_of(name, cell, width=width) >= 0.93


@pytest.mark.parametrize("cell", [cell for cell in SETS if cell[2] < 3])
def test_density_of_sets_that_overlap(cell):
    assert coverage_of("density", cell, width=8) >= 0.93


VENDI = [
    (num, width, kind)
    for kind, nums in (("normal", (50, 100)), ("shifted", (50, 100)), ("classes", (100, 200)))
    for num in nums
    for width in (3, 8)
]


@pytest.mark.parametrize(
    ("num", "width", "kind"),
    [
        *VENDI,
        pytest.param(50, 3, "classes", marks=pytest.mark.xfail(strict=True, reason="covered in 92%")),
    ],
)
def test_vendi_score(num, width, kind):
    rng, ends = np.random.default_rng(num + width), []
    centres = 3 * rng.normal(size=(5, width))
    groups = np.arange(num) % 5 if kind == "classes" else np.zeros(num, dtype=int)
    for _ in range(300):
        x = rng.normal(size=(num, width)) + {"normal": 0, "shifted": 3, "classes": centres[groups]}[kind]
        ends.append(vendi_interval([(x, groups)]))
    values, low, high = np.array(ends).T
    assert np.mean((low <= values.mean()) & (values.mean() <= high)) >= 0.93
