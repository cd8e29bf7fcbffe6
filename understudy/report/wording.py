"""How numbers are written on the page, in cards and in the terminal."""

from __future__ import annotations

from collections.abc import Mapping


def percent(share: float | None) -> str:
    """Format a share in [0, 1] as percent with one decimal; ``n/a`` for None.

    Example:
        >>> percent(0.9587), percent(None)
        ('95.9', 'n/a')
    """
    return "n/a" if share is None else f"{100 * share:.1f}"


def points(difference: float) -> str:
    """Format a difference of two shares in percentage points, signed unless it rounds to zero.

    Example:
        >>> points(0.0123), points(-0.0004)
        ('+1.2', '0.0')
    """
    rounded = round(100 * difference, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"


def lead_and_rest(text: str) -> tuple[str, str]:
    """The first sentence, which a page says in large letters, and the others.

    Example:
        >>> lead_and_rest("mixed gains 2.4 points. It also beats real+val."), lead_and_rest("One. ")
        (('mixed gains 2.4 points.', 'It also beats real+val.'), ('One.', ''))
    """
    lead, end, rest = text.strip().partition(". ")
    return lead + end.strip(), rest


def percent_interval(interval: Mapping[str, float]) -> str:
    """Format mean and 95% interval of a share in percent.

    Example:
        >>> percent_interval({"mean": 0.959, "low": 0.948, "high": 0.969})
        '95.9 [94.8, 96.9]'
    """
    return f"{percent(interval['mean'])} [{percent(interval['low'])}, {percent(interval['high'])}]"


def points_interval(interval: Mapping[str, float]) -> str:
    """Format mean and 95% interval of a difference in percentage points.

    Example:
        >>> points_interval({"mean": 0.012, "low": -0.001, "high": 0.025})
        '+1.2 [-0.1, +2.5]'
    """
    return f"{points(interval['mean'])} [{points(interval['low'])}, {points(interval['high'])}]"


def real_images(worth: float | None, smallest: float, largest: float) -> str:
    """Format a number of real images, as ``worth_real_images`` has it.

    It lies between the smallest and the largest real set that was measured.

    Example:
        >>> [real_images(worth, 75, 1200) for worth in (75, 341.7, 1200, None)]
        ['at most 75', '342', '1,200', 'more than 1,200']
    """
    if worth is None:
        return f"more than {largest:,.0f}"
    return f"at most {worth:,.0f}" if worth <= smallest else f"{worth:,.0f}"


def real_images_interval(worth: Mapping[str, float | None], smallest: float, largest: float) -> str:
    """Format a number of real images with its 95% interval.

    An interval without width is left out: then all of it lies beyond the measured sets.

    Example:
        >>> real_images_interval({"mean": 300, "low": 150, "high": None}, 75, 600)
        '300 [150, more than 600]'
        >>> real_images_interval({"mean": 75, "low": 75, "high": 75}, 75, 600)
        'at most 75'
    """
    mean, low, high = (real_images(worth[end], smallest, largest) for end in ("mean", "low", "high"))
    return mean if worth["low"] == worth["high"] else f"{mean} [{low}, {high}]"


def duration(seconds: float) -> str:
    """Format seconds as a person would say them.

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
