"""Documented bundles of settings: presets say how much effort is spent, recipes say which method is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.registry import Registry

PRESETS: Registry[Mapping[str, Any]] = Registry("preset")
PRESETS.register("quick", summary="a first answer in minutes: short trainings, three seeds")(
    {"adapt": {"steps": 300}, "compare": {"steps": 200}},
)
PRESETS.register("standard", summary="the defaults")({})
PRESETS.register("thorough", summary="longer trainings, five times as many images, five seeds")(
    {"adapt": {"steps": 2000}, "draw": {"times": 5, "min_per_class": 500}, "compare": {"steps": 1500, "num_seeds": 5}},
)

RECIPES: Registry[Mapping[str, Any]] = Registry("recipe")
RECIPES.register("adapted", summary="the default: fit the generator to the train split, draw from pure noise")({})
RECIPES.register("vanilla", summary="draw with the generator as it is: the floor that adaptation has to beat")(
    {"adapt": {"method": "none"}}
)
RECIPES.register("latent-prior", summary="adapted, and every image starts from a noised real image of its class (strength 0.75)")(
    {"draw": {"strength": 0.75}},
)
