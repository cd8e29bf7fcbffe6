"""Every registry by the name under which ``understudy list`` shows it."""

from __future__ import annotations

from typing import Any

import understudy.data.load  # noqa: F401  its imports register the sources
from understudy.adaptation.methods import METHODS
from understudy.adaptation.terms import TERMS
from understudy.commands.study_kinds import STUDIES
from understudy.core.errors import InputError
from understudy.core.executors.do import EXECUTORS
from understudy.core.registry import Registry
from understudy.core.tracker import TRACKERS
from understudy.curation.scores import SCORES
from understudy.curation.selections import SELECTIONS
from understudy.data.captions.captions import CAPTIONS
from understudy.data.export import EXPORTS
from understudy.data.sources.source import SOURCES
from understudy.evaluation.corruptions import CORRUPTIONS
from understudy.evaluation.encoders import ENCODERS
from understudy.evaluation.imagenet import TEST_SETS
from understudy.evaluation.published import PUBLISHED
from understudy.generators.load import GENERATORS
from understudy.generators.prompts import TEMPLATES
from understudy.generators.samplers import SAMPLERS
from understudy.generators.visual_guidance import VISUALS
from understudy.recipes import PRESETS, RECIPES
from understudy.training.arms import ARMS
from understudy.training.augmentations import AUGMENTATIONS
from understudy.training.backbones import BACKBONES
from understudy.training.schedules import SCHEDULES
from understudy.training.strategies import STRATEGIES

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
    "tests": TEST_SETS,
    "published": PUBLISHED,
    "exports": EXPORTS,
    "studies": STUDIES,
    "executors": EXECUTORS,
    "trackers": TRACKERS,
}


def tables(kind: str | None) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, columns and rows of the table of a kind of names; of all kinds without one.

    Raises:
        InputError: for an unknown kind; the message lists the known ones.
    """
    if kind is not None and kind not in CATALOGUE:
        raise InputError(f"unknown kind {kind!r}; known: {', '.join(CATALOGUE)}")
    found = []
    for title in CATALOGUE if kind is None else [kind]:
        known, has_phases = CATALOGUE[title], title == "arms"
        columns = ["name", "meaning", *(["phases"] * has_phases)]
        rows = [
            [name, known.summary(name), *([known[name].describe()] if has_phases else [])] for name in known
        ]
        found.append((title, columns, rows))
    return found
