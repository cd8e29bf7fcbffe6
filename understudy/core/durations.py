"""Lengths of time as people write them: ``90s``, ``30m``, ``1h30m``."""

from __future__ import annotations

import math
import re

from understudy.core.errors import InputError

_LONGEST = 365 * 24 * 3600.0
_FORM = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)


def read_duration(text: str) -> float:
    """Seconds from hours, minutes and seconds, of which some may be left out.

    Raises:
        InputError: for another form, such as a number without a unit.

    Example:
        >>> read_duration("90s"), read_duration("1h30m"), read_duration("0.5h")
        (90.0, 5400.0, 1800.0)
    """
    found = _FORM.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise InputError(
            f"a length of time must be written as 90s, 30m, 2h or 1h30m, with its units, got {text!r}"
        )
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def check_duration(seconds: float) -> None:
    """Check that a length of time can be meant.

    Raises:
        InputError: if it is not above 0 and at most a year.
    """
    if not 0 < seconds <= _LONGEST:
        raise InputError(f"a length of time must be above 0 and at most a year, got {seconds:g} seconds")


def short_duration(seconds: float) -> str:
    """A length of time in the form that :func:`read_duration` reads, rounded up.

    Whole seconds below ten minutes, whole minutes above.

    Example:
        >>> short_duration(89.5), short_duration(120), short_duration(1621), short_duration(5400)
        ('1m30s', '2m', '28m', '1h30m')
    """
    whole = math.ceil(seconds) if seconds < 600 else 60 * math.ceil(seconds / 60)
    counts = {"h": whole // 3600, "m": whole // 60 % 60, "s": whole % 60}
    return "".join(f"{count}{unit}" for unit, count in counts.items() if count) or "0s"


def rough_duration(seconds: float) -> str:
    """Format an estimate of a time.

    Example:
        >>> rough_duration(8.25), rough_duration(100), rough_duration(7384)
        ('8 s', '2 min', '2.1 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
