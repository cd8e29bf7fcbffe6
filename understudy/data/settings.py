"""What the real images are, and their captions."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from understudy.core.config import LICENCE_PATTERN, Section


class DataSettings(Section):
    """What the real images are.

    Attributes:
        source: path of an image folder, zip, Parquet file or folder or WebDataset tar, a built-in name such as ``digits``, or a hub name.
        shots: keep this many train images per class, and at most as many validation images; all if not set.
        subset: which of several random choices of these images, the splits being the same; the run's seed decides if not set.
        val_fraction, test_fraction: shares split off, stratified, where the source has no such split.
        class_names: text file with one line per class, or ``name: words for prompts`` lines, used in prompts.
        skip_bad: leave unreadable files out instead of stopping.
        near_duplicate_distance: two images of different splits whose 64-bit perceptual hashes differ in at most this
            many bits, and whose pixels nearly agree, are duplicates; -1 checks exact copies only.
        max_pixels: refuse larger images (decompression bombs).
        licence: of the images, for the cards of what is exported: an identifier such as ``cc-by-4.0``, or in words.
    """

    source: str
    shots: int | None = Field(default=None, ge=1)
    subset: int | None = Field(default=None, ge=0)
    val_fraction: float = Field(default=0.2, gt=0, lt=1)
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    class_names: Path | None = None
    skip_bad: bool = False
    near_duplicate_distance: int = Field(default=2, ge=-1, le=64)
    max_pixels: int = Field(default=100_000_000, ge=1)
    licence: str | None = Field(default=None, pattern=LICENCE_PATTERN)


class CaptionSettings(Section):
    """What ``{caption}`` stands for in prompts.

    Attributes:
        source: ``none``, ``class-name``, ``file`` or ``model``; see ``understudy list captions``.
        file: CSV or JSON Lines with a caption for every real image (``file``).
        model: folder or hub name of a transformers image-to-text model (``model``).
        max_new_tokens: longest caption that the model writes.
        batch_size: images captioned at once.
    """

    source: str = "none"
    file: Path | None = None
    model: str = "Salesforce/blip2-opt-2.7b"
    max_new_tokens: int = Field(default=16, ge=1)
    batch_size: int = Field(default=16, ge=1)

    @model_validator(mode="after")
    def _file_fits_source(self) -> Self:
        if (self.source == "file") != (self.file is not None):
            raise ValueError(f"captions.file belongs to captions.source 'file', got source {self.source!r} and file {self.file}")
        return self
