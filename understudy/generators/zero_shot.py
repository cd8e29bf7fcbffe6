"""Zero-shot CLIP: classify images by their similarity to a prompt for each class."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import normalize

from understudy.core.errors import InputError
from understudy.core.hub import hub_file, load_network, why_not_found
from understudy.data.labelled_set import LabelledSet
from understudy.generators.load import mini_folder
from understudy.generators.prompts import fill
from understudy.generators.settings import GeneratorSettings

if TYPE_CHECKING:
    from transformers import CLIPImageProcessor

_PROMPT = "a photo of {class}"
_BATCH_SIZE = 64
# Mini does not store its scale. Of 10, 14.3, 20, 25, ..., 100, this one gives held-out glyphs the lowest
# contrastive loss.
_MINI_SCALE = 25.0
_HINT = "give the folder or hub name of a CLIP model"


@final
@dataclass(frozen=True, eq=False)
class ZeroShotClassifier:
    """Classifies an image by the similarity of its features to those of one prompt per class.

    Probabilities are the softmax over classes of the scaled cosine. Radford et al. 2021 (arXiv:2103.00020),
    section 3.1.2 and figure 3.

    Attributes:
        encode: maps B upright RGB images to features, float (B, D).
        prompts: features of one prompt per class, float (num_classes, D).
        scale: factor on the cosine, the inverse temperature.
        class_names: names of the classes, by label.
    """

    encode: Callable[[Sequence[Image.Image]], Tensor]
    prompts: Tensor
    scale: float
    class_names: tuple[str, ...]

    @torch.no_grad()
    def predict(self, data: LabelledSet) -> np.ndarray:
        """Class probabilities, float64 of shape (N, num_classes), whose rows sum to 1.

        Raises:
            InputError: if the set has other class names.
        """
        data.check_classes(self.class_names)
        prompts = normalize(self.prompts.cpu().double(), dim=1)
        parts = [np.empty((0, len(prompts)))]
        for start in range(0, len(data), _BATCH_SIZE):
            images = [data.image(index) for index in range(start, min(start + _BATCH_SIZE, len(data)))]
            cosine = normalize(self.encode(images).cpu().double(), dim=1) @ prompts.T
            parts.append((self.scale * cosine).softmax(dim=1).numpy())
        return np.concatenate(parts)

    def same_words(self) -> list[tuple[int, int]]:
        """Pairs of classes whose prompts no image can tell apart.

        An image changes the odds between two classes by at most ``exp(scale * distance)``, where the distance
        is that of the normalised features of their prompts. Listed are pairs with odds of at most 1.1 to 1.
        """
        prompts = normalize(self.prompts.cpu().double(), dim=1)
        pairs = list[tuple[int, int]]()
        for first in range(len(prompts) - 1):
            distances = (prompts[first + 1 :] - prompts[first]).norm(dim=1)
            near = (self.scale * distances < math.log(1.1)).nonzero().flatten().tolist()
            pairs += [(first, first + 1 + other) for other in near]
        return pairs


def load_zero_shot(
    name: str | None,
    generator: GeneratorSettings,
    *,
    class_names: Sequence[str],
    prompt_names: Sequence[str],
    device: str,
) -> ZeroShotClassifier:
    """Load zero-shot CLIP for the classes of a run.

    Args:
        name: folder or hub name of a CLIP model (``curate.clip``); None takes the encoders of the generator.
        generator: settings of the generator.
        class_names: names of the classes, by label.
        prompt_names: what prompts call each class, by label.
        device: torch device; everything is computed in float32.

    Raises:
        InputError: if the name is not a CLIP model, the generator's encoders do not match, or a class
            name is too long.
    """
    prompts = [fill(_PROMPT, words=words, caption="") for words in prompt_names]
    if name is not None:
        return _from_clip(name, prompts, tuple(class_names), device)
    if generator.name != "mini":
        raise InputError(
            f"curate.clip must be given for the generator {generator.name!r}, which has no text and image "
            f"encoders whose features can be compared: {_HINT}, or choose another curate.score"
        )
    return _from_mini(prompts, tuple(class_names), device)


@torch.no_grad()
def _from_clip(
    name: str, prompts: Sequence[str], class_names: tuple[str, ...], device: str
) -> ZeroShotClassifier:
    # slow to import, and needed only to score with CLIP
    from transformers import AutoConfig, AutoTokenizer, CLIPImageProcessor, CLIPModel

    try:
        if not Path(name).exists():
            hub_file(name, "config.json")
        kind = AutoConfig.from_pretrained(name).model_type
        parts = []
        if kind == "clip":  # for another model, transformers would fill missing parts with random weights
            parts = [load_network(CLIPModel, name)]
            parts += [part.from_pretrained(name) for part in (AutoTokenizer, CLIPImageProcessor)]
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise InputError(
            f"curate.clip must be a CLIP model, got {name!r}: {why_not_found(error)}; {_HINT}"
        ) from error
    if not parts:
        raise InputError(
            f"curate.clip must be a CLIP model, got {name!r}, which is a {kind!r} model: {_HINT}"
        )
    clip, tokenizer, processor = parts
    clip.to(device, torch.float32).eval()
    tokens = _tokens(tokenizer, prompts, limit=clip.config.text_config.max_position_embeddings).to(device)
    features = clip.text_projection(clip.text_model(**tokens).pooler_output)
    encode = partial(
        _encode,
        processor,
        lambda x: clip.visual_projection(clip.vision_model(pixel_values=x).pooler_output),
        device,
    )
    return ZeroShotClassifier(encode, features, float(clip.logit_scale.exp()), class_names)


@torch.no_grad()
def _from_mini(prompts: Sequence[str], class_names: tuple[str, ...], device: str) -> ZeroShotClassifier:
    """Use the encoders of mini, which were trained as a pair without a text projection.

    Other pipelines keep one encoder of a CLIP that had a text projection.
    """
    # slow to import, and needed only to score with CLIP
    from transformers import CLIPImageProcessor, CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

    folder = mini_folder()
    text: Any = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).to(device).eval()
    vision: Any = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder", dtype=torch.float32)
    vision.to(device).eval()
    processor = CLIPImageProcessor.from_pretrained(folder / "feature_extractor")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    tokens = _tokens(tokenizer, prompts, limit=text.config.max_position_embeddings).to(device)
    features = text(**tokens).pooler_output
    encode = partial(_encode, processor, lambda x: vision(pixel_values=x).image_embeds, device)
    return ZeroShotClassifier(encode, features, _MINI_SCALE, class_names)


def _encode(
    processor: CLIPImageProcessor,
    project: Callable[[Tensor], Tensor],
    device: str,
    images: Sequence[Image.Image],
) -> Tensor:
    return project(processor(list(images), return_tensors="pt").pixel_values.to(device))


def _tokens(tokenizer: Any, prompts: Sequence[str], *, limit: int) -> Any:
    """Tokenize and pad prompts, with their mask.

    Raises:
        InputError: for a prompt longer than the text encoder reads.
    """
    for prompt in prompts:
        count = len(tokenizer(prompt, verbose=False).input_ids)
        if count > limit:
            raise InputError(
                f"a prompt must have at most {limit} tokens for CLIP, got {count} for {prompt!r}: shorten "
                "the class name"
            )
    return tokenizer(list(prompts), padding=True, return_tensors="pt")
