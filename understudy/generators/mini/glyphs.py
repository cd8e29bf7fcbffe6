"""Printed glyphs, the images that ``mini`` is pretrained on.

Every image shows one printed character in a font that ships with matplotlib, with varied weight, slant, size,
position, blur and contrast. Every image has a caption that names the character and some of these properties,
so that a text encoder has something to learn.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFilter, ImageFont

DIGITS = string.digits
LETTERS = string.ascii_lowercase + string.ascii_uppercase
CHARACTERS = DIGITS + LETTERS

_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEMPLATES = (
    "a photo of {}",
    "a photo of the {}",
    "photo of {}",
    "a picture of {}",
    "a printed {}",
    "a {} photo",
    "{}",
)
# Bakoma and STIX files that hold mathematical symbols, and the fallback font that draws a box for everything.
_NOT_TEXT = ("cmex", "cmsy", "cmmi", "STIXSiz", "STIXNonUni", "Display", "LastResort")
_SUPERSAMPLING = 4  # glyphs are drawn at four times the final size, then reduced, for smooth edges


@dataclass(frozen=True, kw_only=True)
class Glyph:
    """One printed character and its looks.

    Attributes:
        character: one of ``CHARACTERS``.
        font: file name of the font within matplotlib's font folder.
        stroke: pixels (of 32) added around the outline, 0 to 1.5.
        shear: horizontal shift per vertical unit, -0.35 to 0.35; positive leans right.
        rotation: degrees, -10 to 10.
        height: height of the drawn glyph as a fraction of the image, 0.5 to 0.95.
        offset: horizontal and vertical shift as fractions of the image.
        blur: standard deviation of the Gaussian blur in pixels (of 32), 0 to 1.8.
        ink, paper: grey levels of glyph and background, 0 to 1.
        tint: factor of each colour channel, 0.3 to 1; (1, 1, 1) is grey.
    """

    character: str
    font: str
    stroke: float
    shear: float
    rotation: float
    height: float
    offset: tuple[float, float]
    blur: float
    ink: float
    paper: float
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def properties(self) -> tuple[str, ...]:
        """The words that a caption may use for this glyph's look."""
        if "Mono" in self.font or "cmtt" in self.font:
            words = ["mono"]
        else:
            words = ["sans" if "Sans" in self.font or "cmss" in self.font else "serif"]
        words.append("bold" if "Bol" in self.font or "cmb" in self.font or self.stroke > 0.9 else "regular")
        if "Obl" in self.font or "Ita" in self.font or "cmti" in self.font or self.shear > 0.15:
            words.append("italic")
        if self.height > 0.82:
            words.append("large")
        if self.height < 0.62:
            words.append("small")
        words.append("blurred" if self.blur > 0.9 else "sharp")
        if abs(self.ink - self.paper) < 0.55:
            words.append("faint")
        words.append("white on black" if self.ink > self.paper else "black on white")
        return tuple(words)


@lru_cache(maxsize=1)
def fonts() -> tuple[str, ...]:
    """File names of matplotlib's bundled fonts that hold all of ``CHARACTERS``, sorted."""
    folder = _font_folder()
    names = sorted(path.name for path in folder.glob("*.ttf") if not path.name.startswith(_NOT_TEXT))
    names = [name for name in names if not any(part in name for part in _NOT_TEXT)]
    return tuple(
        name for name in names if all(FT2Font(str(folder / name)).get_char_index(ord(c)) for c in CHARACTERS)
    )


def name_of(character: str) -> str:
    """The class name of a character: ``digit 3``, ``letter a``, ``capital letter A``.

    Example:
        >>> name_of("3"), name_of("a"), name_of("A")
        ('digit 3', 'letter a', 'capital letter A')
    """
    if character in DIGITS:
        return f"digit {character}"
    return f"letter {character}" if character.islower() else f"capital letter {character}"


