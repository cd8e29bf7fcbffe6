"""When a figure of a benchmark meets its target."""

import json

import pytest

from benchmarks.claims import NO_TARGET, Claim, repeated, write
from benchmarks.render import page


@pytest.mark.parametrize(
    ("values", "options", "met"),
    [
        ([1.0, 1.1, 1.2], {"least": 0.5}, True),
        ([1.0, 2.0, 0.4], {"least": 0.5}, False),  # the mean is above 0.5, its interval is not
        ([1.0, 1.1, 1.2], {"most": 1.5}, True),
        ([1.0, 1.1, 1.2], {"most": 1.2}, False),
        ([1.0, 1.1, 1.2], {"low_above": 0.0}, True),
        ([1.0], {"least": 0.5}, False),
        ([1.0], {"low_above": 0.0}, False),
    ],
)
def test_the_interval_decides(values, options, met):
    assert repeated("a figure", values, target="some words", **options).met is met


@pytest.mark.parametrize("target", NO_TARGET)
def test_a_figure_without_a_target_is_not_judged(target, tmp_path):
    claims = [
        repeated("a figure", [1.0, 2.0], target=target),
        Claim.single("another figure", 1.0, target=target, met=True),
    ]
    assert [claim.met for claim in claims] == [None, None]
    settings = {"all": {"command": ["python"]}}
    tables = [{"title": "t", "columns": ["c"], "rows": [["r"]]}]
    write(tmp_path / "some.json", settings=settings, rows=[], claims=claims, tables=tables)
    assert [claim["met"] for claim in json.loads((tmp_path / "some.json").read_text())["claims"]] == [
        None
    ] * 2
    assert f"| {target} | - |" in page(tmp_path)
