"""A generator that renders printed characters, the images that ``mini`` was pretrained on.

As a control it shows what further images of the classes are worth without any generative model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.labelled_set import LabelledSet
from understudy.generators.generator import PlanRow
from understudy.generators.mini import glyphs
from understudy.generators.ready_made import AbstractReadyMade
from understudy.generators.settings import GeneratorSettings

if TYPE_CHECKING:
    from torch import Tensor

_SIZE = 32
_USED = ("name", "resolution")


@final
class GlyphGenerator(AbstractReadyMade):
    """Renders a random printed character of the class; it has no network and ignores prompts.

    Args:
        settings: ``resolution`` is used, 32 pixels if it is not set.

    Raises:
        InputError: for settings that have no effect here.
    """

    described: ClassVar[str] = "rendered characters (generator 'glyphs')"

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
                "classes must be printed characters, such as 'digit 3', 'letter a' or 'capital letter A', "
                f"but these are none: {listed(unknown)}",
                ": rename them, or choose another generator than 'glyphs'",
            )

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
        self._check_rows(rows, tokens)
        self.available([row.class_name for row in rows])
        return np.stack([self._render(row) for row in rows])

    def _render(self, row: PlanRow) -> np.ndarray:
        glyph = glyphs.random_glyph(np.random.default_rng(row.seed), _CHARACTERS[row.class_name])
        return glyphs.render(glyph, self._size).transpose(2, 0, 1)


_CHARACTERS = {glyphs.name_of(character): character for character in glyphs.CHARACTERS} | {
    character: character for character in glyphs.CHARACTERS
}
"""The character of each class name: ``digit 3`` or plain ``3``."""
