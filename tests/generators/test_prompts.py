from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.errors import InputError
from understudy.generators.prompts import REAL_FAKE_NEGATIVE, TEMPLATES, choose, fill, read_templates

TEXTS = st.text(max_size=30)


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_registered_sets(name: str) -> None:
    templates = read_templates(name, needs_class=True)
    assert len(set(templates)) == len(templates) > 0
    assert all(read_templates(template, needs_class=True) == (template,) for template in templates)


def test_the_papers_own() -> None:
    assert read_templates("real-fake-train", needs_class=True) == ("photo of {class}, {caption}",)
    assert read_templates("real-fake-draw", needs_class=True) == (
        "photo of {class}, {caption}, best quality",
    )
    assert read_templates(REAL_FAKE_NEGATIVE, needs_class=False) == (REAL_FAKE_NEGATIVE,)
    assert len(TEMPLATES["photographs"]) == 30
    assert len(TEMPLATES["photographs-and-art"]) == 80
    assert set(TEMPLATES["photographs"]) < set(TEMPLATES["photographs-and-art"])


@pytest.mark.parametrize(
    "text", ["a photo of {class}", "{class}", "{class} {class}", "{class}, {caption}", " {class}"]
)
def test_templates_themselves(text: str) -> None:
    assert read_templates(text, needs_class=True) == (text,)


@pytest.mark.parametrize("text", ["", "blurry", "blurry, cropped", "{caption}", "x" * 5000, "a\0b"])
def test_negative_prompts_need_no_class(text: str) -> None:
    assert read_templates(text, needs_class=False) == (text,)


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my prompts.txt").write_text(
        "\ufeffphoto of {class}\n\n  {class}, {caption} \n", encoding="utf-8"
    )
    expected = ("photo of {class}", "{class}, {caption}")
    assert read_templates(str(tmp_path / "my prompts.txt"), needs_class=True) == expected
    monkeypatch.chdir(tmp_path)
    assert read_templates("my prompts.txt", needs_class=True) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            (
                r"a prompt must have \{class\}, got '': add it, or name a template set \(photographs, "
                r"photographs-and-art, real-fake-draw, real-fake-train\)"
            ),
        ),
        ("a photo", r"must have \{class\}, got 'a photo': add it"),
        ("{caption}", r"must have \{class\}, got '\{caption\}'"),
        (
            "photograph",
            r"must have \{class\}, got 'photograph': unknown template set .*did you mean 'photographs'",
        ),
        (
            "photo of {label}",
            (
                r"placeholders of a prompt must be \{class\}, \{caption\} and \{token\}, got \{label\} in "
                r"'photo of"
            ),
        ),
        ("photo of {}, {class}", r"got \{\} in"),
        ("photo of {class", r"braces of a prompt must enclose a placeholder"),
        ("photo of {{class}}", r"braces of a prompt must enclose a placeholder"),
        ("gone/prompts.txt", r"template file gone/prompts\.txt must exist"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_templates(text, needs_class=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must have one template per line, but is empty"),
        (b"\n  \n", "but is empty"),
        (b"\xff\xfe\x00\xd8", "must be UTF-8 text, one template per line"),
        (b"{class}\nphoto", r"must have \{class\}, got 'photo' in .*t\.txt: add it"),
        (b"{klass}", r"must be \{class\}, \{caption\} and \{token\}, got \{klass\}"),
    ],
)
def test_file_errors(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_templates(str(tmp_path / "t.txt"), needs_class=True)


def test_a_learned_token_has_its_place() -> None:
    styled = "A {class} photo in the style of {token}"
    assert read_templates(styled, needs_class=True, has_token=True) == (styled,)
    assert read_templates("{token}", needs_class=False, has_token=True) == ("{token}",)
    assert fill(styled, words="cat", caption="", token="S*") == "A cat photo in the style of S*"  # noqa: S106
    for needs_class in (True, False):
        with pytest.raises(
            InputError,
            match=r"\{token\} may occur only in adapt.prompt and draw.prompt, .* got 'A \{class\}",
        ):
            read_templates(styled, needs_class=needs_class)
    for text in ("photographs", "a photo of {class}"):
        with pytest.raises(
            InputError,
            match=r"a prompt must have \{token\}, got 'a photo of \{class\}': without it, the learned",
        ):
            read_templates(text, needs_class=True, has_token=True)


@pytest.mark.parametrize(
    ("words", "template"),
    [("boss*", "{class} {token}"), ("cat", "s* {class} {token}"), ("S*", "{class} {token}")],
)
def test_a_token_that_is_also_part_of_other_words(words: str, template: str) -> None:
    with pytest.raises(
        InputError,
        match=r"adapt.token must not occur in class names, captions or other text of a prompt, got 'S\*' in",
    ):
        fill(template, words=words, caption="", token="S*")  # noqa: S106


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "t.txt").touch()
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(InputError, match=r"t\.txt cannot be read: Permission denied"):
        read_templates(str(tmp_path / "t.txt"), needs_class=True)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("photo of {class}, {caption}", "photo of cat"),
        ("photo of {class}, {caption}, best quality", "photo of cat, best quality"),
        ("photo of {class} , {caption}", "photo of cat"),
        ("{caption}, photo of {class}", "photo of cat"),
        ("{caption}, {caption}, {class}", "cat"),
        ("a {caption} {class}", "a cat"),
        ("{caption}", ""),
        (" {class}, ", " cat, "),
    ],
)
@pytest.mark.parametrize("caption", ["", " \n"])
def test_an_empty_caption_takes_its_comma_along(template: str, expected: str, caption: str) -> None:
    assert fill(template, words="cat", caption=caption) == expected


@given(words=TEXTS, caption=TEXTS.filter(str.strip))
def test_what_is_filled_in_comes_out_literally(words: str, caption: str) -> None:
    assert (
        fill("a {class}, {caption}; {class}", words=words, caption=caption)
        == f"a {words}, {caption}; {words}"
    )


@given(
    words=st.sampled_from(["{caption}", "{class}", "{", "{0}", "\\1", "%s"]),
    caption=st.sampled_from(["{class}", "{caption}", "\\g<0>"]),
)
def test_braces_in_words_are_not_placeholders(words: str, caption: str) -> None:
    assert fill("{class} {caption}", words=words, caption=caption) == f"{words} {caption}"


@given(parts=st.lists(st.sampled_from(["{class}", "{caption}", ", ", " ", "photo"]), max_size=8))
def test_no_caption_leaves_no_trace(parts: list[str]) -> None:
    """Without a caption the words around its place stay, in their order, and nothing new appears."""
    template = "".join(parts)
    filled = fill(template, words="cat", caption="")
    assert "{" not in filled
    assert re.findall(r"cat|photo", filled) == re.findall(r"cat|photo", template.replace("{class}", "cat"))
    assert len(filled) <= len(template)
    if parts and parts[0] == "{caption}":
        assert not filled.startswith((",", " "))


@given(seed=st.integers(), templates=st.lists(TEXTS, min_size=1, max_size=5))
def test_the_seed_alone_chooses(seed: int, templates: list[str]) -> None:
    assert choose(templates, seed) == choose(tuple(templates), seed)
    assert choose(templates, seed) in templates
    assert choose(templates[:1], seed) == templates[0]


def test_every_template_is_chosen_about_equally_often() -> None:
    counts = Counter(choose("abcd", seed) for seed in range(4000))
    assert set(counts) == set("abcd")
    assert all(900 < count < 1100 for count in counts.values())  # 1000 +- 3.6 standard deviations
