"""Sections of settings, the facts about each setting, and merging, flattening and validation messages."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar, cast, final, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from understudy.core.errors import InputError
from understudy.core.listing import listed

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$"
"""Names that users choose, such as those of arms; they become parts of file names."""

LICENCE_PATTERN = r"^\S(.{0,198}\S)?$"
"""Licences: one line of at most 200 characters without spaces at either end."""

Decides = Literal["pixels", "result", "card", "nothing"]
"""What a setting influences.

``pixels``: drawn images. ``result``: any other result. ``card``: only the text of the cards of exports.
``nothing``: memory, speed and the like; results stay the same up to rounding.
"""


@final
@dataclass(frozen=True)
class Need:
    """A condition that must hold for a setting to have an effect.

    Attributes:
        setting: dotted name of the setting to test; messages name it as the cause.
        words: the condition in words, for the documentation: "`data.shots` is set".
        holds: function that tests the settings of a whole run.
    """

    setting: str
    words: str
    holds: Callable[[Any], bool]


def when(name: str, *values: object) -> Need:
    """A condition: the setting ``name`` has one of these values."""
    return Need(name, f"`{name}` is {_either(values)}", lambda settings: attrgetter(name)(settings) in values)


def unless(name: str, *values: object) -> Need:
    """A condition: the setting ``name`` has none of these values."""
    words = f"`{name}` is set" if values in ((None,), ((),)) else f"`{name}` is not {_either(values)}"
    return Need(name, words, lambda settings: attrgetter(name)(settings) not in values)


def _either(values: Sequence[object]) -> str:
    words = {None: "not set", True: "`true`", False: "`false`"}
    return " or ".join(words.get(cast("Any", value)) or f"`{value}`" for value in values)


@final
@dataclass(frozen=True)
class Facts:
    """Facts about a setting in addition to its type, default and range; see :func:`setting`."""

    decides: Decides = "result"
    needs: tuple[Need, ...] = ()
    registry: str | None = None
    expects: str | None = None

    def __call__(self, schema: dict[str, Any]) -> None:
        """Add the facts to a JSON schema of the section; pydantic calls this."""
        schema["decides"] = self.decides


def setting(
    default: Any,
    *,
    decides: Decides = "result",
    needs: Need | tuple[Need, ...] = (),
    registry: str | None = None,
    expects: str | None = None,
    **constraints: Any,
) -> Any:
    """Declare a field of a :class:`Section` with the facts that checks, resuming and the docs use.

    Args:
        default: value if the user gives none.
        decides: what the setting influences. Settings that decide ``nothing`` or the ``card`` may change when
            a run resumes. If in doubt, use ``result``.
        needs: conditions for the setting to have an effect; the first that fails appears in the message.
        registry: registry of the allowed names, such as ``"generators.samplers:SAMPLERS"``. The value is a
            name, a tuple of names, or None.
        expects: allowed values in words, if the default message for the type would be confusing.
        constraints: passed to :func:`pydantic.Field`, such as ``ge``, ``lt``, ``pattern`` and ``min_length``.
    """
    facts = Facts(decides, needs if isinstance(needs, tuple) else (needs,), registry, expects)
    return Field(default=default, json_schema_extra=facts, **constraints)


def facts_of(field: FieldInfo) -> Facts:
    """The facts of a field; default facts if it was not declared with :func:`setting`."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, Facts) else Facts()


class Section(BaseModel):
    """A frozen, typed group of settings that refuses unknown keys.

    The string below each field explains it; the documentation is generated from these strings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    addable: ClassVar[bool] = False
    """Whether this section belongs to a stage that can be added to a finished run."""
    growing: ClassVar[tuple[str, ...]] = ()
    """Lists of sizes that a finished run only adds to: values that were measured are kept."""

    def changed(self, **values: object) -> Self:
        """Copy the section with some values replaced; they are validated like user input.

        Raises:
            InputError: for invalid values.
        """
        try:
            return self.model_validate({**self.model_dump(exclude_unset=True), **values})
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise InputError(f"{', '.join(values)}: {said}") from None

    def gives_results_of(self, values: Mapping[str, Any]) -> bool:
        """Whether stored ``values`` lead to the same results as the values of this section."""
        idle = set(self.names_deciding("nothing"))
        return self.model_dump(mode="json", exclude=idle) == {
            key: values[key] for key in values if key not in idle
        }

    def replaced(self, values: Mapping[str, Any]) -> list[str]:
        """Say what of the stored ``values`` of an earlier measurement this section no longer has.

        Example:
            >>> class Shift(Section):
            ...     corruptions: tuple[str, ...] = ("noise", "blur")
            ...     severity: int = 1
            >>> Shift(corruptions=("blur",)).replaced({"corruptions": ["noise", "blur"], "severity": 2})
            ['corruptions no longer has noise', 'severity was 2 and is now 1']
        """
        lines, idle = [], self.names_deciding("nothing")
        for name, now in self.model_dump(mode="json", exclude={*idle, "measure"}).items():
            before = values.get(name, now)
            if isinstance(before, list | dict) and isinstance(now, list | dict):
                if gone := [str(value) for value in before if value not in now]:
                    lines.append(f"{name} no longer has {listed(gone)}")
                if isinstance(before, dict) and isinstance(now, dict):
                    both = [key for key in before if key in now and before[key] != now[key]]
                    lines += [f"{name}.{key} was {before[key]} and is now {now[key]}" for key in both]
            elif before != now:
                was, becomes = ("not set" if value is None else value for value in (before, now))
                lines.append(f"{name} was {was} and is now {becomes}")
        return lines

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Check that numbers are not given as true or false, which pydantic reads as 1 and 0."""
        given = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(each, bool) for each in given) and not _takes_bool(cls, str(info.field_name)):
            raise ValueError(f"input should be no truth value (true, false, yes, no, on, off), got {value!r}")
        return value

    @classmethod
    def names_deciding(cls, what: Decides) -> tuple[str, ...]:
        """Names of the settings that decide ``what``, in the order of the section."""
        return tuple(name for name, field in cls.model_fields.items() if facts_of(field).decides == what)


