"""What a study can vary: images, shots, guidance, training steps, prompts, or nothing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

from understudy.adaptation.settings import AdaptSettings
from understudy.commands.study_generators import (
    both_ways,
    generator_defaults,
    generator_layer,
    read_generator,
)
from understudy.core.errors import InputError
from understudy.core.registry import Registry
from understudy.generators.prompts import read_templates
from understudy.recipes import RECIPES
from understudy.sampling.settings import DrawSettings

_MOST_REPEATS = 1000
Point = int | float | str
"""A value that a study tries."""


@final
@dataclass(frozen=True, kw_only=True)
class StudyKind:
    """A setting that a study can vary.

    Attributes:
        unit: the quantity or thing that a point stands for.
        points: default points.
        sets: dotted names of the settings that the study sets and users must not set. Without ``layer``, a
            point is the value of the first one. Empty for whole runs repeated as they are.
        axis: layout of the points: numbers on a logarithmic or linear axis, or names side by side.
        expected: a description of valid points, for messages.
        read: reads a point from text; raises ValueError if the text is not a point.
        layer: nested settings of a point.
        defaults: nested settings that suit a point, unless the user gives others.
        expand: the texts of the points that one text on the command line stands for.
        ranks: whether the points are ranked on validation images, and a point that cannot be run becomes a
            line of the result, while the others go on.
    """

    unit: str
    points: tuple[Point, ...]
    sets: tuple[str, ...]
    axis: Literal["log", "linear", "names"] = "log"
    expected: str = "whole numbers of images"
    read: Callable[[str], Point] = int
    layer: Callable[[Point], Mapping[str, Any]] | None = None
    defaults: Callable[[Point], Mapping[str, Any]] = lambda point: {}
    expand: Callable[[str], Sequence[str]] = lambda text: (text,)
    ranks: bool = False

    def settings_at(self, point: Point) -> Mapping[str, Any]:
        """Nested settings of a point."""
        if self.layer is not None:
            return self.layer(point)
        section, _, name = self.sets[0].partition(".")
        return {section: {name: point}}

    @property
    def varies(self) -> bool:
        """Whether points differ; otherwise there is one, and repeats are the only runs."""
        return bool(self.sets)

    @property
    def fixes_test_images(self) -> bool:
        """Whether all runs have the same test images.

        They have to if validation images of a run choose what another run, or a whole run later, tests.
        """
        return self.ranks or not self.varies

    @property
    def is_ordered(self) -> bool:
        """Whether the study reports the trend over the points, rather than only the best point."""
        return self.axis == "log"

    def sort(self, points: Sequence[Point]) -> list[Point]:
        """Points in the order of the axis: numbers ascending, names as given."""
        return list(points) if self.axis == "names" else sorted(points, key=float)


STUDIES: Registry[StudyKind] = Registry("study")


def read_points(kind: str, points: Sequence[Point]) -> list[Point]:
    """The points of a study, checked and in order.

    Raises:
        InputError: if a value is not a point, there are no points, or a point is repeated.
    """
    known, values = STUDIES[kind], []
    for text in (text for given in points for text in known.expand(plain_text(given))):
        try:
            values.append(known.read(text))
        except (ValueError, OverflowError) as error:
            reason = f": {error}" if known.axis == "names" else ""
            raise InputError(
                f"points of a study of {kind} must be {known.expected}, separated by commas, got "
                f"{text!r}{reason}"
            ) from None
    if not values:
        defaults = ", ".join(map(plain_text, known.points))
        raise InputError(f"a study must have at least one point, got none: leave --points out for {defaults}")
    if twice := [value for value in values if values.count(value) > 1]:
        raise InputError(f"points of a study must differ, got {plain_text(twice[0])} twice")
    return known.sort(values)


def plain_text(point: Point) -> str:
    """A point as typed on the command line."""
    return str(point).removesuffix(".0") if isinstance(point, float) else str(point).strip()


def label_of(point: Point) -> str:
    """A point as shown to readers."""
    return f"{point:,}" if isinstance(point, int) else str(point)


def file_name(point: Point) -> str:
    """A point as part of a file name: unchanged if possible, otherwise its letters and a hash."""
    text = plain_text(point)
    letters = re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.")[:40]
    return text if letters == text else f"{letters}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _number(text: str) -> Point:
    number = float(text)
    return int(number) if number.is_integer() else number


def _prompt_settings(point: Point) -> dict[str, Any]:
    """The prompts of a point, and the way in which their token is learned."""
    name, plain = str(point), DrawSettings.model_fields["prompt"].default
    if name in _recipes_with_token():
        recipe = RECIPES[name]
        return {"adapt": recipe["adapt"], "draw": {"prompt": recipe.get("draw", {}).get("prompt", plain)}}
    return {
        "adapt": {"method": "none", "prompt": plain},
        "draw": {"prompt": plain if name == "single" else name},
    }


def _prompt_point(text: str) -> Point:
    if text != "single" and text not in _recipes_with_token():
        try:
            read_templates(text, needs_class=True)
        except InputError as error:
            raise ValueError(str(error)) from None
    return text


def _only_point(text: str) -> Point:
    if text != "run":
        raise ValueError("leave --points out")
    return text


def _recipes_with_token() -> list[str]:
    methods = {name: RECIPES[name].get("adapt", {}).get("method", "none") for name in RECIPES}
    return [name for name, method in methods.items() if AdaptSettings(method=method).has_token]


def _register(name: str, summary: str, **kind: Any) -> None:
    STUDIES.register(name, summary=summary)(StudyKind(**kind))


_register(
    "volume",
    "number of synthetic images per class",
    unit="synthetic images per class",
    points=(50, 100, 200, 500, 1000),
    sets=("draw.per_class", "draw.times", "draw.min_per_class", "draw.of_classes"),
)
_register(
    "guidance",
    "scale of the classifier-free guidance in drawing",
    unit="guidance scale",
    points=(2, 3.5, 5, 6.5, 8),  # Li et al. 2024 (arXiv:2403.19866), figure 6
    sets=("draw.guidance_scale",),
    axis="linear",
    expected="numbers",
    read=_number,
)
_register(
    "shots",
    "number of real images per class",
    unit="real images per class",
    points=(1, 2, 4, 8, 16),
    sets=("data.shots",),
)
_register(
    "steps",
    "optimisation steps of every training: until no arm rises any more",
    unit="training steps",
    points=(100, 200, 400, 800),
    sets=("compare.steps",),
    expected="whole numbers of steps",
)
_register(
    "prompts",
    "prompts without an adapted generator: one, many, or with a learned or a neutral token",
    unit="prompt set",
    points=("single", "photographs", "neutral-token", "style-inversion"),
    sets=("draw.prompt", "adapt.prompt", "adapt.method", "adapt.adapter"),
    axis="names",
    expected="'single', a recipe with a token, the name of a template set or a file of templates",
    read=_prompt_point,
    layer=_prompt_settings,
)
_register(
    "bakeoff",
    "generators: the same small job with each of them, ranked on validation images",
    unit="generator",
    points=("mini:adapted", "mini:vanilla", "class_conditional"),
    sets=("generator.name", "generator.images"),
    axis="names",
    expected="names, pipelines or ready-made images",
    read=read_generator,
    layer=generator_layer,
    defaults=generator_defaults,
    expand=both_ways,
    ranks=True,
)
_register(
    "repeats",
    "nothing: whole runs with other seeds, as `understudy run --repeats` makes them",
    unit="run",
    points=("run",),
    sets=(),
    axis="names",
    expected="'run', the only point",
    read=_only_point,
    layer=lambda point: {},
)


def check_repeats(repeats: int, name: str) -> None:
    """Check a number of whole runs.

    Args:
        repeats: the number.
        name: how the user gave it, for the message.

    Raises:
        InputError: if it is below 1, or so large that it must be a mistake.
    """
    if not 1 <= repeats <= _MOST_REPEATS:
        raise InputError(
            f"{name} must be from 1 to {_MOST_REPEATS:,}, got {repeats:,}: each is a whole run, and 3 to 10 "
            "show how much results vary"
        )
