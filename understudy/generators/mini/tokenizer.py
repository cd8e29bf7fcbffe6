"""The small byte-level vocabulary of ``mini``: it covers any text, and glyph captions in few tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

_START, _END = "<|startoftext|>", "<|endoftext|>"
MAX_LENGTH = 24  # tokens, start and end included; CLIP has 77, glyph captions need at most 20
# Words of prompts that do not occur in captions of glyphs; they get a token, so that prompts stay short.
_PROMPT_WORDS = (
    "in the style of handwritten written by hand best quality image picture distorted unrealistic blurry "
    "out frame cropped deformed"
)


def train_tokenizer(captions: Iterable[str], *, num_merges: int = 256) -> CLIPTokenizer:
    """Train a CLIP tokenizer: its alphabet is all bytes, and its merges are learned from captions.

    Args:
        captions: texts to learn merges from.
        num_merges: upper bound on learned merges.

    Returns:
        A ``CLIPTokenizer`` with at most 512 + num_merges + 2 tokens.
    """
    from transformers import CLIPTokenizer  # slow

    alphabet = sorted(ByteLevel.alphabet())
    bytes_only = {
        token: index for index, token in enumerate([*alphabet, *(a + "</w>" for a in alphabet), _START, _END])
    }
    # The untrained tokenizer has CLIP's normalisation and word splitting, which the trainer then uses.
    untrained = CLIPTokenizer(vocab=bytes_only, merges=[]).backend_tokenizer
    trainer = BpeTrainer(
        vocab_size=512 + num_merges, end_of_word_suffix="</w>", initial_alphabet=alphabet, show_progress=False
    )
    untrained.train_from_iterator([*captions, _PROMPT_WORDS], trainer)
    merges = [tuple(pair) for pair in json.loads(untrained.to_str())["model"]["merges"]]
    tokens = dict.fromkeys(
        [*alphabet, *(a + "</w>" for a in alphabet), *("".join(pair) for pair in merges), _START, _END]
    )
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_LENGTH)
