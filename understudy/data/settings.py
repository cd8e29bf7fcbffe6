"""Which real images a run uses, and their captions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import field_validator, model_validator

from understudy.core.config import LICENCE_PATTERN, Section, setting, unless, when


class DataSettings(Section):
    """Which real images a run uses."""

    source: str
    """Path of an image folder, zip, Parquet file or folder, or WebDataset tar; a built-in name such as
    `digits`; or a data set on the Hugging Face hub. See `understudy list sources`."""
    shots: int | None = setting(None, ge=1)
    """Keep only this many train images per class, and at most as many validation images. If not set, keep
    all."""
    subset: int | None = setting(None, ge=0, needs=unless("data.shots", None))
    """Another random choice of the `shots` images: each number gives a different one, and the splits stay the
    same. If not set, the run's seed chooses the images."""
    test_split: int | None = setting(None, ge=0)
    """Another random choice of the test images, where the source has no such split: each number gives a
    different one, whatever the run's seed, which then divides the rest. If not set, the run's seed chooses
    the test images too."""
    val_fraction: float = setting(0.2, gt=0, lt=1)
    """Share of the train images split off for validation, stratified by class, where the source has no such
    split."""
    test_fraction: float = setting(0.2, gt=0, lt=1)
    """Share of the train images split off for testing, stratified by class, where the source has no such
    split."""
    split_names: Literal["read", "join", "ignore", "val-as-test"] = setting("read")
    """Whether names of folders and files such as `train`, `seg_test` or `x-validation-00.tar`, and columns of
    tables, say which split images belong to. `join` reads them, but puts the images of all splits together
    and divides them again; `ignore` reads none, so that a folder `test` is a class, and divides all of
    them. `val-as-test` makes the validation images of the source the test images, as papers do with
    ImageNet; validation images are then split off from train."""
    name_encoding: str | None = setting(None)
    """Encoding of file names that are not UTF-8, in folders and zips, such as `cp1252` or `shift_jis`."""
    class_names: Path | None = setting(None)
    """Text file with the words that prompts use for each class: lines `class: words`, or one line per class
    in an order that is not ambiguous. If not set, the words are the class names, cleaned."""
    image_column: str | None = setting(None)
    """Column with the images in Parquet files, Arrow files and hub data sets. If not set: a column with a
    usual name, such as `image`, `img` or `jpg`, or else the only one of type image."""
    label_column: str | None = setting(None)
    """Column with the labels in Parquet files, Arrow files and hub data sets. If not set: a column with a
    usual name, such as `label`, `labels`, `fine_label` or `cls`, or else the only one of type class label."""
    split_column: str | None = setting(None, needs=unless("data.split_names", "ignore"))
    """Column, or field of the JSON files of WebDataset tars, that says the split of each image. If not set:
    all that hold nothing but names of splits, and truth values under names such as `is_test`."""
    group_pattern: str | None = setting(None, needs=when("data.group_column", None))
    """Regular expression that finds in the path of an image what it belongs to, such as its patient:
    `patient_\\d+`. Images with the same match, or the same parts in brackets, stay in one split, and
    intervals count them as one draw."""
    group_column: str | None = setting(None)
    """The same for Parquet files, Arrow files and hub data sets: the column that holds it."""
    similar_labels: Literal["refuse", "join", "keep"] = setting("refuse")
    """What to do with labels that differ only in case, spaces, leading zeros, invisible characters, letters
    of other alphabets that look alike, or as copied folders do (`cat (1)`): refuse them, join them (the most
    frequent spelling wins), or keep them as different classes."""
    skip_unlabelled: bool = setting(False)
    """Leave out images without a label: null, empty text, or -1 as in hidden test sets. Without this, they
    stop the run."""
    skip_bad: bool = setting(False)
    """Leave out files that cannot be read; without this, they stop the run."""
    levels: Literal["check", "full", "used"] | tuple[float, float] = setting(
        "check", expects="check, full, used, or two levels such as [0, 4095]"
    )
    """Levels that become black and white in pictures with more than 8 bits. `full`: the whole range of the
    file (16 bits: 0 to 65,535). `used`: the range that all images together use. Two numbers, such as
    `[0, 4095]` for 12 bits: this range. `check`: like `full`, but refuse images that use less than half of
    it, apart from a few odd ones, because they come out nearly black."""
    near_duplicate_distance: int = setting(2, ge=-1, le=64)
    """Images of different splits count as duplicates if their 64-bit perceptual hashes differ in at most this
    many bits and their pixels nearly agree; -1 finds exact copies only."""
    shared_images: Literal["refuse", "leave-out"] = setting("refuse")
    """What to do with copies of an image in different splits: refuse them, or leave them out of train, and
    out of validation if a test image is one. All test images stay, as published results need it."""
    changed_copies: bool = setting(True)
    """Look for images that are the same picture, changed: flipped, turned, cropped a little, of other light,
    blurred, noisy or resized. They stay in one split; where the source has splits, they are counted.
    `false` for different images that look alike, such as those of a fixed camera, and to save time: 100,000
    images take about 140 CPU seconds, and photographs a third as long again."""
    memory: float | None = setting(None, gt=0, decides="nothing")
    """Memory for decoded images, in GB: more of them are kept in a file for temporary data, in the folder
    that `TMPDIR` names. If not set, half of what is free."""
    remember: bool = setting(True, decides="nothing")
    """Keep what was found out about the images of a source with more than 2,000, small grey pictures of them
    included, in the folder for caches of this user, so that the next command need not decode them again."""
    max_pixels: int = setting(100_000_000, ge=1)
    """Refuse images with more pixels than this, as protection against decompression bombs."""
    licence: str | None = setting(None, pattern=LICENCE_PATTERN, decides="card")
    """Licence of the real images, for the cards of exports: an identifier such as `cc-by-4.0`, or words."""

    @field_validator("group_pattern")
    @classmethod
    def _is_pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"must be a regular expression, such as patient_\\d+, but {error}") from None
        return pattern

    @model_validator(mode="after")
    def _levels_rise(self) -> Self:
        if not isinstance(self.levels, str) and not self.levels[0] < self.levels[1]:
            raise ValueError(f"data.levels must be a darker and a brighter level, got {list(self.levels)}")
        return self


