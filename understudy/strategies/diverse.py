"""Draw more varied images: start from wider noise, without guidance."""

from __future__ import annotations

from understudy.errors import InputError
from understudy.settings import Settings
from understudy.strategies.strategy import STRATEGIES, Strategy, with_section

_NOISE_SCALE = 1.1  # within the 1 to 2 that GaFi searches; not tuned


def _more_varied(settings: Settings, shots: int) -> Settings:
    if settings.generator.name == "folder":
        raise InputError("the strategy 'diverse' changes the noise at the start, and ready-made images have none: leave it out")
    if settings.draw.starts_from_real:
        raise InputError("the strategy 'diverse' changes the noise at the start, and drawing starts from real images here: leave it out")
    return with_section(settings, "draw", noise_scale=_NOISE_SCALE, guidance_scale=1.0, negative_prompt="")


STRATEGIES.register("diverse", summary="start from noise that is a tenth wider, and leave guidance out")(
    Strategy(
        addresses=("content",),
        source="expansion trick of GaFi (arXiv:2305.10118), inverse truncation",
        change_set=_more_varied,
    )
)
