"""Whether CLIP knows the classes by their words, and what people are told."""

import numpy as np
import pytest
from tiny import save_tiny_clip, two_classes

from understudy.commands.validate import validate
from understudy.data.load import load_splits
from understudy.generators.zero_shot import load_zero_shot
from understudy.pipeline.class_words import about_words, known_words, notes_on_words
from understudy.pipeline.run import run
from understudy.settings import build

DIGITS = {"data": {"source": "digits", "shots": 20}}
NAMES = [f"digit {label}" for label in range(10)]


@pytest.fixture(scope="module")
def splits():
    return load_splits(build(DIGITS).data, seed=0)


def measured(splits, names=NAMES, **changes):
    return known_words(build(DIGITS, changes), splits.train, names, device="cpu")


def test_mini_knows_digits_by_their_words_and_not_by_others(splits):
    found = measured(splits)
    assert (found["images"], found["chance"], found["knows"]) == (200, 0.1, True)
    shifted = measured(splits, [*NAMES[1:], NAMES[0]])
    assert shifted["knows"] is False
    assert shifted["agreement"]["mean"] < found["agreement"]["mean"]


def test_the_share_is_that_of_clip_over_a_few_images_of_each_class(tmp_path):
    save_tiny_clip(tmp_path)
    data = two_classes(300)
    settings = build(DIGITS, {"curate": {"clip": str(tmp_path), "score": "clip"}})
    found = known_words(settings, data, ("cat", "dog"), device="cpu")
    judge = load_zero_shot(
        str(tmp_path),
        settings.generator,
        class_names=data.class_names,
        prompt_names=("cat", "dog"),
        device="cpu",
    )
    first = np.concatenate([np.flatnonzero(data.labels == label)[:100] for label in (0, 1)])
    right = judge.predict(data).argmax(axis=1)[first] == data.labels[first]
    assert found["images"] == 200
    assert found["agreement"]["mean"] == pytest.approx(right.mean())


def test_nothing_is_measured_without_clip_or_with_words_that_it_cannot_read(splits):
    assert measured(splits, generator={"name": "class_conditional"}) is None
    assert measured(splits, ["word " * 200, *NAMES[1:]]) is None
    assert about_words(None) == ""


def test_ambiguous_words_are_named(splits):
    """One class has words that mean something else; mini knows the other nine."""
    assert notes_on_words(None) == ()
    assert notes_on_words(plain := measured(splits)) == (about_words(plain),)
    found = measured(splits, [*NAMES[:7], "letter W", *NAMES[8:]])
    assert found["knows"] is True
    assert found["unmatched"] == [{"class": "digit 7", "right": 0, "images": 20, "taken_for": "digit 9"}]
    _, told = notes_on_words(found)
    assert told.startswith("warning: words: CLIP does not match these classes")
    assert "'digit 7' (0 of 20 images, most others are taken for 'digit 9')" in told
    assert "--class-names" in told


def test_words_that_are_the_same_for_clip_are_named(splits):
    found = measured(splits, ["DIGIT 1", *NAMES[1:]])
    assert found["same"] == [["digit 0", "digit 1"]]
    assert "'digit 0' and 'digit 1'" in notes_on_words(found)[-1]


@pytest.mark.slow
def test_validate_says_it_and_a_run_warns(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("\n".join(f"digit {label}: digit {(label + 1) % 10}" for label in range(10)))
    renamed = {"data": {**DIGITS["data"], "class_names": str(words)}}
    scored = {"curate": {"score": "clip"}}
    told = [note for note in validate(build(DIGITS, scored)).notes if "CLIP names" in note]
    assert len(told) == 1
    assert not told[0].startswith("warning")
    assert any(note.startswith("warning: CLIP names") for note in validate(build(renamed, scored)).notes)
    assert not any("CLIP names" in note for note in validate(build(renamed)).notes), (
        "loads no network for this alone"
    )
    warned = run(build(renamed), tmp_path / "run", until="load")["load"]
    assert any(note.startswith("warning: CLIP names") for note in warned["notes"])
    assert warned["known_words"]["knows"] is False
    right = run(build(DIGITS), tmp_path / "right", until="load")["load"]
    assert not any("CLIP" in note for note in right["notes"])


@pytest.mark.slow
def test_validate_and_a_run_warn_of_ambiguous_words(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("\n".join(f"{name}: {'letter W' if name == 'digit 7' else name}" for name in NAMES))
    renamed = {"data": {**DIGITS["data"], "class_names": str(words)}}
    checked = validate(build(renamed, {"curate": {"score": "clip"}})).notes
    warned = run(build(renamed), tmp_path / "run", until="load")["load"]["notes"]
    for notes in (checked, warned):
        (told,) = (note for note in notes if note.startswith("warning: words:"))
        assert "does not match these classes with their words" in told and "'digit 7'" in told