@cache
def _takes_bool(section: type[Section], name: str) -> bool:
    return any(kind in (bool, Any) for kind in _types_in(section.model_fields[name].annotation))


def holds_paths(field: FieldInfo) -> bool:
    """Whether the values of a field are paths, or contain some."""
    return any(kind is Path for kind in _types_in(field.annotation))


def section_in(field: FieldInfo) -> type[Section] | None:
    """The section class that the type of a field is or contains; None for a plain value."""
    kinds = _types_in(field.annotation)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


def _types_in(annotation: Any) -> Iterator[Any]:
    """A type and the types inside it, such as those of a union."""
    yield annotation
    for inner in get_args(annotation):
        yield from _types_in(inner)


def owner_of(root: type[Section], name: str) -> tuple[type[Section], FieldInfo]:
    """The section and field of a dotted name such as ``draw.steps``; keys of a mapping belong to its field.

    Raises:
        KeyError: if there is no such setting.
    """
    section, (first, *rest) = root, name.split(".")
    field = section.model_fields[first]
    for part in rest:
        inner = section_in(field)
        if inner is None or part not in inner.model_fields:
            break
        section, field = inner, inner.model_fields[part]
    return section, field


def sections_in(value: Any) -> Iterator[Section]:
    """Yield a section and all sections inside it, including those in tuples and mappings."""
    if isinstance(value, Section):
        yield value
        value = dict(value)
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else ():
        yield from sections_in(inner)


def check_effect(settings: Section, given: Iterable[str], *, varied: Collection[str] = ()) -> None:
    """Check that every setting given by the user has an effect.

    Args:
        settings: resolved settings of the whole run.
        given: dotted names of the settings given by the user.
        varied: dotted names of settings that take several values, so that a need of them is met by one.

    Raises:
        InputError: naming a setting without effect and the setting that causes this; if the cause is a path
            where nothing is, only the path, because it comes first.
    """
    for name in given:
        needs = facts_of(owner_of(type(settings), name)[1]).needs
        idle = next((need for need in needs if need.setting not in varied and not need.holds(settings)), None)
        if idle is not None:
            path = attrgetter(idle.setting)(settings)
            if isinstance(path, Path) and not path.exists():
                raise InputError(
                    f"{idle.setting} must be a path that exists, but nothing is at {path}: correct it, or "
                    "leave it out"
                )
            value = flatten(settings.model_dump(mode="json"))[idle.setting]
            cause = f"{name} has no effect while {idle.setting} is {value!r}"
            raise InputError(f"{cause}: leave it out, or change {idle.setting}")


S = TypeVar("S", bound=Section)


def validated(root: type[S], values: Mapping[str, Any]) -> S:
    """Build a section from nested mappings, with error messages for users.

    Raises:
        InputError: for unknown keys (the message lists the known ones), missing keys and invalid values.
    """
    try:
        return root.model_validate(values)
    except ValidationError as error:
        lines = dict.fromkeys(_explain(root, detail) for detail in _causes(error))
        raise InputError("\n".join(lines)) from None


def _causes(error: ValidationError) -> list[Any]:
    """The errors of pydantic without those that follow from another one: a bad element shortens its list."""
    details: list[Any] = list(error.errors())
    outer = {detail["loc"][:end] for detail in details for end in range(len(detail["loc"]))}
    return [detail for detail in details if not detail["loc"] or detail["loc"] not in outer]


