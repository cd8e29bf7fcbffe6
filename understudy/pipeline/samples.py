"""The picture ``synthetic/samples.png`` of a run: real images above synthetic ones."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from understudy.core.files import write_atomically
from understudy.data.contact_sheet import contact_sheet
from understudy.data.decoding import open_image
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.context import Run

_LARGEST = 128  # pixels


def write_samples(run: Run, synthetic: LabelledSet) -> Path | None:
    """Write the picture, and return its path; None without synthetic images."""
    if not len(synthetic):
        return None
    path = run.path / "synthetic" / "samples.png"
    with open_image(synthetic.encoded(0)) as first:  # reads no pixels
        size = min(_LARGEST, *first.size)
    sheet = contact_sheet(run.train, synthetic, size=size)
    write_atomically(path, partial(sheet.save, format="PNG"))
    return path
