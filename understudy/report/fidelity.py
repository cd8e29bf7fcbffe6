"""The report's panel on fidelity: how close synthetic images come to real ones, beside new real images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Each measure in words that need no definition; docs/methods/fidelity.md has the definitions.
MEASURES = {
    "frechet_distance": ("Fréchet distance", "between Gaussians fitted to the two sets"),
    "kid": ("KID", "kernel distance with a cubic kernel; can fall below 0 by chance"),
    "mmd": ("MMD", "kernel distance with a Gaussian kernel"),
    "cmmd": ("CMMD", "the same on features of unit length, times 1000"),
    "precision": ("Precision", "share of synthetic images among the real ones"),
    "recall": ("Recall", "share of real images among the synthetic ones"),
    "density": ("Density", "how deep synthetic images lie among real ones; 1 is typical"),
    "coverage": ("Coverage", "share of real images with a synthetic image nearby"),
    "vendi_score": ("Vendi score", "effective number of different images"),
}
_NO_DIFFERENCE = "no different from new real images"
_CLEARLY = 0.7  # area under the curve


def fidelity_section(results: Mapping[str, Any]) -> dict[str, Any]:
    """Values for ``fidelity.html``.

    Args:
        results: content of ``results.json``.

    Returns:
        ``rows`` (a measure each, with its words), ``at_once`` (measures whose row is a mean over classes,
        with their figures for all images at once), ``classes`` (a row per class, by measure ``value`` and
        ``floor``, or None), ``warnings``, and ``encoder_is_blind``: whether plain statistics tell images
        apart that no measure does; empty if there is nothing to say.
    """
    fidelity = results.get("fidelity", {})
    measures, warnings = fidelity.get("measures", {}), fidelity.get("warnings", [])
    if not (measures or warnings):
        return {}
    rows = []
    for key in [name for name in MEASURES if name in measures]:
        name, meaning = MEASURES[key]
        measure = measures[key]
        # The figure of all images at once depends on class shares, and lies below 0 for equal distributions.
        within = measure.get("within_classes")
        shown, better = within or measure, measure["better"]
        comparable = within is not None or fidelity.get("same_shares", True)
        rows.append(
            {
                **{part: shown[part] for part in ("value", "floor")},
                "better": better,
                "key": key,
                "place": f"measures.{key}." + ("within_classes." if within else ""),
                "name": f"{name} within classes" if within else name,
                "meaning": meaning,
                "reading": reading(key, shown["value"], shown["floor"], better=better)
                if comparable
                else "class shares differ from those of the new real images",
            }
        )
    names = [
        name
        for name in results["data"]["classes"]
        if any(name in measures[row["key"]].get("per_class", {}) for row in rows)
    ]
    classes = [
        {"name": name, "measures": {row["key"]: measures[row["key"]]["per_class"].get(name) for row in rows}}
        for name in names
    ]
    at_once = [
        {"key": key, "name": MEASURES[key][0], **{part: measures[key][part] for part in ("value", "floor")}}
        for key in measures
        if measures[key].get("within_classes")
    ]
    return {
        "rows": rows,
        "at_once": at_once,
        "classes": classes,
        "warnings": warnings,
        "encoder_is_blind": bool(rows)
        and all(row["reading"] == _NO_DIFFERENCE for row in rows)
        and _are_told_apart(fidelity.get("plain_statistics")),
    }


def _are_told_apart(plain: Mapping[str, Any] | None) -> bool:
    """Whether plain statistics clearly tell synthetic images from real ones, and not new real images."""
    return plain is not None and plain["value"]["low"] > max(plain["floor"]["high"], _CLEARLY)


def reading(name: str, value: Mapping[str, float], floor: Mapping[str, float], *, better: str) -> str:
    """Say in words how synthetic images compare with new real images in one measure.

    The reference of both is the train images. So synthetic images that come closer to it than new real ones
    may be copies, and a density above that of new real images means that they are too typical.

    Args:
        name: of the measure.
        value: of synthetic images, ``mean``, ``low`` and ``high``.
        floor: the same of real images that were held out.
        better: ``lower`` or ``higher``.

    Example:
        >>> at = lambda mean: {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}
        >>> reading("mmd", at(1.2), at(1.1), better="lower"), reading("mmd", at(2.2), at(1.1), better="lower")
        ('no different from new real images', '2.0 times as far as new real images')
        >>> reading("recall", at(0.45), at(0.9), better="higher")
        '50% of what new real images reach'
    """
    if value["low"] <= floor["high"] and value["high"] >= floor["low"]:
        return _NO_DIFFERENCE
    # A ratio over a floor that may be 0 would be noise.
    ratio = value["mean"] / floor["mean"] if floor["low"] > 0 else None
    if better == "lower":
        if value["high"] < floor["low"]:
            return "nearer than new real images: look for copies"
        return (
            "farther than new real images"
            if ratio is None
            else f"{ratio:.1f} times as far as new real images"
        )
    if value["low"] > floor["high"]:
        return "deeper than new real images: too typical" if name == "density" else "above new real images"
    return "below new real images" if ratio is None else f"{ratio:.0%} of what new real images reach"
