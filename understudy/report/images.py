"""The report's panel on images: first images of each class, closest pairs, and the browser of all images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from understudy.data.labelled_set import LabelledSet
from understudy.report import gallery
from understudy.report.browser import browser
from understudy.report.mistakes import MAX_CLASSES_SHOWN
from understudy.report.report_data import Form

_LARGEST_PIXELATED = 64  # tiles below this width are shown with sharp pixels


def images_panel(
    train: LabelledSet,
    synthetic: LabelledSet,
    *,
    test: LabelledSet | None,
    predictions: Mapping[str, np.ndarray],
    results: Mapping[str, Any],
    pictured: Mapping[str, LabelledSet],
    form: Form = "whole",
) -> dict[str, Any]:
    """Values for ``images.html``, the pairs of ``memorisation.html``, and what the script of the page reads.

    Args:
        train: real train images.
        synthetic: synthetic images of the same classes.
        test: real test images, if they are at hand.
        predictions: as for :func:`understudy.report.browser.browser`.
        results: content of ``results.json``.
        pictured: the sets whose first images are shown side by side, by kind.
        form: of the page. Only a ``whole`` one has the browser and the pairs; a ``short`` one shows few
            images of each class.

    Returns:
        ``rows`` and ``per_class`` (first images of each class), ``pixelated``, ``pairs`` (synthetic images
        beside their nearest real ones), ``browser`` (None without one), ``linked_arms`` (arms whose
        mistakes lead to their images).
    """
    is_whole, is_short = form == "whole", form == "short"
    closest = results.get("memorisation", {}).get("closest", []) if is_whole else []
    return {
        "rows": gallery.class_rows(
            pictured, class_names=train.class_names[:MAX_CLASSES_SHOWN], is_short=is_short
        ),
        "per_class": gallery.FEW_PER_CLASS if is_short else gallery.PER_CLASS,
        "pixelated": gallery.tile_size(train, synthetic) < _LARGEST_PIXELATED,
        "pairs": gallery.closest_pairs(train, synthetic, closest),
        "browser": browser(train, synthetic, test=test, named=predictions) if is_whole else None,
        "linked_arms": list(predictions) if is_whole else [],
    }
