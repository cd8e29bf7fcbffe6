"""The report's sections on memorisation and membership: whether images are copies, and what an attacker can learn about who was in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from scipy import stats

from understudy.report.figures import ACCENT, INK, LINE, MUTED, REAL, WIDTH, legend_above, new_figure, rows_figure, styles, to_svg

ATTACKS = {"lira": "LiRA", "rmia": "RMIA"}
# What a distance is from and to; held-out images, which nothing was made from, are the scale of the others.
DISTANCES = {
    "synthetic_to_train": "synthetic to nearest train image",
    "held_out_to_train": "new real to nearest train image",
    "synthetic_to_source": "synthetic to its source image",
}


def memorisation_section(results: Mapping[str, Any]) -> dict[str, Any]:
    """What the template needs of ``results.json``'s section ``memorisation``.

    Args:
        results: content of ``results.json``.

    Returns:
        ``firewall``, ``images`` (measured, by kind; None if not recorded) and ``spaces`` (each with ``name``,
        ``figure`` and ``rows``); empty if there is neither.
    """
    measured = results.get("memorisation", {})
    if not (measured.get("firewall") or measured.get("spaces")):
        return {}
    spaces = [
        {
            "name": name,
            "unit": space["unit"],
            "closer": space["closer_than_held_out"],
            "figure": Markup(distance_figure(name, space)),  # noqa: S704 - our own markup
            "rows": [{"key": key, "name": words, **space[key]} for key, words in DISTANCES.items() if space.get(key)],
        }
        for name, space in measured.get("spaces", {}).items()
    ]
    return {"firewall": measured.get("firewall"), "images": measured.get("images"), "spaces": spaces}


def distance_figure(name: str, space: Mapping[str, Any]) -> str:
    """Distances to real images in one space: a bar from the 5th percentile to the median, and a tick at the least.

    Args:
        name: ``pixel`` or ``feature``.
        space: ``results["memorisation"]["spaces"][name]``.

    Returns:
        SVG markup.
    """
    kept = {key: words for key, words in DISTANCES.items() if space.get(key)}
    figure, axes = rows_figure(list(kept.values()))
    axes.axvline(space["held_out_to_train"]["median"], color=REAL, linewidth=1.5)
    for row, key in enumerate(kept):
        own, colour = space[key], REAL if key == "held_out_to_train" else ACCENT
        axes.barh(row, own["median"] - own["p05"], left=own["p05"], height=0.3, color=colour, alpha=0.6, linewidth=0)
        axes.plot([own["median"]], [row], "o", color=colour, markersize=8, markeredgewidth=0)
        axes.plot([own["min"], own["min"]], [row - 0.16, row + 0.16], color=INK, linewidth=2)
    axes.set_xlim(left=0)
    axes.set_xlabel("distance")
    return to_svg(figure, title=f"Distances to real images in {name} space: least, 5th percentile and median")


def membership_section(results: Mapping[str, Any]) -> dict[str, Any]:
    """What the template needs of ``results.json``'s section ``membership``.

    Args:
        results: content of ``results.json``.

    Returns:
        ``attacks`` (``key``, ``name``, ``figure``), ``rates`` (false-positive rates, ascending), ``arms`` (a row each, with ``told``:
        whether some attack is shown to do better than guessing), ``skipped`` (by arm, the reason); empty if membership was not audited.
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
                "attacks": {name: own[arm] for name, own in attacks.items()},
                "told": told([own[arm] for own in attacks.values()]),
            }
            for arm in first
        ],
        "skipped": membership.get("skipped", {}),
    }


def told(attacks: Sequence[Mapping[str, Any]]) -> bool:
    """Whether some attack is shown to do better than guessing: by the area under its curve, or at some false-positive rate.

    Each figure is one look, and the best of many looks good by chance; so the lower ends are moved outwards until all of them hold at
    once with 97.5% (Bonferroni), as a normal distribution has it.

    Args:
        attacks: on one arm, ``auc`` and ``tpr`` each.

    Example:
        >>> auc = lambda low: [{"auc": {"mean": 0.6, "low": low, "high": 0.7}, "tpr": []}]
        >>> told(auc(0.51)), told(auc(0.49)), told(auc(0.51) * 6)
        (True, False, False)
    """
    looks = [(one["auc"], 0.5) for one in attacks] + [(point["tpr"], point["fpr"]) for one in attacks for point in one["tpr"]]
    stretch = stats.norm.isf(0.025 / len(looks)) / stats.norm.isf(0.025)
    return any(measured["mean"] - stretch * (measured["mean"] - measured["low"]) > chance for measured, chance in looks)


def roc_figure(attack: str, arms: Mapping[str, Mapping[str, Any]]) -> str:
    """True-positive over false-positive rate, both logarithmic, with guessing as a dashed line.

    Carlini et al. 2022 (arXiv:2112.03570), section 3: what an attack finds without accusing many wrongly shows on such axes alone.

    Args:
        attack: name for the title.
        arms: ``results["membership"]["attacks"][name]``.

    Returns:
        SVG markup.
    """
    figure, axes = new_figure(WIDTH, 340)
    curves = {
        arm: [(fpr, tpr) for fpr, tpr in zip(own["roc"]["fpr"], own["roc"]["tpr"], strict=True) if fpr > 0 and tpr > 0]
        for arm, own in arms.items()
    }
    least = min((rate for points in curves.values() for point in points for rate in point), default=1e-3)
    axes.plot([least, 1], [least, 1], "--", color=MUTED, linewidth=1.2, label="guessing")
    for arm, (colour, marker) in styles(curves).items():
        fprs, tprs = ([point[place] for point in curves[arm]] for place in (0, 1))
        axes.plot(
            fprs, tprs, "-", marker=marker, markevery=0.2, color=colour, linewidth=2, markersize=5, markeredgewidth=0, label=arm
        )  # fmt: skip
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
