"""Long lists in messages: the first entries, and how many more there are."""

from __future__ import annotations

from collections.abc import Sequence

_MOST = 10
"""Entries of a long list that are shown."""


def listed(names: Sequence[str], *, most: int = _MOST) -> str:
    """List the first names, separated by commas, and how many more there are.

    Example:
        >>> listed(["cat", "dog"]), listed(list("abcdefg"), most=5)
        ('cat, dog', 'a, b, c, d, e and 2 more')
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def shortened(entries: Sequence[str], *, most: int = _MOST) -> list[str]:
    """The first entries, and a last one that says how many more there are.

    Example:
        >>> shortened(["a", "b", "c"], most=1)
        ['a', 'and 2 more']
    """
    more = [f"and {len(entries) - most:,} more"] if len(entries) > most else []
    return [*entries[:most], *more]
