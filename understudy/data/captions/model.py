"""Captions written by an image-to-text model, in parts so that an interrupted run can resume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, final

import torch
from PIL import Image

from understudy.core.hub import load_network
from understudy.data.captions.parts import in_parts
from understudy.data.captions.wanted import WantedModel
from understudy.data.labelled_set import LabelledSet
from understudy.data.settings import CaptionSettings

_PART = 1000
CAPTIONER = WantedModel(
    "captions.model must be an image-to-text model",
    "give a captioning model such as BLIP or BLIP-2, or your own captions with captions.source=file",
)
"""What ``captions.model`` must name."""
_WORKING = replace(CAPTIONER, must="captions.model must describe an image from its pixels alone")


def write_captions(
    sets: Sequence[LabelledSet], settings: CaptionSettings, *, folder: Path, device: str
) -> list[str]:
    """Write a caption for every image with greedy decoding, so the same model gives the same captions.

    Args:
        sets: the images, N in all.
        settings: caption settings.
        folder: folder for ``part-00000.jsonl`` and so on, with 1,000 images each; existing parts are reused.
        device: torch device of the model, which runs in float16 on a GPU and in float32 otherwise.

    Returns:
        N captions in the order of the sets, with single spaces; empty if the model wrote nothing.

    Raises:
        InputError: if the model cannot be loaded or needs more than an image, or a part has other images.
    """
    images = [(data, index) for data in sets for index in range(len(data))]
    ids = [name for data in sets for name in data.ids]
    model: CaptionModel | None = None

    def write(start: int, stop: int) -> list[str]:
        nonlocal model
        model = model or CaptionModel.load(settings.model, device=device)
        some = [data.image(index) for data, index in images[start:stop]]
        return model.describe(some, max_new_tokens=settings.max_new_tokens)

    return in_parts(folder, ids, write, size=_PART, batch_size=settings.batch_size)


@final
@dataclass(frozen=True, eq=False)
class CaptionModel:
    """A transformers model that describes an image without a prompt.

    Attributes:
        name: name of the model, for messages.
        model: BLIP, BLIP-2, GIT, an encoder-decoder such as ViT-GPT2, or one that needs only pixels.
        image_processor: turns images into the input of the model.
        tokenizer: turns the output of the model into text.
    """

    name: str
    model: Any
    image_processor: Any
    tokenizer: Any

    @classmethod
    def load(cls, name: str, *, device: str) -> Self:
        """Load a model by folder or hub name.

        Raises:
            InputError: if it cannot be loaded or is not an image-to-text model.
        """
        # slow to import, and most runs have no captioning model
        from safetensors import SafetensorError
        from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

        dtype = torch.float16 if device.startswith("cuda") else torch.float32
        CAPTIONER.check(name)
        try:
            model = load_network(AutoModelForImageTextToText, name, dtype=dtype)
            # Not AutoProcessor, which finds only the tokenizer of encoder-decoder models.
            parts = AutoImageProcessor.from_pretrained(name), AutoTokenizer.from_pretrained(name)
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            RuntimeError,
            ImportError,
            SafetensorError,
        ) as error:
            raise CAPTIONER.error(name, error) from error
        return cls(name, model.to(device).eval(), *parts)

    @torch.inference_mode()
    def describe(self, images: Sequence[Image.Image], *, max_new_tokens: int) -> list[str]:
        """Captions of B images; the batch does not influence the caption of an image.

        Raises:
            InputError: if the model does not work from pixels alone.
        """
        try:
            pixels = self.image_processor(list(images), return_tensors="pt")["pixel_values"].to(
                self.model.device, self.model.dtype
            )
            tokens = self.model.generate(
                pixel_values=pixels, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1
            )
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise _WORKING.error(self.name, error) from error
        return [
            " ".join(text.split()) for text in self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        ]
