"""Long lists in messages: the first entries, and how many more there are."""

from __future__ import annotations

from collections.abc import Sequence


def listed(names: Sequence[str], *, most: int = 5) -> str:
    """List the first names, separated by commas, and how many more there are.

    Example:
        >>> listed(["cat", "dog"]), listed(list("abcdefg"))
        ('cat, dog', 'a, b, c, d, e and 2 more')
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def shortened(entries: Sequence[str], *, most: int = 10) -> list[str]:
    """The first entries, and a last one that says how many more there are.

    Example:
        >>> shortened(["a", "b", "c"], most=1)
        ['a', 'and 2 more']
    """
    more = [f"and {len(entries) - most:,} more"] if len(entries) > most else []
    return [*entries[:most], *more]
