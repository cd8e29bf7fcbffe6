"""`understudy preview`."""

import re
import shlex

import numpy as np
import pytest
from PIL import Image
from tiny import two_classes
from tiny_job import OPTIONS, SECTIONS, Listener, tree, write_pets

from understudy.commands.few_images import draw_a_few
from understudy.settings import build

pytestmark = pytest.mark.slow  # whole jobs


def test_preview_draws_a_few_and_estimates(understudy, tmp_path, tiny_pipeline_folder):
    write_pets("pets")
    before = tree(tmp_path)
    code, out, err = understudy(
        "preview", "pets", "--to", "new/sheet.png", "--generator", tiny_pipeline_folder, *OPTIONS
    )
    assert code == 0
    assert err == ""
    assert set(tree(tmp_path)) - set(before) == {"new", "new/sheet.png"}
    sheet = Image.open("new/sheet.png")
    # Two columns; four real images, a gap and four drawn ones; 16 pixels enlarged four times.
    assert (sheet.format, sheet.size) == ("PNG", (2 * 64, 4 * 64 + 16 + 4 * 64))
    assert len(np.unique(np.asarray(sheet.convert("L")))) > 10
    assert [
        name
        for name in ("adapt", "draw", "compare", "total", "disk", "for 6 images at", "images/s")
        if name not in out
    ] == []


def test_the_next_command_has_the_same_options(understudy, tiny_pipeline_folder):
    """It can be pasted into a shell, whatever the names are."""
    write_pets("my pets")
    options = ("--generator", tiny_pipeline_folder, *OPTIONS, "--seed", 3, "--skip-bad")
    _, out, _ = understudy("validate", "my pets", *options, "--all")
    *_, last = out.splitlines()
    words = shlex.split(last.removeprefix("next: understudy "))
    assert words[:2] == ["preview", "my pets"]
    assert sorted(words[2:]) == sorted(map(str, options))
    code, out, _ = understudy(*words, "--images", 1, "--repeats", 2)
    assert (code, "preset standard" in out) == (0, True)
    *_, last = out.splitlines()
    after = shlex.split(last.removeprefix("next: understudy "))
    assert after == ["run", *words[1:], "--repeats", "2"]


def test_the_next_command_works_for_images_whose_name_begins_with_a_dash(understudy, tiny_pipeline_folder):
    write_pets("-pets")
    options = ("--generator", tiny_pipeline_folder, *OPTIONS)
    *_, last = understudy("validate", *options, "--", "-pets")[1].splitlines()
    words = shlex.split(last.removeprefix("next: understudy "))
    code, out, _ = understudy(*words)
    assert code == 0
    *_, last = out.splitlines()
    assert shlex.split(last.removeprefix("next: understudy "))[-2:] == ["--", "-pets"]


@pytest.mark.parametrize(("images", "columns"), [(1, 1), (3, 2), (100, 2)])
def test_fewer_images_can_be_drawn(images, columns, understudy, tmp_path, tiny_pipeline_folder):
    """Large generators take minutes for an image on a CPU."""
    write_pets("pets")
    words = ("preview", "pets", "--to", "sheet.png", "--images", images, "--generator", tiny_pipeline_folder)
    code, _, err = understudy(*words, *OPTIONS)
    assert (code, err) == (0, "")
    with Image.open("sheet.png") as sheet:
        assert sheet.width == columns * 64


def test_sets_with_fewer_images_than_a_preview_shows_are_drawn_from(pets, tmp_path):
    """One ready-made cat, two dogs: a run takes what there is."""
    two_classes(4, split="synthetic", seed=5).select([0, 1, 3]).save(tmp_path / "made.parquet")
    two_classes(4, split="synthetic", seed=5).select([1, 3]).save(tmp_path / "dogs.parquet")

    def drawn(made, images=None, seconds=None):
        settings = build(
            {key: value for key, value in SECTIONS.items() if key != "adapt"},
            {
                "data": {"source": str(pets)},
                "generator": {"name": "folder", "images": [str(tmp_path / made)]},
            },
        )
        few = draw_a_few(settings, device="cpu", images=images, seconds=seconds)
        return few.drawn.counts.tolist()

    assert [drawn("made.parquet", images) for images in (None, 3, 1)] == [[1, 2], [1, 1], [1, 0]]
    assert drawn("made.parquet", seconds=1e-9) == [1, 0]
    assert [drawn("dogs.parquet", images) for images in (None, 1)] == [[0, 2], [0, 1]]


