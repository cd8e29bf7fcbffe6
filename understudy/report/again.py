"""The report's panel on repeating the run: files, settings, and what further commands would measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.settings import Settings, to_yaml

_COMMANDS = {
    "gap": ("understudy gap DIR", "explains the accuracy gap between real and synthetic images."),
    "shift": ("understudy evaluate DIR", "tests every arm on corrupted images and on other test sets."),
    "membership": ("understudy audit DIR", "runs membership-inference attacks against every arm."),
}
"""By section of the results, the command that adds it, and what that command does."""
_FILES = (
    ("results.json", "every number on this page"),
    ("README.md", "dataset card of the synthetic images"),
    ("settings.yaml", "every setting, including defaults"),
    ("stages/", "record of each finished stage"),
    ("data/", "the real images, by split"),
    ("adapter/", "weights learned by adapting the generator, if it was adapted"),
    ("synthetic/", "the plan, the drawn images, and what was kept and why; curated.parquet is the final set"),
    ("arms/", "predictions of every training, and the best classifier of each arm"),
)


def again_panel(results: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Values for ``again.html``.

    Returns:
        ``missing`` (commands that would add a section), ``files`` (beside the page), ``settings_yaml``,
        ``seed``.
    """
    return {
        "missing": [words for section, words in _COMMANDS.items() if section not in results],
        "files": _FILES,
        "settings_yaml": to_yaml(settings),
        "seed": settings.seed,
    }
