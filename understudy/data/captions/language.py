"""Captions that a language model writes for each class, or by varying captions that are given.

The seed chooses what the model is asked for, and decoding is greedy, so that the same seed and model give the
same captions. Dunlap et al. 2023 (arXiv:2305.16289) and Tian et al. 2024 (arXiv:2312.17742) let language
models write prompts and captions; the requests here are this project's own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from understudy.data.captions.language_model import LanguageModel
from understudy.data.captions.parts import in_parts
from understudy.data.settings import CaptionSettings

_PART = 200
_PLACES = (
    "indoors",
    "outdoors",
    "where it is usually found",
    "in an unusual place",
    "among other things",
    "alone",
    "in front of a plain background",
    "in front of a busy background",
    "in the countryside",
    "in a town",
)
_VIEWS = (
    "from close by",
    "from far away",
    "from above",
    "from below",
    "from the side",
    "from the front",
    "at the edge of the picture",
    "partly hidden",
)
_LIGHTS = (
    "in bright daylight",
    "in the evening sun",
    "at night",
    "on an overcast day",
    "against the light",
    "in the light of a lamp",
    "in soft morning light",
    "in hard shadow",
)
_ASPECTS = tuple(itertools.product(_PLACES, _VIEWS, _LIGHTS))
_MARK = re.compile(r"(?:[-*\u2022>#]+|\(?\d{1,2}[.):])\s+|(?:caption|prompt|answer|description)\s*:\s*", re.I)
_QUOTES = "\"'`*_\u201c\u201d\u2018\u2019\u00ab\u00bb\u201e"


@final
@dataclass(frozen=True)
class Request:
    """One caption that the model is asked for.

    Attributes:
        words: for the class, which the caption must contain, apart from a kind in parentheses.
        text: what the model is asked.
        given: the caption to vary; empty if there is none.
    """

    words: str
    text: str
    given: str = ""

    def caption(self, answer: str, *, max_words: int) -> str:
        """The caption in an answer: one line without marks of lists and quotes; empty if it is not usable.

        An answer is not usable without the words for the class, or if it only repeats the request.
        """
        lines = [line for each in answer.splitlines() if (line := _bare(each)) and not line.endswith(":")]
        caption = " ".join(lines[0].split()[:max_words]).rstrip(" .,;:-") if lines else ""
        name = re.sub(r"\s*\([^)]*\)$", "", self.words).casefold()
        is_repeated = caption.casefold() in self.text.casefold()
        names_class = re.search(rf"(?<!\w){re.escape(name)}(?:e?s)?(?!\w)", caption.casefold())
        if is_repeated or not names_class or re.search(r"[{}<>|]", caption):
            return ""
        return caption


def vary_captions(
    labels: np.ndarray,
    prompt_names: Sequence[str],
    given: Sequence[str] | None,
    *,
    settings: CaptionSettings,
    folder: Path,
    device: str,
    seed: int,
) -> list[str]:
    """Let a language model write captions.

    Args:
        labels: of N images, int (N,).
        prompt_names: words for prompts by label.
        given: captions of the images, each of which is varied; None to write captions for each class, which
            its images get in turn.
        settings: caption settings.
        folder: for ``part-00000.jsonl`` and so on, with 200 requests and answers each; existing parts are
            reused.
        device: torch device of the model, which runs in bfloat16 on a GPU and in float32 otherwise.
        seed: of the run.

    Returns:
        N captions with single spaces. Where an answer is not usable, or a class had the same caption before:
        the given caption, or an empty one.

    Raises:
        InputError: if the model cannot be loaded or cannot answer, or a part has other requests.
    """
    requests, of_image = _requests(labels, prompt_names, given, settings, seed=seed)
    texts = [request.text for request in requests]
    model: LanguageModel | None = None

    def write(start: int, stop: int) -> list[str]:
        nonlocal model
        model = model or LanguageModel.load(settings.language_model, device=device)
        return model.answer(texts[start:stop], max_new_tokens=2 * settings.max_words + 16)

    answers = in_parts(folder, texts, write, size=_PART, batch_size=settings.batch_size, of_what="requests")
    captions, known = list[str](), set[tuple[str, str]]()
    for request, answer in zip(requests, answers, strict=True):
        caption = request.caption(answer, max_words=settings.max_words)
        key = (request.words, caption.casefold())
        captions.append(request.given if not caption or key in known else caption)
        known.add(key)
    return [captions[index] for index in of_image]


def _requests(
    labels: np.ndarray,
    prompt_names: Sequence[str],
    given: Sequence[str] | None,
    settings: CaptionSettings,
    *,
    seed: int,
) -> tuple[list[Request], list[int]]:
    """What the model is asked for, class by class, and the request of each image."""
    requests, of_image = list[Request](), [0] * len(labels)
    for label, words in enumerate(prompt_names):
        images = np.flatnonzero(labels == label)
        number = len(images) if given is not None else min(settings.per_class, len(images))
        order = np.random.default_rng([seed, label, *b"captions"]).permutation(len(_ASPECTS))
        for place, image in enumerate(images.tolist()):
            of_image[image] = len(requests) + place % number
        for place in range(number):
            caption = given[images[place]] if given is not None else ""
            text = _text(words, caption, _ASPECTS[order[place % len(_ASPECTS)]], settings.max_words)
            requests.append(Request(words, text, caption))
    return requests, of_image


def _text(words: str, caption: str, aspects: tuple[str, str, str], max_words: int) -> str:
    place, view, light = aspects
    task = f"Write a caption of a picture that shows {words} {place}, {view}, {light}."
    if caption:
        task = (
            f"This is the caption of a picture of {words}: {caption}\n"
            f"Write the caption of another such picture, taken {place} and {light}."
        )
    rules = (
        f"Answer with the caption alone, in one line of at most {max_words} words, and name {words} in it."
    )
    return f"{task}\n{rules}"


def _bare(line: str) -> str:
    """A line without marks of a list, a label such as ``Caption:``, and quotes around it."""
    line = " ".join(line.split())
    while (bare := _MARK.sub("", line, count=1) if _MARK.match(line) else line.strip(_QUOTES + " ")) != line:
        line = bare
    return line