_CAPTION_MODEL = when("captions.source", "model")
_LANGUAGE_MODEL = when("captions.source", "language-model")


class CaptionSettings(Section):
    """What `{caption}` stands for in prompts."""

    source: str = setting("none", registry="data.captions.captions:CAPTIONS")
    """Where captions come from; see `understudy list captions`."""
    file: Path | None = setting(None)
    """CSV or JSON Lines file with a caption for every real image; required if the source is `file`. With
    `language-model`, the model varies these captions. Refused otherwise."""
    model: str = setting("Salesforce/blip2-opt-2.7b", needs=_CAPTION_MODEL)
    """Folder or hub name of the image-to-text model (transformers) that writes captions."""
    max_new_tokens: int = setting(16, ge=1, needs=_CAPTION_MODEL)
    """Longest caption the model writes, in tokens. If a prompt does not fit the text encoder, the last words
    of its caption are left out."""
    language_model: str = setting("Qwen/Qwen2.5-1.5B-Instruct", needs=_LANGUAGE_MODEL)
    """Folder or hub name of the instruction model (transformers, decoder only) that writes captions for each
    class."""
    per_class: int = setting(20, ge=1, le=640, needs=(_LANGUAGE_MODEL, when("captions.file", None)))
    """Captions that the language model is asked for per class, but no more than the class has images; its
    images take turns."""
    max_words: int = setting(20, ge=3, needs=_LANGUAGE_MODEL)
    """Most words of a caption of the language model. If a prompt does not fit the text encoder, the last
    words of its caption are left out."""
    batch_size: int = setting(
        16, ge=1, needs=when("captions.source", "model", "language-model"), decides="nothing"
    )
    """Captions written at once; fewer need less memory."""

    @model_validator(mode="after")
    def _file_fits_source(self) -> Self:
        if self.source != "language-model" and (self.source == "file") != (self.file is not None):
            raise ValueError(
                "captions.file must be set if captions.source is 'file', and only then or with "
                f"'language-model', got source {self.source!r} and file {self.file}"
            )
        return self

    @property
    def is_written(self) -> bool:
        """Whether a model writes the captions, which are then not known before a run."""
        return self.source in ("model", "language-model")
