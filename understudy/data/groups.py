"""Things in order, in groups that are limited by their number and by their size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def in_groups(items: Iterable[T], size: Callable[[T], int], *, most: tuple[int, int]) -> Iterator[list[T]]:
    """Cut items into groups; an item that is larger than a group is one alone.

    Args:
        items: in order.
        size: measures an item.
        most: items of a group, and their size together.

    Example:
        >>> list(in_groups(["a", "bb", "c", "dddd", "e"], len, most=(2, 3)))
        [['a', 'bb'], ['c'], ['dddd'], ['e']]
    """
    group, total = list[T](), 0
    for item in items:
        if group and (len(group) == most[0] or total + size(item) > most[1]):
            yield group
            group, total = [], 0
        group.append(item)
        total += size(item)
    if group:
        yield group
