"""How often verdicts claim a gain that is not there, and one that is; the figures are in docs/limits.md."""

import numpy as np
import pytest

from benchmarks.false_gains import CELLS, Cell, experiment, rates
from understudy.functional.intervals import binomial_limits


def test_single_runs_claim_gains_that_repeats_do_not():
    found = rates(Cell(arms=12, test=300, val=1000, effect=0.02), experiments=30)
    assert found.single > 0.1
    assert all(found.helps[num] <= found.beats[num] <= 0.07 for num in (3, 5))


def test_a_gain_that_is_there_is_found():
    found = rates(Cell(arms=3, test=300, val=100, gain=0.06), experiments=10)
    assert found.helps[5] >= 0.8


def test_runs_hold_the_arms_of_a_run_and_the_chosen_one_again():
    """Every arm has its figure on validation images; only arms that a verdict reads are tested."""
    runs = experiment(Cell(arms=4, test=100, val=50), np.random.default_rng(0))
    assert len(runs) == 5
    for run in runs:
        assert {f"arm-{number}" for number in range(4)} <= set(run)
        refits = [name for name in run if name.endswith("+val") and name != "real+val"]
        assert len(refits) <= 1 and "arm-0+val" not in refits
        assert all("val_accuracy" not in run[name] for name in ("real+val", *refits))


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_at_most_one_verdict_in_twenty_claims_a_gain_that_is_not_there(cell):
    """5% and the error of the simulation: the lower limit of Clopper and Pearson, with 100 experiments."""
    found = rates(cell, experiments=100, seed=1)
    for share in (*found.helps.values(), *found.beats.values()):
        assert binomial_limits(share, 100)[0] <= 0.05