@pytest.mark.parametrize(("share", "refills"), [(0.5, 6), (1.0, 0)])
def test_images_that_will_be_rejected_are_drawn_again_in_the_estimate(
    share, refills, understudy, tiny_pipeline_folder, monkeypatch
):
    """Half of the first six are missing, so six more are drawn."""
    monkeypatch.setattr("understudy.commands.measuring.recognised", lambda *_, **__: (share, ""))
    write_pets("pets")
    words = ("preview", "pets", "--to", "sheet.png", "--images", 1, "--generator", tiny_pipeline_folder)
    code, out, _ = understudy(*words, *OPTIONS)
    assert code == 0
    found = re.search(r"with (\d+) images in place of rejected ones", out)
    assert (int(found[1]) if found else 0) == refills


def test_no_images_are_refused(understudy, tiny_pipeline_folder):
    write_pets("pets")
    code, _, err = understudy("preview", "pets", "--images", 0, "--generator", tiny_pipeline_folder, *OPTIONS)
    assert code == 2
    assert "--images must be at least 1, got 0" in err


def test_a_generator_that_knows_the_classes_is_told_from_one_that_has_learned_nothing(understudy):
    few = ("--shots", 5, "--set", "draw.steps=4", "--set", "adapt.steps=2", "--set", "compare.steps=2")
    code, out, _ = understudy("preview", "digits", "--to", "sheet.png", *few)
    told = " ".join(out.split())
    assert code == 0
    assert re.search(
        r"the generator before adaptation: \d+% \[\d+%, \d+%\] of 100 drawn images and \d+% of val", told
    )
    assert "does not know" not in told
    scratch = ("--generator", "class_conditional", "--set", "generator.patch=4", "--images", 2)
    code, out, _ = understudy("preview", "digits", "--to", "other.png", *few, *scratch)
    assert (code, "nearest to the real images" in out) == (0, False), "it is random before adaptation"


def test_a_generator_of_another_domain_is_told(understudy, tiny_pipeline_folder):
    """Random weights, ten classes, a hundred images: enough to say so."""
    few = ("--shots", 5, "--set", "draw.steps=2", "--set", "adapt.steps=2", "--set", "compare.steps=2")
    given = ("--generator", tiny_pipeline_folder, "--set", "adapt.method=none", *few[:4], *few[-2:])
    code, out, _ = understudy("preview", "digits", "--to", "sheet.png", *given)
    told = " ".join(out.split())
    assert code == 0
    assert "of 100 drawn images" in told and "It does not know such images; use a pipeline" in told
    apart = re.search(
        r"tell drawn from real images with an AUC of (\S+) .* other real images with (\S+) ", told
    )
    assert float(apart[1]) > 0.9 > 0.75 > float(apart[2])


def test_a_slow_generator_says_how_long_it_takes_before_it_draws(pets, tmp_path, monkeypatch):
    monkeypatch.setattr("understudy.commands.few_images._PATIENCE", 0.0)
    settings = build(SECTIONS, {"data": {"source": str(pets)}, "generator": {"name": "mini"}})
    told = Listener()
    few = draw_a_few(settings, device="cpu", observer=told)
    assert few.drawn.counts.tolist() == [4, 4], "no more than the picture shows"
    assert any(re.match("drawing 8 images takes .*; --images 10 draws", line) for line in told.lines)
    monkeypatch.undo()
    assert draw_a_few(settings, device="cpu").drawn.counts.tolist() == [50, 50]
