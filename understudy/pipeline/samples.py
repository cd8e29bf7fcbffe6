"""Pictures of a run: ``synthetic/samples.png``, and one without real images, which can be shared."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PIL import Image

from understudy.core.files import write_atomically
from understudy.data.contact_sheet import contact_sheet
from understudy.data.decoding import open_image
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.sampling.settings import resembles_real_images

_LARGEST = 128  # pixels


def write_samples(run: Run, synthetic: LabelledSet) -> str:
    """Write the picture; returns the end of a sentence that names it, empty without synthetic images."""
    if not len(synthetic):
        return ""
    path = picture_of(run)
    sheet = contact_sheet(synthetic, real=run.train, size=_size(synthetic))
    write_atomically(path, partial(sheet.save, format="PNG"))
    return f"; some of them below real ones: {path}"


def picture_of(run: Run) -> Path:
    """Where :func:`write_samples` writes."""
    return run.path / "synthetic" / "samples.png"


def shareable_samples(folder: RunFolder) -> Image.Image | None:
    """A picture of the :func:`shareable_images`, if there are any."""
    new = shareable_images(folder)
    return None if new is None else contact_sheet(new, size=_size(new))


def shareable_images(folder: RunFolder) -> LabelledSet | None:
    """Kept images for those who must not see the real ones, so without copies of these.

    Returns:
        None if copies were not searched for, if images were drawn from single real ones, which they resemble,
        and if there are no other images.
    """
    path, settings = folder.path / "synthetic" / "curated.parquet", folder.settings
    if resembles_real_images(settings) or settings.curate.firewall == "off" or not path.exists():
        return None
    kept = LabelledSet.load(path)
    new = kept.select([index for index, flag in enumerate(kept.provenance("flag")) if not flag])
    return new if len(new) else None


def _size(images: LabelledSet) -> int:
    with open_image(images.encoded(0)) as first:  # reads no pixels
        return min(_LARGEST, *first.size)
