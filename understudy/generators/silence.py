"""Keep the logs and bars of other libraries off the screen."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


def no_progress_bars() -> None:
    """Hide the progress bars that libraries show while they load weights."""
    # slow to import, and needed only before networks are loaded
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


@contextmanager
def diffusers_logs_nothing() -> Iterator[None]:
    """Let diffusers log nothing in a block, where an error of ours says what it means.

    It would list every weight that does not fit, line by line.
    """
    from diffusers.utils import logging as diffusers_logging  # slow to import, as above

    before = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity(logging.CRITICAL + 1)
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(before)