def random_glyph(rng: np.random.Generator, characters: str = CHARACTERS) -> Glyph:
    """A glyph with every property drawn at random."""
    light_on_dark = rng.random() < 0.75
    low, high = rng.uniform(0.0, 0.3), rng.uniform(0.55, 1.0)
    return Glyph(
        character=characters[rng.integers(len(characters))],
        font=fonts()[rng.integers(len(fonts()))],
        stroke=max(0.0, rng.uniform(-0.75, 1.5)),
        shear=rng.uniform(-0.35, 0.35) * (rng.random() < 0.6),
        rotation=rng.uniform(-10, 10) * (rng.random() < 0.6),
        height=rng.uniform(0.5, 0.95),
        offset=(rng.uniform(-0.08, 0.08), rng.uniform(-0.08, 0.08)),
        blur=max(0.0, rng.uniform(-0.6, 1.8)),
        ink=high if light_on_dark else low,
        paper=low if light_on_dark else high,
        tint=_random_tint(rng),
    )


def render(glyph: Glyph, size: int = 32) -> np.ndarray:
    """Draw a glyph.

    Args:
        glyph: what to draw.
        size: width and height in pixels.

    Returns:
        uint8 of shape (size, size, 3).
    """
    canvas_size = size * _SUPERSAMPLING
    scale = canvas_size / 32  # pixels of the canvas per pixel of a 32-pixel image
    font = _font(glyph.font, canvas_size)
    stroke = round(glyph.stroke * scale)
    left, top, right, bottom = font.getbbox(glyph.character, stroke_width=stroke)
    # Zoom so that the drawn glyph has the wanted height, but never runs wider than the image.
    zoom = min(glyph.height * canvas_size / (bottom - top), 0.95 * canvas_size / (right - left))
    mask = Image.new("L", (canvas_size, canvas_size), 0)
    centre = ((canvas_size - left - right) / 2, (canvas_size - top - bottom) / 2)
    ImageDraw.Draw(mask).text(centre, glyph.character, fill=255, font=font, stroke_width=stroke)
    mask = mask.transform(
        mask.size,
        Image.Transform.AFFINE,
        _inverse_affine(glyph, canvas_size, zoom),
        Image.Resampling.BILINEAR,
    )
    mask = mask.filter(ImageFilter.GaussianBlur(glyph.blur * scale)).resize(
        (size, size), Image.Resampling.BOX
    )
    ink = np.asarray(mask, dtype=np.float64) / 255
    grey = glyph.paper + (glyph.ink - glyph.paper) * ink
    image: np.ndarray = np.round(255 * grey[..., None] * np.array(glyph.tint)).astype(np.uint8)
    return image


def caption(glyph: Glyph, rng: np.random.Generator) -> str:
    """A random caption: a template around the character's name, then about half of its properties."""
    name = name_of(glyph.character)
    if glyph.character in DIGITS and rng.random() < 0.3:
        name = str(rng.choice([glyph.character, _NUMBER_WORDS[int(glyph.character)]]))
    words = [word for word in glyph.properties if rng.random() < 0.4]
    sentence = _TEMPLATES[rng.integers(len(_TEMPLATES))].format(name)
    return f"{sentence}, {' '.join(words)}" if words else sentence


def _random_tint(rng: np.random.Generator) -> tuple[float, float, float]:
    """Grey for four glyphs of five, so that colour is known but rare."""
    red, green, blue = rng.uniform(0.3, 1.0, size=3) if rng.random() < 0.2 else (1.0, 1.0, 1.0)
    return float(red), float(green), float(blue)


def _font_folder() -> Path:
    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@lru_cache(maxsize=64)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_font_folder() / name), round(size * 0.8))


def _inverse_affine(glyph: Glyph, size: int, zoom: float) -> tuple[float, float, float, float, float, float]:
    """Coefficients that map an output pixel to the input pixel, as Pillow wants them."""
    angle = np.deg2rad(glyph.rotation)
    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = rotate @ np.array([[1.0, -glyph.shear], [0.0, 1.0]]) * zoom
    inverse = np.linalg.inv(forward)
    target = size / 2 + size * np.array(glyph.offset)
    shift = size / 2 - inverse @ target
    return (*inverse[0], shift[0], *inverse[1], shift[1])
