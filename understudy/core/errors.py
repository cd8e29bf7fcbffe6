"""The one exception that users see as a message instead of a traceback."""

from __future__ import annotations


class InputError(ValueError):
    """Something that the user gave does not fit; the message says what was expected, what came and what to
    do.

    The command line prints the message and exits with code 2.
    """
