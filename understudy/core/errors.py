"""The exception that users see as a message instead of a traceback."""

from __future__ import annotations


class InputError(ValueError):
    """Invalid input from the user.

    The message says what was expected, what was given and how to fix it. The command line prints
    it and exits with code 2.
    """
