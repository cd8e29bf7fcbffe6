"""Every registry by the name under which ``understudy list`` shows it."""

from __future__ import annotations

from typing import Any

from understudy.adaptation import METHODS, TERMS
from understudy.curation import SCORES, SELECTIONS
from understudy.data import CAPTIONS, EXPORTS, SOURCES
from understudy.encoders import ENCODERS
from understudy.evaluation import CORRUPTIONS, PUBLISHED
from understudy.generators import GENERATORS
from understudy.generators.samplers import SAMPLERS
from understudy.prompts import TEMPLATES
from understudy.recipes import PRESETS, RECIPES
from understudy.registry import Registry
from understudy.strategies import STRATEGIES
from understudy.studies import STUDIES
from understudy.training import ARMS, AUGMENTATIONS, BACKBONES, SCHEDULES
from understudy.visual_guidance import VISUALS

CATALOGUE: dict[str, Registry[Any]] = {
    "presets": PRESETS,
    "recipes": RECIPES,
    "sources": SOURCES,
    "generators": GENERATORS,
    "captions": CAPTIONS,
    "templates": TEMPLATES,
    "visuals": VISUALS,
    "adaptations": METHODS,
    "terms": TERMS,
    "samplers": SAMPLERS,
    "encoders": ENCODERS,
    "scores": SCORES,
    "selections": SELECTIONS,
    "strategies": STRATEGIES,
    "backbones": BACKBONES,
    "arms": ARMS,
    "augmentations": AUGMENTATIONS,
    "schedules": SCHEDULES,
    "corruptions": CORRUPTIONS,
    "published": PUBLISHED,
    "exports": EXPORTS,
    "studies": STUDIES,
}
