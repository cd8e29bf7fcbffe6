"""Textual inversion: learn the embeddings of new tokens while all weights stay fixed.

Gal et al. 2022 (arXiv:2208.01618). A token with n embeddings, such as ``s*``, reaches the text encoder as
``s* s*_1 s*_2``, which is the convention of diffusers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, final

import safetensors.torch
import torch
from torch import Tensor, nn

from understudy.core.errors import InputError
from understudy.core.files import write_atomically
from understudy.core.weight_files import incomplete_adapter

_TOKENS_FILE = "learned_embeds.safetensors"


@final
class LearnedEmbedding(nn.Module):
    """The input embedding of a text encoder, frozen, with further rows that are learned.

    The rows of each token are a separate parameter. A token that does not occur in a batch has no gradient,
    and the optimiser leaves it alone.

    Args:
        vocabulary: input embedding of the text encoder.
        first: id of the first learned row; the others follow it.
        names: names of the tokens.
        initial: initial embeddings of each token, float (num_vectors, D).
    """

    def __init__(self, vocabulary: nn.Embedding, first: int, names: Sequence[str], initial: Tensor) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.first = first
        self.names = tuple(names)
        self.rows = nn.ParameterList([nn.Parameter(initial.detach().float().clone()) for _ in names])
        self._num_vectors = len(initial)

    def forward(self, ids: Tensor) -> Tensor:
        """Look up token ids, int64 (B, L), as embeddings, (B, L, D)."""
        place = ids - self.first
        is_learned = place >= 0
        states = self.vocabulary(ids.masked_fill(is_learned, 0))
        place = place[is_learned]
        if not len(place):
            return cast("Tensor", states)
        present, which = (place // self._num_vectors).unique(return_inverse=True)
        rows = torch.cat([self.rows[token] for token in present.tolist()])
        learned = rows[which * self._num_vectors + place % self._num_vectors]
        return cast("Tensor", states.index_put((is_learned,), learned.to(states)))

    def plain(self) -> nn.Embedding:
        """An ordinary embedding with the same rows."""
        weight = self.vocabulary.weight
        rows = torch.cat([weight[: self.first], *(rows.to(weight) for rows in self.rows)])
        return cast("nn.Embedding", nn.Embedding.from_pretrained(rows.detach(), freeze=True))


def learn_tokens(
    pipeline: Any, names: Sequence[str], *, num_vectors: int, initial_word: str
) -> list[nn.Parameter]:
    """Add tokens to a pipeline's tokenizer, and trainable rows to its text encoder.

    Args:
        pipeline: with one tokenizer and one text encoder.
        names: names of the tokens.
        num_vectors: embeddings per token.
        initial_word: all embeddings start from the embedding of this word, or the mean over its tokens.

    Returns:
        A parameter per token, float32 (num_vectors, D).

    Raises:
        InputError: if a name is in the vocabulary, if diffusers would not find all embeddings of a token, or
            if the initial word is empty.
    """
    tokenizer, text_encoder = pipeline.tokenizer, pipeline.text_encoder
    vocabulary = text_encoder.get_input_embeddings()
    ids = tokenizer(initial_word, add_special_tokens=False).input_ids
    if not ids:
        raise InputError(f"adapt.initial_word must be a word, got {initial_word!r}, which has no token")
    initial = vocabulary.weight[ids].detach().float().mean(dim=0).expand(num_vectors, -1)
    rows = [name if number == 0 else f"{name}_{number}" for name in names for number in range(num_vectors)]
    # diffusers does not load a token if the vocabulary already has the name of its second embedding.
    _check_new([*rows, *(f"{name}_1" for name in names)], tokenizer)
    first = len(tokenizer)
    tokenizer.add_tokens(rows)
    for name in names if num_vectors > 1 else ():
        written = tokenizer.tokenize(name)[0]
        if written != name:
            raise InputError(
                f"with adapt.num_vectors {num_vectors}, adapt.token must be spelled as the tokenizer writes "
                f"it, {written!r}, got {name!r}: diffusers would otherwise use only its first embedding"
            )
    embedding = LearnedEmbedding(vocabulary, first, names, initial).to(vocabulary.weight.device)
    text_encoder.set_input_embeddings(embedding)
    return list(embedding.rows)


def save_tokens(pipeline: Any, folder: Path) -> None:
    """Write one tensor (num_vectors, D) per token, and give the text encoder an ordinary embedding again."""
    embedding = pipeline.text_encoder.get_input_embeddings()
    assert isinstance(embedding, LearnedEmbedding), "nothing was learned"
    state = {
        name: rows.detach().cpu().contiguous()
        for name, rows in zip(embedding.names, embedding.rows, strict=True)
    }
    write_atomically(folder / _TOKENS_FILE, lambda path: safetensors.torch.save_file(state, path))
    plain = embedding.plain()
    pipeline.text_encoder.set_input_embeddings(plain)
    pipeline.text_encoder.config.vocab_size = plain.num_embeddings


def load_tokens(pipeline: Any, folder: Path) -> None:
    """Give a pipeline the tokens that :func:`save_tokens` wrote.

    Raises:
        InputError: if there are none, or the vocabulary already has one of them.
    """
    path = folder / _TOKENS_FILE
    if not path.exists():
        raise incomplete_adapter(path)
    state = safetensors.torch.load_file(path)
    _check_new(list(state), pipeline.tokenizer)
    with torch.random.fork_rng(devices=[]):  # new rows are random until they are overwritten
        # load_textual_inversion would resize too, with a costly fit of the distribution of random rows.
        size = len(pipeline.tokenizer) + sum(map(len, state.values()))
        pipeline.text_encoder.resize_token_embeddings(size, mean_resizing=False)
        pipeline.load_textual_inversion([{name: rows} for name, rows in state.items()])
    pipeline.text_encoder.requires_grad_(requires_grad=False)


def _check_new(names: Sequence[str], tokenizer: Any) -> None:
    vocabulary = tokenizer.get_vocab()
    for name in names:
        if name in vocabulary or len(tokenizer.tokenize(name)) < 2:
            raise InputError(
                f"adapt.token must be new to the tokenizer, got {name!r}, which is in its vocabulary: try "
                f"{f'<{name}>'!r}"
            )
