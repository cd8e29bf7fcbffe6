"""The report's section on training: which curves are shown, and that it says so."""

import html
from typing import Any

import pytest

from understudy.report.html import environment
from understudy.report.training import convergence, training_section

ARMS = ["real", "real-long", "synthetic", "mixed", "bridged", "bridged++"]


def results_of(names: list[str], **arms: Any) -> dict[str, Any]:
    point = {
        "phase": 0,
        **{quantity: {"mean": 0.5, "low": 0.4, "high": 0.6} for quantity in ("loss", "val_accuracy")},
    }
    curve = [{"step": step, **point} for step in (1, 2)]
    return {"arms": {name: {} for name in names} | arms, "convergence": dict.fromkeys(names, curve)}


def section(results: dict[str, Any], best: str) -> tuple[dict[str, Any], str]:
    """What the template is given, and what it makes of it."""
    given = training_section(results, ["real", best])
    return given, html.unescape(
        environment().get_template("training.html").render(results=results, training=given)
    )


@pytest.mark.parametrize(
    ("best", "longer", "shown"),
    [
        pytest.param(
            "bridged++", True, "real, real-long, synthetic, bridged++", id="real-long-is-the-yardstick"
        ),
        pytest.param("bridged++", False, "real, synthetic, mixed, bridged++", id="real-is-the-yardstick"),
        pytest.param("mixed", False, "real, synthetic, mixed, bridged", id="a-usual-arm-is-best"),
    ],
)
def test_curves_are_those_that_the_verdict_is_about(best: str, longer: bool, shown: str) -> None:
    results = results_of(ARMS, **({best: {"minus_real_long": {}}} if longer else {}))
    given, text = section(results, best)
    assert given["which"].startswith(
        f"Shown are {shown}, 4 of 6 arms, because more curves would be hard to tell apart"
    )
    assert given["which"] in text
    for _, figure in given["figures"]:
        assert [name for name in ARMS if f">{name}<" in figure] == shown.split(", ")


def test_no_interval_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The axis holds every interval, and intervals hold no impossible value."""
    axes: list[Any] = []
    monkeypatch.setattr("understudy.report.training.legend_above", axes.append)
    early = {"mean": 0.5, "low": -0.2, "high": 1.2}
    late = {"mean": 0.97, "low": 0.96, "high": 0.98}
    curve = [{"step": step, "val_accuracy": at, "loss": at} for step, at in ((1, early), (2, late))]
    for quantity, most in (("val_accuracy", 100), ("loss", 1.2)):
        convergence({"real": curve}, quantity)
        low, high = axes[-1].get_ylim()
        (band,) = axes[-1].collections
        ends = band.get_paths()[0].vertices[:, 1]
        assert low < ends.min() == 0
        assert ends.max() == pytest.approx(most)
        assert most < high < 1.1 * most


def test_nothing_is_said_where_all_arms_are_shown() -> None:
    given, text = section(results_of(ARMS[:4]), "mixed")
    assert given["which"] == "" and "Shown are" not in text
    assert training_section({"arms": {}}, ["real", "real"]) == {}