def _explain(root: type[Section], detail: Any) -> str:
    """Turn one pydantic error into a line for the user."""
    if not detail["loc"] and detail["type"] != "value_error":
        return f"settings: {detail['msg'].lower()}"
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = _innermost(root, detail["loc"][:-1])[0].model_fields
        hint = _similar(root, detail["loc"], known)
        return f"unknown setting {where!r}; known here: {', '.join(known)}{hint}"
    if detail["type"] == "missing":
        return f"setting {where!r} is required"
    if detail["type"] == "value_error":
        return f"setting {where!r}: {detail['ctx']['error']}" if where else str(detail["ctx"]["error"])
    place, got = detail["loc"], shortened(detail["input"])
    if place[-1] == "[key]":
        allowed = "up to 64 letters, digits and ._+-, and begin with a letter or digit"
        return f"names of {'.'.join(place[:2])} must have {allowed}, got {got}"
    section, field = _innermost(root, place)
    if field is not None and (expects := facts_of(field).expects):
        return f"setting {'.'.join(place[:2])!r} must be {expects}, got {got}"
    wanted = {
        "tuple_type": "a list, such as [a, b]",
        "dict_type": "a mapping of names to values",
        "model_type": f"a section with settings, such as {where}.{next(iter(section.model_fields))}",
        "too_short": f"a list of at least {detail.get('ctx', {}).get('min_length')} value",
    }
    if detail["type"] in wanted:
        return f"setting {where!r} must be {wanted[detail['type']]}, got {got}"
    return f"setting {where!r}: {detail['msg'].lower()}, got {got}"


def _similar(root: type[Section], place: Sequence[str | int], known: Collection[str]) -> str:
    """A hint for an unknown setting: the most similar ones beside it, and those of this name elsewhere."""
    here, name = ".".join(map(str, place[:-1])), str(place[-1])
    near = [f"{here}.{each}".lstrip(".") for each in difflib.get_close_matches(name, known, n=2)]
    near += [
        f"{section}.{name}"
        for section, field in root.model_fields.items()
        if section != here and (inner := section_in(field)) and name in inner.model_fields
    ]
    return f" (did you mean {' or '.join(near[:3])}?)" if near else ""


def _innermost(root: type[Section], place: Sequence[str | int]) -> tuple[type[Section], FieldInfo | None]:
    """The innermost section that contains a pydantic location, and the last field on the way.

    A location also contains mapping keys, element numbers and union branches, which are skipped.
    """
    section, field = root, None
    for part in place:
        if part in section.model_fields:
            field = section.model_fields[part]
            section = section_in(field) or section
    return section, field


def given_names(*layers: Mapping[str, Any]) -> list[str]:
    """Dotted names of all settings in nested mappings, layer by layer."""
    return [name for layer in layers for name in flatten(layer)]


def parse_override(text: str) -> dict[str, Any]:
    """Turn ``"draw.times=5"`` into ``{"draw": {"times": 5}}``; the value is read as YAML.

    Raises:
        InputError: if there is no equals sign, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"--set needs key=value, such as draw.times=5, got {text!r}")
    try:
        nested: Any = read_yaml(value)
    except ValueError as error:  # or an impossible date
        raise InputError(f"--set {key}: the value is not YAML: {error}") from None
    if isinstance(nested, str | list):
        nested = at_home(nested)
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return dict(nested)


def at_home(value: Any) -> Any:
    """Texts that begin with ``~/`` as paths in the home folder: shells leave them as they are after ``=``."""
    if isinstance(value, list):
        return [at_home(each) for each in value]
    return str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~/") else value


@final
class _Strict(yaml.SafeLoader):
    """A YAML loader whose keys are text and differ, and whose values do not contain themselves.

    Plain YAML keeps the last of several equal keys without a word.
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines = dict[str, int]()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in lines:  # as written: 1 and '1' would both name the arm 1
                where = f"lines {lines[key.value]} and {line}" if lines[key.value] != line else f"line {line}"
                raise yaml.YAMLError(f"the key {key.value!r} occurs twice, in {where}: keep one of them")
            lines[key.value] = line
            if key.tag != "tag:yaml.org,2002:merge":
                key.tag = "tag:yaml.org,2002:str"
        return node

    def construct_document(self, node: yaml.Node) -> Any:
        self.deep_construct = True  # raises an error for a value that contains itself
        return super().construct_document(node)


def read_yaml(text: str) -> Any:
    """Read YAML whose keys are text.

    Raises:
        ValueError: with the reason why the text is no such YAML.
    """
    try:
        return yaml.load(text, Loader=_Strict)  # noqa: S506 - a SafeLoader
    except RecursionError:
        raise ValueError("too many brackets within each other") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Overwrite values of ``into`` with those of ``layer``; mappings are merged, other values replaced."""
    for key, value in layer.items():
        if isinstance(value, Mapping):
            if not isinstance(into.get(key), dict):
                into[key] = {}
            merge(into[key], value)
        else:
            into[key] = value


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into one mapping with dotted keys; an empty mapping leaves no key."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def shortened(value: Any) -> str:
    """The repr of a value for messages, cut after 200 characters."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
