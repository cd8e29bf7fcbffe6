"""understudy: synthesise training images that match a real set, and measure what they are worth."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from understudy.data import LabelledSet, export, load_splits
    from understudy.errors import InputError
    from understudy.generators import load_generator
    from understudy.settings import Settings, build
    from understudy.study import run
    from understudy.training import TrainedClassifier, fit_arm

__version__ = "0.1.0"

# Public names by the module that holds them; loaded when first used, so that `import understudy` is quick.
_PUBLIC = {
    "InputError": "understudy.errors",
    "LabelledSet": "understudy.data",
    "Settings": "understudy.settings",
    "TrainedClassifier": "understudy.training",
    "build": "understudy.settings",
    "export": "understudy.data",
    "fit_arm": "understudy.training",
    "load_generator": "understudy.generators",
    "load_splits": "understudy.data",
    "run": "understudy.study",
}

__all__ = [
    "InputError",
    "LabelledSet",
    "Settings",
    "TrainedClassifier",
    "build",
    "export",
    "fit_arm",
    "load_generator",
    "load_splits",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'understudy' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
