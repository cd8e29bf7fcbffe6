"""Which drawn images are kept."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from understudy.core.config import Need, Section, setting, when


def _varies(settings: Any) -> bool:
    """Whether arms may use images with scores and selections that differ from the run's."""
    return settings.gap.measure or any("@" in name for name in settings.compare.arms)


_SCORED = Need(
    "curate.score", "`curate.score` is not `none`", lambda settings: settings.curate.score != "none"
)
_SCORED_SOMEWHERE = Need(
    "curate.score",
    "`curate.score` is not `none`, or an arm has a strategy, or the gap is measured",
    lambda settings: settings.curate.score != "none" or _varies(settings),
)
_VALIDATION_THRESHOLD = Need(
    "curate.threshold",
    "`curate.threshold` is not a number, or an arm has a strategy, or the gap is measured",
    lambda settings: not isinstance(settings.curate.threshold, float) or _varies(settings),
)
_CLIP_SCORE = Need(
    "curate.score",
    "`curate.score` is `clip`, or an arm has a strategy, or the gap is measured",
    lambda settings: settings.curate.score == "clip" or _varies(settings),
)
_SELECTS = Need(
    "curate.select",
    "`curate.select` is not `first`, `curate.direction` is set, an arm has a strategy, or the gap is "
    "measured",
    lambda settings: not settings.curate.keeps_first or _varies(settings),
)
_DELIBERATE = Need(
    "curate.select",
    "`curate.select` is `deliberate`, an arm has a strategy, or the gap is measured",
    lambda settings: settings.curate.select == "deliberate" or _varies(settings),
)


class CurateSettings(Section):
    """Which drawn images are kept."""

    score: str = setting("agreement", registry="curation.scores:SCORES")
    """How images are scored; see `understudy list scores`."""
    threshold: Annotated[float, Field(ge=0, le=1)] | Literal["validation"] | None = setting(
        None, needs=_SCORED, expects="from 0 to 1, or 'validation'"
    )
    """Lowest score that is kept, or `validation` to derive it from the scores of real validation images. If
    not set, the default of the score. With `agreement`, 1 keeps only images that the judge assigns to the
    intended class."""
    validation_pass: float = setting(0.9, gt=0, le=1, needs=(_VALIDATION_THRESHOLD, _SCORED_SOMEWHERE))
    """Share of the real validation images that must pass the threshold derived from them."""
    clip: str | None = setting(None, needs=_CLIP_SCORE)
    """Folder or hub name of the CLIP model behind the score `clip`; if not set, the generator's text and
    image encoders."""
    max_refills: int = setting(2, ge=0)
    """How often rejected images are replaced by newly drawn ones."""
    stop_at_chance: bool = setting(True, decides="nothing", needs=when("curate.score", "agreement"))
    """Stop before more images are drawn and arms are trained if the judge recognises the drawn images no
    better than by chance, because the generator does not know such images."""
    firewall: Literal["off", "flag", "redraw", "drop"] = setting("flag")
    """What happens to drawn images that are closer to a train image than 99% of held-out real images are, and
    so count as copies: `off` does not search for copies, `flag` keeps and marks them, `redraw` replaces them,
    `drop` leaves them out."""
    select: str = setting("first", registry="curation.selections:SELECTIONS")
    """Which images are kept if more pass than are needed: the `first`, the closest to each real image
    (`matched`), or the ones that together have the distribution of the real images (`coverage`), or only
    their `covariance`, or only their mean (`herding`), or the ones of which a classifier is most unsure
    (`deliberate`); see `understudy list selections`."""
    rounds: int = setting(4, ge=2, needs=_DELIBERATE)
    """Rounds in which `deliberate` chooses. Each after the first trains a classifier on the images chosen so
    far, and adds those of which it is most unsure."""
    direction: Literal["most", "least"] | None = setting(
        None, needs=(when("curate.select", "first"), _SCORED_SOMEWHERE)
    )
    """Which of the images that pass the threshold are kept if there are more than needed: those with the
    highest scores (`most`) or the lowest (`least`) instead of the first. With the score `confidence` these
    are the most or the least confident images on whose class the judge still agrees."""
    candidates: float = setting(3.0, ge=1, needs=_SELECTS)
    """How many images to select from, in multiples of the number wanted."""

    @property
    def keeps_first(self) -> bool:
        """Whether the first good images are kept, so that no more are needed to choose from.

        Without a score there is no direction either.
        """
        return self.select == "first" and (self.direction is None or self.score == "none")
