"""Settings, claims and tables of the benchmark of matching."""

import numpy as np
import pytest

from benchmarks import matching
from benchmarks.matching import CASES, SEEDS, SELECTED, SHOTS, STEPS, TERM_STEPS
from understudy.curation.selections import SELECTIONS

ENCODERS = ("mini's image encoder", "letters ResNet")


def distances(level, rng):
    """Four distances near a level."""
    return {
        measure: {encoder: level + 0.001 * rng.random() for encoder in ENCODERS}
        for measure in ("squared MMD", "Fréchet distance")
    }


def measured():
    """Rows in which `drawn` halves every distance and gains 2 points, and nothing else has an effect."""
    rng, rows = np.random.default_rng(0), []
    for kind in SHOTS:
        for case in CASES:
            for seed in SEEDS:
                helps = case.name == "drawn"
                arms = ["real", "synthetic", "mixed", *case.arms]
                rows.append(
                    {
                        "kind": kind,
                        "case": case.name,
                        "seed": seed,
                        "arms": {
                            arm: {"accuracy": {"mean": 0.9 + 0.02 * helps + 1e-3 * rng.random()}}
                            for arm in arms
                        },
                        "distance": {
                            name: distances(0.05 if helps else 0.2, rng)
                            for name in ("first", *(SELECTED if case.arms else ()))
                        },
                        "selection seconds": {name: 1 + rng.random() for name in SELECTED}
                        if case.arms
                        else {},
                    }
                )
    return rows


def test_claims_follow_from_the_rows():
    found = {claim.claim: claim for claim in matching._claims(measured())}
    for kind in SHOTS:
        for encoder in ENCODERS:
            assert found[f"{kind}: squared MMD, {encoder}: drawn over control"].met
            assert found[f"{kind}: Fréchet distance, {encoder}: control minus drawn"].met
            assert not found[f"{kind}: squared MMD, {encoder}: control minus moments"].met
        gain = found[f"{kind}: mixed, drawn minus control, accuracy in points"]
        assert gain.met and gain.value == pytest.approx(2, abs=0.2)
        assert found[f"{kind}: synthetic, batch-mean minus control, accuracy in points"].met is None
        assert found[f"{kind}: mixed, selected by covariance minus first, accuracy in points"].met is False
        assert 0.5 < found[f"{kind}: CPU time of herding over coverage"].value < 2


def test_tables_have_a_cell_for_every_column():
    tables = matching._tables(measured())
    assert [len(table["rows"]) for table in tables] == [len(CASES), 1 + len(SELECTED)] * 2
    assert all(len(row) == len(table["columns"]) for table in tables for row in table["rows"])


def test_all_forms_take_the_steps_of_the_control_and_keep_the_last_weights():
    by_class = [name for name in SELECTIONS if SELECTIONS[name].choose is not None]
    assert {"first", *SELECTED} == set(by_class)
    assert matching._settings(CASES[-1], "all 600", 0).draw.exemplar_weight > 0
    assert matching.CONTROLS["exemplars"] == "plain"
    for case in CASES[1:-1]:
        adapt = matching._settings(case, "all 600", 0).adapt
        assert adapt.steps == STEPS + TERM_STEPS and adapt.keeps_last
        assert [adapt.draws_at(step) for step in (STEPS - 1, STEPS)] == [
            False,
            case.name in ("moments", "drawn"),
        ]
