"""The sets between real and synthetic that take the gap apart, and what its terms advise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.functional.denoising import strength_of
from understudy.pipeline.synthetic import ArmImages, SyntheticSets, is_idle, shots_of
from understudy.sampling.plan import quotas
from understudy.settings import Settings, with_section
from understudy.training.strategies import STRATEGIES

_PLACE = "gap/"
_ROLES = {
    "filtered": "synthetic@confidence-filter",
    "fresh": "synthetic@refresh",
    "filtered+fresh": "synthetic@confidence-filter@refresh",
    "diverse": "synthetic@diverse",
    "matched": "synthetic@matched",
}
"""Arms by what they change of plain synthetic images, see :mod:`understudy.functional.gaps`."""


def as_many_as_real(settings: Settings) -> Settings:
    """The settings of a run for plain synthetic images: one for each real one, none rejected."""
    changed = with_section(settings, "draw", per_class=None, times=1.0, min_per_class=1, members=1, allocation="as-real")
    # No larger set is drawn of these, and some of them are selected, which a rule for larger ones forbids.
    changed = with_section(changed, "scale", stop_below=None)
    # Real images redrawn as little as possible are copies, and none of them is to be missing.
    return with_section(changed, "curate", score="none", threshold=None, select="first", firewall="off")


def gap_arms(plain: Settings, *, shots: int) -> dict[str, str]:
    """Arm of each role, but for those that the generator cannot give and those that would be the plain set again.

    Args:
        plain: what :func:`as_many_as_real` gave.
        shots: train images of the smallest class.
    """
    arms = dict(_ROLES)
    if plain.generator.name == "folder" or plain.draw.starts_from_real:
        del arms["diverse"]
    return {role: arm for role, arm in arms.items() if not is_idle(arm, plain, shots=shots)}


def gap_sets(sets: SyntheticSets, plain: Settings) -> dict[str, tuple[str, ArmImages]]:
    """Arm and images of each role of :func:`gap_arms`, and of the plain set."""
    shared = sets.variant(f"{_PLACE}plain", quotas(sets.train, plain.draw), draw=plain.draw, curate=plain.curate)
    arms = gap_arms(plain, shots=shots_of(sets.train))
    found = {role: (arm, sets.of_arm(arm, lambda: shared.images, base=plain, place=_PLACE)) for role, arm in arms.items()}
    return {"plain": ("synthetic", shared), **found}


def redrawn_sets(sets: SyntheticSets, plain: Settings, strengths: Sequence[float]) -> dict[float, ArmImages]:
    """Every real image noised so far and drawn again, by strength; none from ready-made images."""
    if plain.generator.name == "folder":
        return {}
    found: dict[float, ArmImages] = {}
    least = strength_of(1, plain.draw.steps)
    for strength in sorted({max(strength, least) for strength in strengths}):
        draw = with_section(plain, "draw", strength=strength, start_snr=None, noise_scale=1.0, pairing="paired").draw
        found[strength] = sets.variant(f"{_PLACE}redrawn-{strength:g}", quotas(sets.train, draw), draw=draw, curate=plain.curate)
    return found


def advice(arms: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every strategy: what it is meant for, and what it gained in this run where an arm has it alone.

    Args:
        arms: what :func:`understudy.evaluation.accuracy.summarise` gave.

    Returns:
        ``name``, ``summary``, ``addresses``, ``source`` and ``gains``: by plain arm, accuracy minus that of the plain arm (``mean``,
        ``low``, ``high``).
    """
    rows = []
    for name in STRATEGIES:
        suffix = f"@{name}"
        gains = {
            arm.removesuffix(suffix): arms[arm]["minus_plain"]
            for arm in arms
            if arm.endswith(suffix) and arm.count("@") == 1 and "minus_plain" in arms[arm]
        }
        strategy = STRATEGIES[name]
        row = {"name": name, "summary": STRATEGIES.summary(name), "addresses": list(strategy.addresses), "source": strategy.source}
        rows.append(row | {"gains": gains})
    return rows
