"""Command preview: draw a few images per class, and estimate what the whole run costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from PIL.PngImagePlugin import PngInfo

from understudy.commands.cost import Estimate
from understudy.commands.few_images import draw_a_few
from understudy.commands.measuring import measure
from understudy.commands.room_for_run import what_does_not_fit
from understudy.commands.time_limit import plan_run
from understudy.commands.time_plan import TimeLimit
from understudy.core.errors import InputError
from understudy.core.executors.side_by_side import side_by_side
from understudy.core.files import check_replaceable, write_atomically
from understudy.core.progress import Observer
from understudy.data.contact_sheet import contact_sheet
from understudy.data.image_kind import look_at
from understudy.pipeline.domain import unknown_to
from understudy.settings import Settings

_MARK = "understudy preview"  # stored in the file, so that other pictures of the user are never replaced


@final
@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a preview found.

    Attributes:
        estimate: time and disk space of a run.
        recognised: how many of the drawn images look like their class, in a sentence; empty without a
            pretrained network to look at them.
        words: whether CLIP knows the words of the classes, in a sentence; empty without CLIP.
        cut: what a time limit cuts, in a sentence; empty without a limit.
        room: what does not fit on the disk or into memory, in sentences.
        warnings: why these images and this generator do not go together, in sentences.
    """

    estimate: Estimate
    recognised: str
    words: str
    cut: str = ""
    room: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def preview(
    settings: Settings,
    to: Path,
    *,
    device: str = "cpu",
    images: int | None = None,
    limit: TimeLimit | None = None,
    observer: Observer | None = None,
) -> Preview:
    """Draw a few images per class, and time a few steps of every kind of work.

    Args:
        settings: of the run to come.
        to: picture to write: a column for each of at most 40 classes, real images above synthetic ones.
        device: torch device.
        images: how many to draw, as for :func:`understudy.commands.few_images.draw_a_few`.
        limit: time that the run may take; the estimate is then for what a run would do in it.
        observer: shows a bar while many real images are read.

    Raises:
        InputError: as a run would.
    """
    if images is not None and images < 1:
        raise InputError(f"--images must be at least 1, got {images}")
    check_replaceable(to, mark=_MARK.encode(), suffix=".png")
    few = draw_a_few(settings, device=device, images=images, observer=observer)
    mark = PngInfo()
    mark.add_text("Software", _MARK)
    sheet = contact_sheet(few.drawn, real=few.splits.train, size=few.generator.image_size)
    write_atomically(to, lambda path: sheet.save(path, format="PNG", pnginfo=mark))
    measured, cut = measure(settings, few, device=device), ""
    if limit is not None:
        plan = plan_run(settings, limit, measured)
        settings, cut = plan.settings, plan.sentence
    found = measured.estimate(settings)
    return Preview(
        estimate=found,
        recognised=measured.recognised,
        words=measured.words,
        cut=cut,
        warnings=unknown_to(settings, look_at(few.splits.train).kind),
        room=tuple(
            what_does_not_fit(
                found,
                decoded_mb=measured.decoded_mb(found.images),
                processes=side_by_side(settings.compute, device).trainings,
            )
        ),
    )
