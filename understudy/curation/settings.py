"""Which drawn images are kept."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from understudy.core.config import Section


class CurateSettings(Section):
    """Which drawn images are kept.

    Attributes:
        score: how an image is scored; see ``understudy list scores``.
        threshold: lowest score that is kept, 0 to 1; ``validation`` takes it from the scores of real validation images; if not set,
            the score's own.
        validation_pass: share of the real validation images that the threshold lets pass where it comes from them.
        clip: folder or hub name of the CLIP model that scores (``clip``); the generator's own text and image encoders if not set.
        max_refills: rounds in which rejected images are drawn anew.
        firewall: what happens to copies of real train images, which are nearer to one than all but a hundredth of held-out real images
            are: they are not looked for (``off``), kept and marked (``flag``), replaced (``redraw``), or left out (``drop``).
        select: which of the good images are taken: the ``first``; those that together lie as the real ones (``coverage``); or for
            each real image the nearest (``matched``); see ``understudy list selections``.
        candidates: good images to select from, in multiples of those wanted.
    """

    score: str = "agreement"
    threshold: Annotated[float, Field(ge=0, le=1)] | Literal["validation"] | None = None
    validation_pass: float = Field(default=0.9, gt=0, le=1)
    clip: str | None = None
    max_refills: int = Field(default=2, ge=0)
    firewall: Literal["off", "flag", "redraw", "drop"] = "flag"
    select: str = "first"
    candidates: float = Field(default=3.0, ge=1)
