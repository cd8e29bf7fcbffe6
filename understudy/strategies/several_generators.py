"""Let several generators, adapted with different seeds, draw an equal share each."""

from __future__ import annotations

from understudy.errors import InputError
from understudy.settings import Settings
from understudy.strategies.strategy import STRATEGIES, Strategy, with_section

_NUM_GENERATORS = 3


def _members(settings: Settings, shots: int) -> Settings:
    if settings.generator.name == "folder":
        raise InputError("the strategy 'several-generators' adapts generators: give ready-made sets of several as generator.images")
    return with_section(settings, "draw", members=_NUM_GENERATORS)


STRATEGIES.register("several-generators", summary="three generators, adapted with different seeds, draw a third each")(
    Strategy(
        addresses=("content",),
        source="multi-GAN of GaFi (arXiv:2305.10118)",
        change_set=_members,
    )
)
