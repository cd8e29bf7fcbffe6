"""Tokens whose embeddings are learned while all else stays: textual inversion.

Gal et al. 2022 (arXiv:2208.01618). A token of n embeddings, such as ``s*``, is written ``s* s*_1 s*_2`` for the text encoder, as
diffusers does it.
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

TOKENS_FILE = "learned_embeds.safetensors"


@final
class LearnedEmbedding(nn.Module):
    """In place of a text encoder's input embedding: its vocabulary, which is frozen, and rows that are learned.

    The rows of a token are a parameter of its own, so one that does not occur has no gradient and is left alone by the optimiser.

    Args:
        vocabulary: the text encoder's own embedding.
        first: id of the first learned row; the others follow.
        names: of the tokens.
        initial: where the embeddings of each of them begin, float (num_vectors, D).
    """

    def __init__(self, vocabulary: nn.Embedding, first: int, names: Sequence[str], initial: Tensor) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.first = first
        self.names = tuple(names)
        self.rows = nn.ParameterList([nn.Parameter(initial.detach().float().clone()) for _ in names])
        self._num_vectors = len(initial)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids, int64 (B, L), to embeddings, (B, L, D)."""
        place = ids - self.first
        is_learned = place >= 0
        states = self.vocabulary(ids.masked_fill(is_learned, 0))
        place = place[is_learned]
        if not len(place):
            return cast("Tensor", states)
        present, which = (place // self._num_vectors).unique(return_inverse=True)
        rows = torch.cat([self.rows[token] for token in present.tolist()])
        return cast("Tensor", states.index_put((is_learned,), rows[which * self._num_vectors + place % self._num_vectors].to(states)))

    def plain(self) -> nn.Embedding:
        """An ordinary embedding with the same rows."""
        rows = [self.vocabulary.weight[: self.first], *(rows.to(self.vocabulary.weight) for rows in self.rows)]
        return cast("nn.Embedding", nn.Embedding.from_pretrained(torch.cat(rows).detach(), freeze=True))


def learn_tokens(pipeline: Any, names: Sequence[str], *, num_vectors: int, initial_word: str) -> list[nn.Parameter]:
    """Put tokens into a pipeline's tokenizer, and rows that can be trained into its text encoder.

    Args:
        pipeline: with one tokenizer and one text encoder.
        names: of the tokens.
        num_vectors: embeddings behind each.
        initial_word: all begin with its embedding; the mean, if it has several tokens.

    Returns:
        A parameter per token, float32 (num_vectors, D).

    Raises:
        InputError: if a name is in the vocabulary, diffusers would not find its further embeddings, or the initial word is empty.
    """
    tokenizer, text_encoder = pipeline.tokenizer, pipeline.text_encoder
    vocabulary = text_encoder.get_input_embeddings()
    ids = tokenizer(initial_word, add_special_tokens=False).input_ids
    if not ids:
        raise InputError(f"adapt.initial_word must be a word, got {initial_word!r}, which has no token")
    initial = vocabulary.weight[ids].detach().float().mean(dim=0).expand(num_vectors, -1)
    rows = [name if number == 0 else f"{name}_{number}" for name in names for number in range(num_vectors)]
    # diffusers refuses to load a token beside whose name the vocabulary has that of a second embedding.
    _refuse_known([*rows, *(f"{name}_1" for name in names)], tokenizer)
    first = len(tokenizer)
    tokenizer.add_tokens(rows)
    for name in names if num_vectors > 1 else ():
        written = tokenizer.tokenize(name)[0]
        if written != name:
            raise InputError(
                f"adapt.token must be as the tokenizer writes it, {written!r}, with adapt.num_vectors {num_vectors}, got {name!r}: "
                "diffusers would use its first embedding alone"
            )
    embedding = LearnedEmbedding(vocabulary, first, names, initial).to(vocabulary.weight.device)
    text_encoder.set_input_embeddings(embedding)
    return list(embedding.rows)


def save_tokens(pipeline: Any, folder: Path) -> None:
    """Write what was learned, a tensor (num_vectors, D) per token; the text encoder has an ordinary embedding again."""
    embedding = pipeline.text_encoder.get_input_embeddings()
    assert isinstance(embedding, LearnedEmbedding), "nothing was learned"
    state = {name: rows.detach().cpu().contiguous() for name, rows in zip(embedding.names, embedding.rows, strict=True)}
    write_atomically(folder / TOKENS_FILE, lambda path: safetensors.torch.save_file(state, path))
    plain = embedding.plain()
    pipeline.text_encoder.set_input_embeddings(plain)
    pipeline.text_encoder.config.vocab_size = plain.num_embeddings


def load_tokens(pipeline: Any, folder: Path) -> None:
    """Give a pipeline the tokens that :func:`save_tokens` wrote, as its own ``load_textual_inversion`` does.

    Raises:
        InputError: if one of them is in the vocabulary already.
    """
    state = safetensors.torch.load_file(folder / TOKENS_FILE)
    _refuse_known(list(state), pipeline.tokenizer)
    with torch.random.fork_rng(devices=[]):  # new rows are random until they are overwritten
        # What load_textual_inversion would do, without its costly guess at what random rows should be like.
        pipeline.text_encoder.resize_token_embeddings(len(pipeline.tokenizer) + sum(map(len, state.values())), mean_resizing=False)
        pipeline.load_textual_inversion([{name: rows} for name, rows in state.items()])
    pipeline.text_encoder.requires_grad_(requires_grad=False)


def _refuse_known(names: Sequence[str], tokenizer: Any) -> None:
    vocabulary = tokenizer.get_vocab()
    for name in names:
        if name in vocabulary or len(tokenizer.tokenize(name)) < 2:
            raise InputError(f"adapt.token must be new to the tokenizer, got {name!r}, which its vocabulary has: try {f'<{name}>'!r}")
