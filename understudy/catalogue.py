"""Every registry by the name under which ``understudy list`` shows it."""

from __future__ import annotations

from typing import Any

from understudy.adaptation import METHODS
from understudy.curation import SCORES
from understudy.data import EXPORTS, SOURCES
from understudy.generators import GENERATORS
from understudy.generators.samplers import SAMPLERS
from understudy.recipes import PRESETS, RECIPES
from understudy.registry import Registry
from understudy.training import ARMS, BACKBONES

CATALOGUE: dict[str, Registry[Any]] = {
    "presets": PRESETS,
    "recipes": RECIPES,
    "sources": SOURCES,
    "generators": GENERATORS,
    "adaptations": METHODS,
    "samplers": SAMPLERS,
    "scores": SCORES,
    "backbones": BACKBONES,
    "arms": ARMS,
    "exports": EXPORTS,
}
