"""Captioned images to pretrain on; for ``mini``, printed glyphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTokenizer

from understudy.generators.mini import glyphs
from understudy.generators.mini.tokenizer import MAX_LENGTH


@dataclass(frozen=True, kw_only=True)
class CaptionedImages:
    """Images with one caption and one class each.

    Attributes:
        images: uint8 (N, 3, H, W).
        captions: N texts.
        labels: classes, int64 (N,); for glyphs, positions in ``glyphs.CHARACTERS``.
    """

    images: Tensor
    captions: list[str]
    labels: Tensor


def printed_glyphs(num_images: int, *, seed: int, characters: str = glyphs.CHARACTERS) -> CaptionedImages:
    """Random glyphs of these characters with captions; image i depends on (seed, i, characters) alone."""
    images, captions, labels = [], [], []
    for index in range(num_images):
        rng = np.random.default_rng([seed, index])
        glyph = glyphs.random_glyph(rng, characters)
        images.append(glyphs.render(glyph))
        captions.append(glyphs.caption(glyph, rng))
        labels.append(glyphs.CHARACTERS.index(glyph.character))
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return CaptionedImages(images=pixels, captions=captions, labels=torch.tensor(labels))


def to_unit(images: Tensor, device: torch.device) -> Tensor:
    """Move uint8 images to a device as float32 in [-1, 1]."""
    return images.to(device).float() / 127.5 - 1


def tokens_of(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    """Tokens of captions, padded or cut to the length of the text encoder, int64 (N, MAX_LENGTH)."""
    encoded = tokenizer(
        list(captions), padding="max_length", max_length=MAX_LENGTH, truncation=True, return_tensors="pt"
    )
    tokens: Tensor = encoded.input_ids
    return tokens
