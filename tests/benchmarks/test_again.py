"""Claims of committed result files follow from their rows."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.again import BENCHMARKS, computed_again

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def stored(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_committed_file_is_what_its_rows_give(name):
    content = stored(name)
    assert computed_again(content, BENCHMARKS[name]) == content


def test_shares_of_the_gap_have_fiellers_interval():
    """The figures that an audit computed from the same rows."""
    claims = [claim for claim in stored("content_gap")["claims"] if "closes this share" in claim["claim"]]
    found = [[claim[end] for end in ("value", "low", "high")] for claim in claims if claim["low"] is not None]
    assert any(figures == pytest.approx([64, 53, 76], abs=1) for figures in found)


def test_a_share_is_in_the_interval_if_a_test_does_not_reject_it():
    content, case = stored("content_gap_class_conditional"), "class_conditional, all 600"
    rows = [row["arms"] for row in content["rows"] if row["case"] == case]
    plain, chosen, real = (
        np.array([row[arm]["test"] for row in rows]) for arm in ("synthetic", "synthetic@soft-labels", "real")
    )
    shares = np.arange(0, 150, 0.05)
    rejected = [
        stats.ttest_1samp(chosen - plain - share / 100 * (real - plain), 0).pvalue < 0.05 for share in shares
    ]
    inside = shares[~np.array(rejected)]
    (claim,) = [
        claim
        for claim in content["claims"]
        if claim["claim"].startswith(f"{case}, drawn from noise alone: synthetic@soft-labels closes")
        and "between plain synthetic" in claim["claim"]
    ]
    assert (claim["low"], claim["high"]) == pytest.approx((inside[0], inside[-1]), abs=0.2)


def test_without_a_gap_nothing_is_closed():
    (claim,) = [
        claim for claim in stored("content_gap")["claims"] if claim["why"].startswith("there is no gap")
    ]
    assert (claim["low"], claim["high"], claim["met"]) == (None, None, False)


def test_other_rows_are_refused():
    content = stored("content_gap")
    fewer = {**content, "claims": content["claims"][1:]}
    with pytest.raises(ValueError, match="rows must give the 18 claims of the file"):
        computed_again(fewer, BENCHMARKS["content_gap"])


def test_claims_are_found_by_name_in_any_order():
    content = stored("proof")
    claims = computed_again({**content, "claims": content["claims"][::-1]}, BENCHMARKS["proof"])["claims"]
    by_name = [sorted(each, key=lambda claim: claim["claim"]) for each in (claims, content["claims"])]
    assert by_name[0] == by_name[1]
