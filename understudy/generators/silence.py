"""Keep the log of diffusers off the screen where an error of ours says what it means."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.utils import logging as diffusers_logging


@contextmanager
def diffusers_logs_nothing() -> Iterator[None]:
    """Let diffusers log nothing in a block: it lists every weight that does not fit, line by line."""
    before = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity(logging.CRITICAL + 1)
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(before)
