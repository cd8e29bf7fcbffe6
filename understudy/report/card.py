"""The dataset card: what the synthetic set is, how it was made, what it was worth and what it is not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from understudy.report.html import environment, present
from understudy.settings import Settings

LICENCE_NOTE = (
    "No licence of its own is stated here. Whatever binds users of the real images and of the generator's weights may bind "
    "users of these images; settle that before sharing them."
)
_SIZES = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")]


def dataset_card(
    results: Mapping[str, Any],
    *,
    settings: Settings,
    class_counts: Mapping[str, int],
    licence_note: str = LICENCE_NOTE,
    data_files: str | None = None,
) -> str:
    """README.md in the form of a Hugging Face dataset card.

    Args:
        results: content of ``results.json``; sections other than ``data``, ``arms`` and ``verdict`` may be absent or empty.
        settings: of the run: generator, adaptation, drawing and filters are described from them.
        class_counts: synthetic images by class name.
        licence_note: what binds a user of the images: terms of the real images and of the generator.
        data_files: pattern of the Parquet files beside the card, for ``datasets.load_dataset``.

    Returns:
        Markdown with YAML front matter.
    """
    total = sum(class_counts.values())
    front: dict[str, Any] = {
        "pretty_name": " ".join(f"Synthetic images after {results['data']['source']}".split()),
        "license": "other",
        "task_categories": ["image-classification"],
        "annotations_creators": ["machine-generated"],
        "size_categories": [next((name for limit, name in _SIZES if total < limit), "n>1M")],
        "tags": ["synthetic", "diffusion", "understudy"],
    }
    if data_files is not None:
        front["configs"] = [{"config_name": "default", "data_files": data_files}]
    jinja = environment()
    jinja.filters["plain"] = plain
    return jinja.get_template("card.md").render(
        front_matter=yaml.safe_dump(front, sort_keys=False, allow_unicode=True),
        results=present(results),
        settings=settings,
        class_counts=class_counts,
        total=total,
        licence_note=licence_note,
    )


def plain(text: object) -> str:
    r"""Text that Markdown shows as it is, on one line, also inside a table cell.

    Example:
        >>> plain("<b>|a_b|")
        '\\<b\\>\\|a\\_b\\|'
    """
    return re.sub(r"([\\`*_\[\]<>|~&#])", r"\\\1", " ".join(str(text).split()))
