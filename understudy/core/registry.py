"""A registry maps the names that users write to methods, sources and so on."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, Generic, TypeVar, final

from understudy.core.errors import InputError

T = TypeVar("T")


def did_you_mean(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """A hint for a mistyped name: the most similar known names, or ``otherwise`` if none is similar."""
    near = difflib.get_close_matches(name, list(known), n=3)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


@final
class Registry(Generic[T]):
    """A mapping from names to things of one kind.

    Attributes:
        kind: the kind in the singular, for messages, such as ``"sampler"``.

    Example:
        >>> colours: Registry[str] = Registry("colour")
        >>> _ = colours.register("red", summary="the colour of blood")("#f00")
        >>> colours["red"]
        '#f00'
        >>> colours["rad"]
        Traceback (most recent call last):
        understudy.core.errors.InputError: unknown colour 'rad'; known: red (did you mean 'red'?)
    """

    has_outsiders: ClassVar[bool] = False
    """Whether code outside the package has registered a name, which a new process would not know."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}
        self._summaries: dict[str, str] = {}

    def register(self, name: str, *, summary: str | None = None) -> Callable[[T], T]:
        """Make a decorator that adds a thing.

        Args:
            name: name for users.
            summary: one line for ``understudy list``; by default the attribute ``summary`` of the thing.

        Raises:
            ValueError: if the name is taken, or the thing must say what it is and does not.
        """
        if name in self._things:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        module = str(sys._getframe(1).f_globals.get("__name__"))
        if module.partition(".")[0] != __name__.partition(".")[0]:
            Registry.has_outsiders = True

        def add(thing: T) -> T:
            line = getattr(thing, "summary", None) if summary is None else summary
            if line is None:
                raise ValueError(f"{self.kind} {name!r} has no summary: give one to register()")
            self._things[name], self._summaries[name] = thing, line
            return thing

        return add

    def __getitem__(self, name: str) -> T:
        if not isinstance(name, str) or name not in self._things:  # Python callers give anything
            raise InputError(self.unknown(name))
        return self._things[name]

    def unknown(self, name: str) -> str:
        """What a message says about an unknown name: the known ones, and the nearest of them."""
        near = difflib.get_close_matches(str(name), self._things, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return f"unknown {self.kind} {name!r}; known: {', '.join(self)}{hint}"

    def __contains__(self, name: str) -> bool:
        return name in self._things

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._things))

    def summary(self, name: str) -> str:
        """The one-line summary of ``name``."""
        self[name]
        return self._summaries[name]
