"""When a figure of a benchmark meets its target."""

import json

import pytest

from benchmarks.claims import NO_TARGET, Claim, repeated, write
from benchmarks.render import pages, with_tables


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
    path = tmp_path / "proof.json"  # a page begins with the docstring of its benchmark
    write(path, settings=settings, rows=[], claims=claims, tables=tables)
    assert [claim["met"] for claim in json.loads(path.read_text())["claims"]] == [None, None]
    written = pages(tmp_path)
    assert f"| {target} | - |" in written["proof.md"]
    assert "| [proof](proof.md) | Checks of what the project measures:" in written["index.md"]
    assert "| **all** | | **2** | **0** | **0** |" in written["index.md"]


def test_a_page_has_all_tables_of_a_benchmark_or_the_first(tmp_path):
    tables = [{"title": f"Table {number}", "columns": ["arm"], "rows": [["real"]]} for number in (1, 2)]
    (tmp_path / "some.json").write_text(json.dumps({"tables": tables}))
    text = "<!-- {} of some -->\nold\n<!-- end of {} -->\nafter"
    for name, shown in (("first table", [1]), ("tables", [1, 2])):
        page = with_tables(text.format(name, name), tmp_path)
        assert [number for number in (1, 2) if f"Table {number}" in page] == shown
        assert "old" not in page and page.endswith(f"<!-- end of {name} -->\nafter")


@pytest.mark.parametrize(
    "text",
    [
        "<!-- tables of some -->\nold",
        "old\n<!-- end of tables -->",
        "<!-- tables of some -->\n<!-- tables of some -->\nold\n<!-- end of tables -->",
        "<!-- first table of some -->\nold\n<!-- end of tables -->",
        "worth <!-- some | real | arm -->old",
        "worth old<!-- end --> of it",
    ],
)
def test_a_mark_without_its_end_or_an_end_without_its_mark_is_refused(text, tmp_path):
    tables = [{"title": "Table", "columns": ["case", "arm"], "rows": [["real", "1.0 [0.5, 1.5]"]]}]
    (tmp_path / "some.json").write_text(json.dumps({"tables": tables}))
    with pytest.raises(ValueError, match=r"must be followed by its own <!-- end( of .*)? -->: "):
        with_tables(text, tmp_path)


def test_a_page_lists_the_arms_that_differ_together_with_all_others(tmp_path):
    columns = ["arm", "minus the plain arm, points", "not 0 for all 2 rows at once"]
    rows = {
        "mini, few": [["real", "", ""], ["**mixed@a**", "1.0 [0.5, 1.5]", "yes"], ["mixed@b", "0", "no"]],
        "mini, all": [["real", "", ""], ["mixed@a", "0.1 [-0.5, 0.6]", "no"], ["mixed@b", "0", "no"]],
    }
    tables = [
        {"title": f"Strategies, {case}; bold: chosen", "columns": columns, "rows": rows[case]}
        for case in rows
    ]
    (tmp_path / "some.json").write_text(json.dumps({"tables": tables}))
    page = with_tables("<!-- changes in some -->\nold\n<!-- end of changes -->", tmp_path)
    assert "- mini, few: 1 of 2: `mixed@a` 1.0 [0.5, 1.5]\n- mini, all: none of 2\n" in page
    assert "old" not in page
