"""A generator that renders printed characters, the images that ``mini`` was pretrained on.

As a control it shows what further images of the classes are worth without any generative model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.labelled_set import LabelledSet
from understudy.generators.generator import PlanRow
from understudy.generators.mini import glyphs
from understudy.generators.settings import GeneratorSettings

if TYPE_CHECKING:
    from torch import Tensor

_SIZE = 32
_USED = ("name", "resolution")


@final
class GlyphGenerator:
    """Renders a random printed character of the class; it has no network and ignores prompts.

    Args:
        settings: ``resolution`` is used, 32 pixels if it is not set.

    Raises:
        InputError: for settings that have no effect here.
    """

    def __init__(self, settings: GeneratorSettings) -> None:
        settings.check_only(_USED)
        self._size = settings.resolution or _SIZE

    @property
    def image_size(self) -> int:
        """Width and height of the images in pixels."""
        return self._size

    @property
    def fingerprint(self) -> str:
        """Hash of the names of the fonts, which decide the images in addition to the plan row."""
        return hashlib.sha256("\n".join(glyphs.fonts()).encode()).hexdigest()[:16]

    def available(self, class_names: Sequence[str]) -> None:
        """Check that every class is a character; there is no limit to their number.

        Raises:
            InputError: naming the classes that are not.
        """
        unknown = [name for name in class_names if name not in _CHARACTERS]
        if unknown:
            raise InputError(
                f"the generator 'glyphs' renders printed characters, but these classes are none: "
                f"{listed(unknown)}. Name them like 'digit 3', 'letter a' or 'capital letter A', or choose "
                "another generator; for the strategy 'retrieved', give images as generator.retrieved"
            )

    def check_prompts(self, prompts: Sequence[str], *, keep_last: bool) -> None:
        """Accept every prompt: prompts have no effect."""

    def learn_classes(self, words: Sequence[str], *, seed: int) -> None:
        """Do nothing: the class alone decides the character."""

    def strength_at(self, snr: float, *, sampler: str, steps: int) -> float:
        """Return 1, since no image starts from a real one; sampler and steps have no effect.

        Raises:
            InputError: for any ratio other than 1, the value that stands for pure noise.
        """
        if snr != 1:
            raise _cannot_start()
        return 1.0

    def draw(
        self, rows: Sequence[PlanRow], sources: LabelledSet | None = None, tokens: Tensor | None = None
    ) -> np.ndarray:
        """Render one character per row; the seed of the row decides font, place, blur and colours.

        Args:
            rows: N rows; their prompts, samplers, steps and guidance have no effect.
            sources: real train images, which have no effect.
            tokens: must be None.

        Returns:
            uint8 of shape (N, 3, H, W).

        Raises:
            InputError: for a class that is no character, and for rows that start from a real image or are
                guided by one.
        """
        if tokens is not None:
            raise InputError("the generator 'glyphs' has no encoder for visual guidance: leave it out")
        if any(row.strength < 1 for row in rows):
            raise _cannot_start()
        self.available([row.class_name for row in rows])
        return np.stack([self._render(row) for row in rows])

    def _render(self, row: PlanRow) -> np.ndarray:
        glyph = glyphs.random_glyph(np.random.default_rng(row.seed), _CHARACTERS[row.class_name])
        return glyphs.render(glyph, self._size).transpose(2, 0, 1)


_CHARACTERS = {glyphs.name_of(character): character for character in glyphs.CHARACTERS} | {
    character: character for character in glyphs.CHARACTERS
}
"""The character of each class name: ``digit 3`` or plain ``3``."""


def _cannot_start() -> InputError:
    return InputError(
        "rendered characters (generator 'glyphs') cannot start from real images: leave draw.strength and "
        "draw.start_snr out"
    )
