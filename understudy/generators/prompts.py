"""Prompt templates: named sets and files, the choice of one per image, and their placeholders."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from understudy.core.errors import InputError
from understudy.core.registry import Registry

PLACEHOLDERS = ("{class}", "{caption}", "{token}")

REAL_FAKE_NEGATIVE = "distorted, unrealistic, blurry, out of frame, cropped, deformed"
"""The negative prompt of Yuan et al. 2024 (arXiv:2310.10402)."""

TEMPLATES: Registry[tuple[str, ...]] = Registry("template set")

TEMPLATES.register(
    "real-fake-train", summary="the caption of a real image as in Yuan et al. 2024 (arXiv:2310.10402)"
)(("photo of {class}, {caption}",))
TEMPLATES.register(
    "real-fake-draw", summary="the prompt for drawing as in Yuan et al. 2024 (arXiv:2310.10402)"
)(("photo of {class}, {caption}, best quality",))
TEMPLATES.register(
    "photographs", summary="thirty ways to take a photo: light, distance, angle, quality, medium"
)(
    (
        "a photo of {class}",
        "a snapshot showing {class}",
        "a colour photograph with {class} in it",
        "{class} in bright daylight",
        "{class} in the evening sun",
        "{class} at night, lit by a lamp",
        "{class} on an overcast day",
        "{class} against the light",
        "{class} photographed with flash",
        "{class} seen from close by",
        "{class} filling the whole frame",
        "{class} far away in a wide view",
        "a detail of {class}",
        "{class} from above",
        "{class} from below",
        "{class} from the side",
        "{class} at the edge of the picture",
        "{class} partly hidden behind something",
        "several of {class} side by side",
        "{class} indoors",
        "{class} outdoors",
        "{class} in front of a plain background",
        "{class} in a cluttered scene",
        "a sharp studio shot of {class}",
        "a grainy photo of {class}",
        "a photo of {class}, slightly out of focus",
        "a small, compressed image of {class}",
        "a faded old print of {class}",
        "{class} in shades of grey",
        "a phone picture of {class}",
    )
)
TEMPLATES.register(
    "photographs-and-art",
    summary="eighty ways to show something: the photographs, and fifty more with drawings, crafts and games",
)(
    (
        *TEMPLATES["photographs"],
        "{class} in the rain",
        "{class} in the snow",
        "{class} in thick fog",
        "{class} through a window",
        "{class} mirrored in water",
        "{class} on a tilted horizon",
        "an overexposed shot of {class}",
        "a nearly black shot of {class}",
        "{class} cut off by the frame",
        "a news picture with {class}",
        "{class} from a catalogue",
        "{class} in a film scene",
        "a pencil study of {class}",
        "an ink drawing of {class}",
        "{class} in charcoal",
        "{class} in chalk on a board",
        "{class} in watercolour",
        "{class} in oil on canvas",
        "{class} on a mural",
        "{class} on a poster",
        "{class} in a comic strip",
        "{class} in a picture book",
        "{class} in an animated film",
        "a woodcut of {class}",
        "an old engraving of {class}",
        "a stencil of {class}",
        "{class} sprayed on a wall",
        "a mosaic with {class}",
        "{class} in stained glass",
        "{class} cut out of paper",
        "{class} folded from paper",
        "{class} formed in clay",
        "{class} carved in wood",
        "a bronze of {class}",
        "{class} in marble",
        "{class} built from toy bricks",
        "{class} as a stuffed animal",
        "{class} knitted from wool",
        "{class} stitched on cloth",
        "{class} woven into a carpet",
        "{class} inked on skin",
        "{class} on a shirt",
        "{class} on a postage stamp",
        "a coin with {class}",
        "an icon for {class}",
        "a technical drawing of {class}",
        "{class} as a child would draw it",
        "a computer graphic of {class}",
        "{class} in pixel art",
        "{class} in a computer game",
    )
)


def read_templates(text: str, *, needs_class: bool, has_token: bool = False) -> tuple[str, ...]:
    """Resolve a prompt setting to templates.

    Args:
        text: the name of a registered set, the path of a UTF-8 file with one template per line (empty lines
            ignored), or a template itself, which may be empty.
        needs_class: whether every template must have ``{class}``; false for negative prompts.
        has_token: whether every template must have ``{token}``; if false, none may have it.

    Returns:
        At least one template.

    Raises:
        InputError: for a template without a required placeholder, with ``{token}`` if there is no token, with
            an unknown placeholder or a stray brace; and for a file that is missing, empty or not text.
    """
    if text in TEMPLATES:
        for template in TEMPLATES[text]:
            _check_token(template, has_token=has_token)
        return TEMPLATES[text]
    path = template_file(text)
    templates = (text,) if path is None else _from_file(path)
    for template in templates:
        _check_placeholders(template)
        if needs_class and "{class}" not in template:
            raise _missing_class(template, where="" if path is None else f" in {path}")
        _check_token(template, has_token=has_token)
    return templates


def template_file(text: str) -> Path | None:
    """The file that a prompt setting names; None for a template set or a template.

    Raises:
        InputError: for text such as ``x.txt`` without such a file.
    """
    if text in TEMPLATES:
        return None
    try:
        if text and Path(text).is_file():
            return Path(text)
    except (OSError, ValueError):  # too long for a path, or with a null byte
        return None
    if re.fullmatch(r"[^\s{}]+\.txt", text):
        raise InputError(f"template file {text} must exist: give a file with one template per line")
    return None


def choose(templates: Sequence[str], seed: int) -> str:
    """Choose one template; the choice depends only on the seed.

    Args:
        templates: at least one.
        seed: any integer; different seeds choose independently.

    Example:
        >>> choose(("photo of {class}", "{class} at night"), 3)
        '{class} at night'
    """
    digest = hashlib.sha256(f"template:{seed}".encode()).digest()
    return templates[int.from_bytes(digest[:8], "big") % len(templates)]


def fill(template: str, *, words: str, caption: str, token: str = "") -> str:
    """Replace the placeholders of a template; braces in the inserted texts are kept.

    Args:
        template: from :func:`read_templates`.
        words: what prompts call the class.
        caption: caption of the image; if empty, the comma and space before its placeholder go as well.
        token: the learned token, or an empty string.

    Raises:
        InputError: if the token also occurs in the class name, the caption or the text of the template,
            because the tokenizer would find it there too.

    Example:
        >>> fill("photo of {class}, {caption}, best quality", words="cat", caption="")
        'photo of cat, best quality'
    """
    if not caption.strip():
        template = re.sub(r"^(?:[,\s]*\{caption\})+[,\s]*|[,\s]*\{caption\}", "", template)
    values = {"{class}": words, "{caption}": caption, "{token}": token}
    # One pass over the template, so that inserted texts are not searched for placeholders.
    filled = re.sub(r"\{class\}|\{caption\}|\{token\}", lambda match: values[match[0]], template)
    if token and filled.lower().count(token.lower()) != template.count("{token}"):
        raise InputError(
            f"adapt.token must not occur in class names, captions or other text of a prompt, got {token!r} "
            f"in {filled!r}: choose another token"
        )
    return filled


def _from_file(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"template file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"template file {path} must be UTF-8 text, one template per line") from None
    templates = tuple(line.strip() for line in lines if line.strip())
    if not templates:
        raise InputError(f"template file {path} must have one template per line, but is empty")
    return templates


def _check_placeholders(template: str) -> None:
    known = f"{', '.join(PLACEHOLDERS[:-1])} and {PLACEHOLDERS[-1]}"
    unknown = [name for name in re.findall(r"\{[^{}]*\}", template) if name not in PLACEHOLDERS]
    if unknown:
        raise InputError(f"placeholders of a prompt must be {known}, got {unknown[0]} in {template!r}")
    if re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", template)):
        raise InputError(f"braces of a prompt must enclose a placeholder ({known}), got {template!r}")


def _check_token(template: str, *, has_token: bool) -> None:
    if has_token and "{token}" not in template:
        raise InputError(
            f"a prompt must have {{token}}, got {template!r}: without it, the learned token has no effect; "
            "add it, or change adapt.method"
        )
    if "{token}" in template and not has_token:
        raise InputError(
            "{token} may occur only in adapt.prompt and draw.prompt, and only with adapt.method "
            f"style-inversion, textual-inversion or neutral-token, got {template!r}: leave it out, or change "
            "adapt.method"
        )


def _missing_class(template: str, *, where: str) -> InputError:
    expected = f"a prompt must have {{class}}, got {template!r}{where}"
    if where or not template or re.search(r"[\s{}]", template):
        return InputError(f"{expected}: add it, or name a template set ({', '.join(TEMPLATES)})")
    try:
        TEMPLATES[template]
    except InputError as error:  # a single word may be the mistyped name of a set: the error suggests one
        return InputError(f"{expected}: {error}")
    raise AssertionError(f"{template!r} is the name of a set")
