"""The exceptions that users see as a message instead of a traceback."""

from __future__ import annotations


class InputError(ValueError):
    """Invalid input from the user.

    The message says what was expected, what was given and how to fix it. The command line prints
    it and exits with code 2.

    Attributes:
        problem: the message up to the advice.
        advice: the end of the message, if it cannot be followed everywhere, so that callers replace it.
    """

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(problem + advice)
        self.problem = problem
        self.advice = advice


class FullDiskError(InputError):
    """A disk is full; another machine may have room."""


def first_line(error: BaseException) -> str:
    r"""What an error says first, or its type if it says nothing: libraries append pages of hints.

    Example:
        >>> first_line(ValueError("no such key\nTraceback")), first_line(KeyError())
        ('no such key', 'KeyError')
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
