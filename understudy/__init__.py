"""understudy: synthesise training images that match a real set, and measure what they are worth."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from understudy.core.threads import wait_passively

if TYPE_CHECKING:
    from understudy.commands.defaults import defaults_for
    from understudy.commands.staged_run import StagedRun
    from understudy.commands.study import run_study
    from understudy.commands.time_limit import fit_to_time
    from understudy.core.errors import InputError
    from understudy.data.export import export
    from understudy.data.labelled_set import LabelledSet
    from understudy.data.load import load_splits
    from understudy.generators.load import load_generator
    from understudy.pipeline.run import run
    from understudy.settings import Settings, build
    from understudy.training.classifier import TrainedClassifier
    from understudy.training.fit import fit_arm

wait_passively()

__version__ = "0.1.0"

# Public names by the module that holds them; loaded when first used, so that `import understudy` is quick.
_PUBLIC = {
    "InputError": "core.errors",
    "LabelledSet": "data.labelled_set",
    "Settings": "settings",
    "StagedRun": "commands.staged_run",
    "TrainedClassifier": "training.classifier",
    "build": "settings",
    "defaults_for": "commands.defaults",
    "export": "data.export",
    "fit_arm": "training.fit",
    "fit_to_time": "commands.time_limit",
    "load_generator": "generators.load",
    "load_splits": "data.load",
    "run": "pipeline.run",
    "run_study": "commands.study",
}

__all__ = [
    "InputError",
    "LabelledSet",
    "Settings",
    "StagedRun",
    "TrainedClassifier",
    "build",
    "defaults_for",
    "export",
    "fit_arm",
    "fit_to_time",
    "load_generator",
    "load_splits",
    "run",
    "run_study",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'understudy' has no attribute {name!r}")
    return getattr(importlib.import_module(f"understudy.{_PUBLIC[name]}"), name)
