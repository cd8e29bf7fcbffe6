"""The strip at the top of the page: images of the classes that gained and lost most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.data.labelled_set import LabelledSet
from understudy.report.gallery import SHORT_QUALITY, SHORT_TILE, strips, tile_size

_EITHER = 2  # classes that gained most, and as many that lost most
_TILES = 4  # images of a class and kind
_LARGEST_TILE, _QUALITY = 48, 85  # pixels, which are shown at about 40; and quality of WebP


def extreme_classes(
    results: Mapping[str, Any],
    pictured: Mapping[str, LabelledSet],
    *,
    class_names: Sequence[str],
    arm: str,
    is_short: bool = False,
) -> dict[str, Any]:
    """Return images of the classes whose recall an arm changed most, against ``real``.

    Args:
        results: content of ``results.json``.
        pictured: sets of these classes whose images are shown, by kind, such as ``real`` and ``synthetic``.
        class_names: by label.
        arm: the arm to compare with ``real``.
        is_short: whether images are as small as those of a short page.

    Returns:
        ``arm``, ``title``, ``others`` (classes with test images that are not shown) and ``classes``, from the
        largest gain to the largest loss: ``name``, ``change`` (recall of the arm minus that of ``real``),
        ``test`` (test images, or None in runs of older versions), and ``strips``: by kind, ``count`` and
        ``uri``. Empty if ``arm`` is ``real``, or no class has test images.
    """
    changes = _changes(results["arms"], arm)
    if arm == "real" or not changes:
        return {}
    ordered = sorted(changes, key=lambda label: (-changes[label], label))
    shown = ordered if len(ordered) <= 2 * _EITHER else [*ordered[:_EITHER], *ordered[-_EITHER:]]
    largest, quality = (SHORT_TILE, SHORT_QUALITY) if is_short else (_LARGEST_TILE, _QUALITY)
    tile = min(largest, tile_size(*pictured.values()))
    how = {"largest_lossless": 0, "quality": quality}  # the gallery further down has them lossless
    counts = results["data"].get("per_class", {}).get("test")
    return {
        "arm": arm,
        "title": _title(arm, [changes[label] for label in shown], is_all=len(shown) == len(ordered)),
        "others": len(ordered) - len(shown),
        "classes": [
            {
                "name": class_names[label],
                "change": changes[label],
                "test": counts[label] if counts else None,
                "strips": strips(pictured, label, _TILES, tile, **how),
            }
            for label in shown
        ],
    }


def _changes(arms: Mapping[str, Any], arm: str) -> dict[int, float]:
    """By label, recall of an arm minus that of ``real``; classes without test images have none."""
    pairs = zip(arms[arm]["per_class"], arms["real"]["per_class"], strict=True)
    return {
        label: share - real
        for label, (share, real) in enumerate(pairs)
        if share is not None and real is not None
    }


def _title(arm: str, changes: list[float], *, is_all: bool) -> str:
    if is_all:
        return f"What {arm} changed in each class"
    if changes[-1] >= 0:
        return f"Classes that gained most and least with {arm}"
    return f"Classes that {'lost least and most' if changes[0] <= 0 else 'gained and lost most'} with {arm}"
