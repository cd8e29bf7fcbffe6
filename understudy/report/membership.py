"""The report's panel on membership inference: what an attacker finds out about the training images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

from markupsafe import Markup

from understudy.report.figures import LINE, MUTED, WIDTH, legend_above, new_figure, styles, to_svg

ATTACKS = {"lira": "LiRA", "rmia": "RMIA"}


def membership_section(results: Mapping[str, Any]) -> dict[str, Any]:
    """Values for ``membership.html``.

    Args:
        results: content of ``results.json``.

    Returns:
        ``attacks`` (``key``, ``name``, ``figure``), ``rates`` (false-positive rates, ascending), ``arms`` (a
        row each, with ``told``: whether some attack is shown to do better than guessing), ``skipped`` (by
        arm, the reason); empty if membership was not audited.
    """
    membership = results.get("membership")
    if not membership:
        return {}
    attacks = {name: membership["attacks"][name] for name in ATTACKS if name in membership["attacks"]}
    first = next(iter(attacks.values()))
    return {
        "attacks": [
            {"key": name, "name": ATTACKS[name], "figure": Markup(roc_figure(ATTACKS[name], arms))}  # noqa: S704 - our own markup
            for name, arms in attacks.items()
        ],
        "rates": [point["fpr"] for point in next(iter(first.values()))["tpr"]],
        "arms": [
            {
                "name": arm,
                **membership["arms"].get(arm, {}),
                "attacks": {name: measured[arm] for name, measured in attacks.items()},
                "told": told([measured[arm] for measured in attacks.values()]),
            }
            for arm in first
        ],
        "skipped": membership.get("skipped", {}),
    }


def told(attacks: Sequence[Mapping[str, Any]]) -> bool:
    """Whether some attack provably beats guessing, by its area under the curve or at some rate.

    A rate is a false-positive rate.

    The best of many figures looks good by chance. So the lower ends are moved outwards until all of them hold
    at once with 97.5% probability (Bonferroni), assuming normal distributions.

    Args:
        attacks: on one arm, ``auc`` and ``tpr`` each.

    Example:
        >>> auc = lambda low: [{"auc": {"mean": 0.6, "low": low, "high": 0.7}, "tpr": []}]
        >>> told(auc(0.51)), told(auc(0.49)), told(auc(0.51) * 6)
        (True, False, False)
    """
    looks = [(one["auc"], 0.5) for one in attacks] + [
        (point["tpr"], point["fpr"]) for one in attacks for point in one["tpr"]
    ]
    normal = NormalDist()
    stretch = normal.inv_cdf(0.025 / len(looks)) / normal.inv_cdf(0.025)
    return any(
        measured["mean"] - stretch * (measured["mean"] - measured["low"]) > chance
        for measured, chance in looks
    )


def roc_figure(attack: str, arms: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw true-positive over false-positive rate on logarithmic axes, with guessing as a dashed line.

    Only logarithmic axes show what an attack finds while it accuses few wrongly: Carlini et al. 2022
    (arXiv:2112.03570), section 3.

    Args:
        attack: name for the title.
        arms: ``results["membership"]["attacks"][name]``.

    Returns:
        SVG markup.
    """
    figure, axes = new_figure(WIDTH, 340)
    curves = {
        arm: [
            (fpr, tpr)
            for fpr, tpr in zip(measured["roc"]["fpr"], measured["roc"]["tpr"], strict=True)
            if fpr > 0 and tpr > 0
        ]
        for arm, measured in arms.items()
    }
    least = min((rate for points in curves.values() for point in points for rate in point), default=1e-3)
    axes.plot([least, 1], [least, 1], "--", color=MUTED, linewidth=1.2, label="guessing")
    for arm, (colour, marker) in styles(curves).items():
        fprs, tprs = ([point[place] for point in curves[arm]] for place in (0, 1))
        axes.plot(
            fprs,
            tprs,
            "-",
            marker=marker,
            markevery=0.2,
            color=colour,
            linewidth=2,
            markersize=5,
            markeredgewidth=0,
            label=arm,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    decades = [10.0**exponent for exponent in range(math.ceil(math.log10(least) - 1e-6), 1)]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(decades, [f"{100 * rate:g}%" for rate in decades])
    axes.minorticks_off()
    axes.set_xlim(least, 1)
    axes.set_ylim(least, 1)
    axes.grid(color=LINE, linewidth=1)
    axes.set_axisbelow(True)
    axes.set_xlabel("false-positive rate")
    axes.set_ylabel("true-positive rate")
    legend_above(axes)
    return to_svg(figure, title=f"True-positive over false-positive rate of {attack}, logarithmic axes")
