"""Real language models of a few thousand random weights, with real tokenizers and chat templates."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

_SPECIAL = {"pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]", "unk_token": "[UNK]"}
_WORDS = [
    *_SPECIAL.values(),
    *(a + b for a in ("red", "wet", "old", "far") for b in ("cow", "ant", "road", "lamp", "grass")),
    *("a", "the", "cat", "dog", "zebra", "cow", "ant", "by", "in", "rain", ".", ":"),
]
_NETWORK = {
    "vocab_size": len(_WORDS),
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 1.0,  # random weights of the usual size say the same about everything
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CHAT = (
    "{% for message in messages %}[BOS] {{ message['role'] }} : {{ message['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}[BOS]{% endif %}"
)


def tokenizer(*, chat: str | None = None, pad: bool = True) -> PreTrainedTokenizerFast:
    model = WordLevel({word: index for index, word in enumerate(_WORDS)}, unk_token=_SPECIAL["unk_token"])
    words = Tokenizer(model)
    words.pre_tokenizer = Whitespace()
    special = {name: token for name, token in _SPECIAL.items() if pad or name != "pad_token"}
    found = PreTrainedTokenizerFast(tokenizer_object=words, **special)
    found.chat_template = chat
    return found


def save_language_model(kind: str, folder: Path, *, chat: str | None = None, pad: bool = True) -> Path:
    """Save a ``llama``, ``qwen2`` or ``bart`` (an encoder-decoder) with its tokenizer."""
    torch.manual_seed(0)
    if kind == "bart":
        config = BartConfig(
            vocab_size=len(_WORDS), d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16,
            decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2, pad_token_id=0,
            bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, forced_eos_token_id=2,
        )  # fmt: skip
        BartForConditionalGeneration(config).save_pretrained(folder)
    elif kind == "qwen2":
        Qwen2ForCausalLM(Qwen2Config(**_NETWORK)).save_pretrained(folder)
    else:
        LlamaForCausalLM(LlamaConfig(**_NETWORK)).save_pretrained(folder)
    tokenizer(chat=chat, pad=pad).save_pretrained(folder)
    return folder
