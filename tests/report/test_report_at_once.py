"""The sentence about differences that hold for all rows of a table at once."""

from understudy.report.at_once import holds_at_once


def ends(low, high):
    return {"mean": (low + high) / 2, "low": low, "high": high}


def results(**at_once):
    arms = {
        "real": {"accuracy": ends(0.8, 0.9), "minus_real": ends(0, 0)},
        "mixed": {"accuracy": ends(0.8, 0.9), "minus_real": ends(0.01, 0.05)},
        "bridged": {"accuracy": ends(0.8, 0.9), "minus_real": ends(0.001, 0.04)},
    }
    return {"arms": arms, "verdict": {"best": "mixed"}, "at_once": {"accuracy": {"minus_real": at_once}}}


def test_names_the_differences_that_hold():
    found = results(mixed=ends(0.002, 0.06), bridged=ends(-0.01, 0.05))
    assert holds_at_once(found, "minus_real") == (
        "With intervals that hold for all rows at once, 1 of 2 differences excludes 0: mixed."
    )


def test_counts_the_differences_that_hold():
    found = results(mixed=ends(0.002, 0.06), bridged=ends(0.001, 0.05))
    assert holds_at_once(found, "minus_real").endswith("2 of 2 differences exclude 0: mixed, bridged.")


def test_says_that_none_holds():
    found = results(mixed=ends(-0.002, 0.06), bridged=ends(-0.01, 0.05))
    assert holds_at_once(found, "minus_real").endswith("none of 2 differences excludes 0.")


def test_is_silent_where_nothing_holds_alone_or_nothing_was_computed():
    found = results(mixed=ends(-0.002, 0.06), bridged=ends(-0.01, 0.05))
    for arm in ("mixed", "bridged"):
        found["arms"][arm]["minus_real"] = ends(-0.01, 0.01)
    assert holds_at_once(found, "minus_real") == ""
    assert holds_at_once(found, "minus_plain") == ""
    found.pop("at_once")
    assert holds_at_once(found, "minus_real") == ""
