"""Sections of settings: frozen, typed, unknown keys refused; nested mappings merged and flattened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, final

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from understudy.core.errors import InputError

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$"
"""Names that users give to things; they become parts of file names."""


LICENCE_PATTERN = r"^\S(.{0,198}\S)?$"


class Section(BaseModel):
    """A group of settings: frozen, typed, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    def changed(self, **values: object) -> Self:
        """The same section with other values, checked as if a user had written them.

        Raises:
            InputError: for values that do not fit.
        """
        try:
            return self.model_validate({**self.model_dump(exclude_unset=True), **values})
        except ValidationError as error:
            raise InputError(f"{', '.join(values)}: {error.errors()[0]['msg']}") from None


def given_names(*layers: Mapping[str, Any]) -> list[str]:
    """Dotted names of all settings in nested mappings."""
    return [name for layer in layers for name in flatten(layer)]


def parse_override(text: str) -> dict[str, Any]:
    """``"draw.times=5"`` to ``{"draw": {"times": 5}}``; the value is read as YAML.

    Raises:
        InputError: without an equals sign or with a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"--set needs key=value, such as draw.times=5, got {text!r}")
    try:
        nested: Any = yaml.safe_load(value)
    except (ValueError, RecursionError, yaml.YAMLError) as error:  # a date that is none, nesting without end
        raise InputError(f"--set {key}: the value is not YAML: {error}") from None
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return dict(nested)


@final
class UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which the last would win in silence."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:  # as written: 1 and '1' would both name the arm 1
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} must stand once, but stands here again", problem_mark=key.start_mark)
            seen.add(key.value)
        return node


def merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Write nested values of ``layer`` over those of ``into``; mappings are merged, everything else is replaced."""
    for key, value in layer.items():
        if isinstance(value, Mapping):
            if not isinstance(into.get(key), dict):
                into[key] = {}
            merge(into[key], value)
        else:
            into[key] = value


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings to one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def shortened(value: Any) -> str:
    """Of input that may be anything."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
