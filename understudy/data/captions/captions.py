"""Captions of real images, which replace ``{caption}`` in prompts; stored as a column of the set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa

from understudy.core.device_memory import release
from understudy.core.errors import InputError
from understudy.core.registry import Registry
from understudy.data.captions.file import read_captions
from understudy.data.captions.language import vary_captions
from understudy.data.captions.language_model import WRITER
from understudy.data.captions.model import CAPTIONER, write_captions
from understudy.data.labelled_set import LabelledSet
from understudy.data.settings import CaptionSettings

_COLUMN = "caption"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionTask:
    """The input of a caption source.

    Attributes:
        sets: the images, N in all.
        prompt_names: words for prompts by label.
        settings: caption settings.
        folder: where a source may store finished captions.
        device: torch device of a model.
        others: ids or paths of other images that a captions file may name.
        seed: what a language model is asked for depends on it.
    """

    sets: Sequence[LabelledSet]
    prompt_names: Sequence[str]
    settings: CaptionSettings
    folder: Path
    device: str
    others: Collection[str]
    seed: int


CaptionSource = Callable[[CaptionTask], list[str] | None]
"""Returns the captions of all images in the order of the sets, or None to leave images without captions."""

CAPTIONS: Registry[CaptionSource] = Registry("caption source")


def caption_sets(
    sets: Sequence[LabelledSet],
    prompt_names: Sequence[str],
    settings: CaptionSettings,
    *,
    folder: Path,
    device: str,
    others: Collection[str] = (),
    seed: int = 0,
) -> list[LabelledSet]:
    """Add a caption for every image, as the provenance column ``caption``.

    The source ``none`` leaves the sets unchanged.

    Args:
        sets: train and validation images.
        prompt_names: words for prompts by label.
        settings: caption settings.
        folder: folder for the captions that a model writes; an interrupted run resumes from it.
        device: torch device of the model.
        others: ids or source paths of other real images that a captions file may name, such as test images.
        seed: of the run.

    Raises:
        InputError: for a test set, an unknown source, or captions that the source cannot provide.
    """
    for data in sets:
        data.check_split("train", "val", purpose="captioning")
    task = CaptionTask(
        sets=sets,
        prompt_names=prompt_names,
        settings=settings,
        folder=folder,
        device=device,
        others=others,
        seed=seed,
    )
    captions = CAPTIONS[settings.source](task)
    if captions is None:
        return list(sets)
    captioned, start = [], 0
    for data in sets:
        captioned.append(with_captions(data, captions[start : start + len(data)]))
        start += len(data)
    return captioned


def check_writer(settings: CaptionSettings) -> None:
    """Check that there is the model that writes the captions, if one does, without loading it.

    Raises:
        InputError: if neither a folder nor the hub has it.
    """
    if settings.source == "model":
        CAPTIONER.check(settings.model)
    elif settings.source == "language-model":
        WRITER.check(settings.language_model)


def captions_of(data: LabelledSet) -> list[str]:
    """The caption of each image; empty if it has none."""
    if not data.has(_COLUMN):
        return [""] * len(data)
    return [caption or "" for caption in data.provenance(_COLUMN)]


def with_captions(data: LabelledSet, captions: Sequence[str]) -> LabelledSet:
    """The set with these captions, one per image."""
    return data.with_column(_COLUMN, pa.array(captions, pa.string()))


@CAPTIONS.register("none", summary="no captions; {caption} is removed from prompts")
def _none(task: CaptionTask) -> None:
    return None


@CAPTIONS.register("class-name", summary="the words for the image's class")
def _class_name(task: CaptionTask) -> list[str]:
    return [task.prompt_names[label] for data in task.sets for label in data.labels]


@CAPTIONS.register(
    "file", summary="a CSV or JSON Lines file with a caption for every real image (captions.file)"
)
def _file(task: CaptionTask) -> list[str]:
    if task.settings.file is None:
        raise InputError("captions.source=file needs a file with captions: set captions.file")
    return read_captions(task.settings.file, task.sets, others=task.others)


@CAPTIONS.register(
    "model", summary="an image-to-text model of transformers describes each image (captions.model)"
)
def _model(task: CaptionTask) -> list[str]:
    captions = write_captions(task.sets, task.settings, folder=task.folder, device=task.device)
    release()
    return captions


@CAPTIONS.register(
    "language-model",
    summary="an instruction model writes varied captions for each class (captions.language_model)",
)
def _language_model(task: CaptionTask) -> list[str]:
    file = task.settings.file
    captions = vary_captions(
        np.concatenate([data.labels for data in task.sets]),
        task.prompt_names,
        None if file is None else read_captions(file, task.sets, others=task.others),
        settings=task.settings,
        folder=task.folder,
        device=task.device,
        seed=task.seed,
    )
    release()
    return captions
