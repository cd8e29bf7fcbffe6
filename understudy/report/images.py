"""The report's panel on images: first images of each class, closest pairs, and the browser of all images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from understudy.data.labelled_set import LabelledSet
from understudy.report import gallery
from understudy.report.browser import browser
from understudy.report.mistakes import MAX_CLASSES_SHOWN

_LARGEST_PIXELATED = 64  # tiles below this width are shown with sharp pixels


def images_panel(
    train: LabelledSet,
    synthetic: LabelledSet,
    *,
    test: LabelledSet | None,
    predictions: Mapping[str, np.ndarray],
    results: Mapping[str, Any],
    is_short: bool = False,
) -> dict[str, Any]:
    """Values for ``images.html``, the pairs of ``memorisation.html``, and what the script of the page reads.

    Args:
        train: real train images.
        synthetic: synthetic images of the same classes.
        test: real test images, if they are at hand.
        predictions: as for :func:`understudy.report.browser.browser`.
        results: content of ``results.json``.
        is_short: whether to leave out the browser and the pairs, and to show few images of each class.

    Returns:
        ``rows`` and ``per_class`` (first images of each class), ``pixelated``, ``pairs`` (synthetic images
        beside their nearest real ones), ``browser`` (None on a short page), ``linked_arms`` (arms whose
        mistakes lead to their images).
    """
    closest = [] if is_short else results.get("memorisation", {}).get("closest", [])
    return {
        "rows": gallery.class_rows(train, synthetic, max_classes=MAX_CLASSES_SHOWN, is_short=is_short),
        "per_class": gallery.FEW_PER_CLASS if is_short else gallery.PER_CLASS,
        "pixelated": gallery.tile_size(train, synthetic) < _LARGEST_PIXELATED,
        "pairs": gallery.closest_pairs(train, synthetic, closest),
        "browser": None if is_short else browser(train, synthetic, test=test, named=predictions),
        "linked_arms": [] if is_short else list(predictions),
    }
