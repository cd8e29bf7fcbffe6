"""Whether a text encoder reads prompts to their end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.core.errors import InputError


def check_lengths(prompts: Mapping[str, str], tokenizer: Any, limit: int, *, keep_last: bool) -> None:
    """Check that a tokenizer makes no more tokens of each prompt than its text encoder takes.

    Args:
        prompts: each prompt as the user wrote it, and as the text encoder reads it.
        tokenizer: of transformers.
        limit: largest number of tokens, begin and end included.
        keep_last: the last position must be padding, because an image feature will replace it.

    Raises:
        InputError: for the first prompt that is too long, with its number of tokens and the limit.
    """
    allowed = limit - keep_last
    reason = ", of which the last is needed for the image feature" if keep_last else ""
    for prompt, written in prompts.items():
        count = len(tokenizer(written, verbose=False).input_ids)
        if count > allowed:
            raise InputError(
                f"a prompt must have at most {allowed} tokens, begin and end included, got {count} "
                f"for {prompt!r}: shorten the prompt or the caption; the text encoder takes "
                f"{limit}{reason}"
            )
