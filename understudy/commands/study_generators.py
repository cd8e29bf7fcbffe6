"""The points of a bake-off: generators, with and without adaptation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from understudy.commands.pipeline_defaults import pipeline_defaults
from understudy.generators.foreign import holds_weights
from understudy.generators.load import GENERATORS
from understudy.generators.settings import CHECKPOINTS, GeneratorSettings

ADAPTED, VANILLA = ":adapted", ":vanilla"
"""Endings of the points of a generator that can be used with and without adaptation."""
_FROM_SCRATCH = "class_conditional"
_SCRATCH_USES = ("resolution", "precision", "channels", "patch", "gradient_checkpointing")
_IMAGES_USE = ("resolution",)


def both_ways(text: str) -> tuple[str, ...]:
    """The points of a generator: two if it can be adapted, otherwise one; a point stays as it is.

    Example:
        >>> both_ways("mini"), both_ways("mini:vanilla"), both_ways("class_conditional")
        (('mini:adapted', 'mini:vanilla'), ('mini:vanilla',), ('class_conditional',))
    """
    name = text.strip()
    if _is_one_point(name):
        return (name,)
    return (name + ADAPTED, name + VANILLA)


def read_generator(text: str) -> str:
    """A point from text; a generator that can be adapted is adapted unless the text says otherwise.

    Raises:
        ValueError: if the text is empty or names a generator that needs more than its name.
    """
    point = both_ways(text)[0]
    name = _name_of(point)
    if not name:
        raise ValueError("a name is empty")
    if name == "real":
        raise ValueError("this name stands for the real images; write a folder of this name as ./real")
    if name in ("folder", "stable-diffusion"):
        raise ValueError("give the path of the images, or the folder or hub name of the pipeline, instead")
    return point


def generator_layer(point: str | float) -> Mapping[str, Any]:
    """Nested settings of a point: those of ``understudy run --generator NAME``.

    Settings of other kinds of generators, such as the precision of a pipeline for ready-made images, get
    their defaults: as they have no effect, they would be refused.
    """
    name = _name_of(point)
    plain = {"adapt": {"method": "none"}}
    if _is_images(name):
        given = {"name": name} if name in GENERATORS else {"name": "folder", "images": [name]}
        return {"generator": {**_defaults_but(_IMAGES_USE), **given}, **plain}
    if name == _FROM_SCRATCH:
        return {"generator": {**_defaults_but(_SCRATCH_USES), "name": name}}
    generator = {**_defaults_of(_unused_by(name)), "name": name}
    return {"generator": generator, **(plain if str(point).endswith(VANILLA) else {})}


def generator_defaults(point: str | float) -> Mapping[str, Any]:
    """Nested settings that suit the generator of a point, unless the user gives others."""
    return pipeline_defaults(_name_of(point))


def _name_of(point: str | float) -> str:
    return str(point).removesuffix(ADAPTED).removesuffix(VANILLA)


def _unused_by(name: str) -> set[str]:
    """The settings that this pipeline does not use, but another one may."""
    if name in GENERATORS:
        return {"variant", "revision", "config", "adapters", "autoencoder"}
    path = Path(name)
    of_file = set() if path.suffix in CHECKPOINTS else {"config"}
    return of_file | ({"revision"} if path.exists() else set())


def _defaults_but(used: Collection[str]) -> dict[str, Any]:
    """The settings of generators that one does not use, with their defaults."""
    return _defaults_of(GeneratorSettings.model_fields.keys() - {"name", "images", *used})


def _defaults_of(names: Collection[str]) -> dict[str, Any]:
    return {name: GeneratorSettings.model_fields[name].default for name in sorted(names)}


def _is_one_point(text: str) -> bool:
    return text.endswith((ADAPTED, VANILLA)) or text == _FROM_SCRATCH or _is_images(text)


def _is_images(name: str) -> bool:
    """Whether a name stands for ready-made images: `glyphs`, or a path that holds no weights."""
    if name in GENERATORS:
        return GeneratorSettings.model_construct(name=name).is_ready_made
    path = Path(name)
    if path.exists():
        return not holds_weights(path)
    # Nothing is there. For what looks like a path the message of the generator `folder` says so; for other
    # names it lists the known ones, or says that the hub has none of this name.
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or ("/" not in name and "." in name)
