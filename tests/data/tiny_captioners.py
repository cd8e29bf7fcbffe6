"""Real captioning models of a few thousand random weights, with real processors and tokenizers."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    GitConfig,
    GitForCausalLM,
    GitProcessor,
    GPT2Config,
    PreTrainedTokenizerFast,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessor,
)

_SPECIAL = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", "<image>"]
_WORDS = [
    *_SPECIAL,
    *(a + b for a in ("red", "small", "old", "wet", "far") for b in ("bird", "lamp", "road", "hand", "door")),
]
_ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_NETWORK = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
_VISION = {**_NETWORK, "image_size": 16, "patch_size": 8, "initializer_range": 1.0}
# Random weights of the usual size say the same about every image.
_TEXT = {
    **_NETWORK,
    **_ENDS,
    "vocab_size": len(_WORDS),
    "max_position_embeddings": 40,
    "initializer_range": 1.0,
}
_SIZE = {"size": {"height": 16, "width": 16}}


def _tokenizer() -> PreTrainedTokenizerFast:
    pad, bos, eos, unknown, image = _SPECIAL
    words = Tokenizer(WordLevel({word: index for index, word in enumerate(_WORDS)}, unk_token=unknown))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        unk_token=unknown,
        additional_special_tokens=[image],
    )


def _blip():
    text = {**_TEXT, "sep_token_id": 2, "encoder_hidden_size": 16}
    config = BlipConfig(text_config=text, vision_config=_VISION, projection_dim=16, image_text_hidden_size=16)
    return BlipForConditionalGeneration(config), [BlipProcessor(BlipImageProcessor(**_SIZE), _tokenizer())]


def _blip_2():
    text = {**_TEXT, "model_type": "opt", "ffn_dim": 16, "word_embed_proj_dim": 16, "init_std": 1.0}
    qformer = {**_NETWORK, "encoder_hidden_size": 16, "vocab_size": 8, "initializer_range": 1.0}
    config = Blip2Config(
        vision_config=_VISION,
        qformer_config=qformer,
        text_config=text,
        num_query_tokens=4,
        image_token_index=4,
        initializer_range=1.0,
    )
    return Blip2ForConditionalGeneration(config), [
        Blip2Processor(BlipImageProcessor(**_SIZE), _tokenizer(), num_query_tokens=4)
    ]


def _git():
    config = GitConfig(vision_config=_VISION, **_TEXT)
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    return GitForCausalLM(config), [GitProcessor(images, _tokenizer())]


def _encoder_decoder():
    text = GPT2Config(
        vocab_size=len(_WORDS), n_positions=40, n_embd=16, n_layer=1, n_head=2, initializer_range=1.0, **_ENDS
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(**_VISION), text, **_ENDS, decoder_start_token_id=1
    )
    return VisionEncoderDecoderModel(config=config), [ViTImageProcessor(**_SIZE), _tokenizer()]


BUILDERS = {"blip": _blip, "blip-2": _blip_2, "git": _git, "vision-encoder-decoder": _encoder_decoder}


def save_captioner(kind: str, folder: Path) -> Path:
    """Model, image processor and tokenizer in the form that the hub has."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, processors = BUILDERS[kind]()
    for part in (model, *processors):
        part.save_pretrained(folder)
    return folder
