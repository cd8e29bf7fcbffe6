"""How numbers are written, the same on the page, in the card and in the terminal."""

from __future__ import annotations

from collections.abc import Mapping


def percent(share: float | None) -> str:
    """A share in [0, 1] as percent with one decimal; ``n/a`` for None.

    Example:
        >>> percent(0.9587), percent(None)
        ('95.9', 'n/a')
    """
    return "n/a" if share is None else f"{100 * share:.1f}"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, always signed unless it rounds to zero.

    Example:
        >>> points(0.0123), points(-0.0004)
        ('+1.2', '0.0')
    """
    rounded = round(100 * difference, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"


def percent_interval(interval: Mapping[str, float]) -> str:
    """Mean and 95% interval of a share in percent.

    Example:
        >>> percent_interval({"mean": 0.959, "low": 0.948, "high": 0.969})
        '95.9 [94.8, 96.9]'
    """
    return f"{percent(interval['mean'])} [{percent(interval['low'])}, {percent(interval['high'])}]"


def points_interval(interval: Mapping[str, float]) -> str:
    """Mean and 95% interval of a difference in percentage points.

    Example:
        >>> points_interval({"mean": 0.012, "low": -0.001, "high": 0.025})
        '+1.2 [-0.1, +2.5]'
    """
    return f"{points(interval['mean'])} [{points(interval['low'])}, {points(interval['high'])}]"


def duration(seconds: float) -> str:
    """Seconds as a person would say them.

    Example:
        >>> duration(0.04), duration(8.25), duration(75), duration(7384)
        ('0.0 s', '8.2 s', '1 min 15 s', '2 h 3 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
