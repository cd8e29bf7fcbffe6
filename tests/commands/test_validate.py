"""`understudy validate`: what it shows, and that it writes nothing."""

from pathlib import Path

import pytest
from tiny_job import tree, write_pets

from understudy.commands.validate import validate
from understudy.data.load import load_splits
from understudy.pipeline.load import about_other_tools
from understudy.settings import build


def test_validate_shows_the_classes_and_writes_nothing(understudy, tmp_path, tiny_pipeline_folder):
    write_pets("pets")
    Path("pets/dog").rename("pets/[b]dog[")
    Path("names.txt").write_text("the boss\n[red]\n")
    before = tree(tmp_path)
    code, out, err = understudy(
        "validate", "pets", "--generator", tiny_pipeline_folder, "--class-names", "names.txt"
    )
    assert code == 0
    assert err == ""
    assert "pets: ready to run" in out
    assert "ready to run, with a warning" not in out
    assert [word for word in ("cat", "[b]dog[", "the boss", "[red]") if word not in out] == []
    assert tree(tmp_path) == before


def test_validate_names_classes_with_too_few_images_to_train_a_generator_on(understudy):
    write_pets("pets")
    scratch = ("--set", "generator.channels=[16, 16]")
    code, out, _ = understudy("validate", "pets", "--generator", "class_conditional", *scratch)
    assert code == 0
    words = " ".join(out.split())
    assert "hardly draws anything new for classes with fewer than 10: cat (" in words
    _, out, _ = understudy("validate", "pets", "--generator", "mini")
    assert "hardly draws" not in out


def test_too_few_ready_made_images_are_told(understudy):
    write_pets("pets")
    write_pets("drawn", 3, seed=5)
    ready_made = ("--generator", "folder", "--set", "generator.images=[drawn]")
    _, out, _ = understudy("validate", "pets", *ready_made, "--set", "draw.per_class=4")
    assert "warning: fewer ready-made images than the run wants (cat 3 of 4, dog 3 of 4)" in " ".join(
        out.split()
    )
    _, out, _ = understudy("validate", "pets", *ready_made, "--set", "draw.per_class=3")
    assert "fewer ready-made" not in out


@pytest.mark.parametrize("given", [(), ("val",), ("test",), ("val", "test")])
@pytest.mark.parametrize("split_names", ["read", "join"])
def test_a_tool_may_have_seen_test_images_that_the_run_splits_off(given, split_names, understudy):
    for number, split in enumerate(("train", *given)):
        write_pets(Path("pets", split), seed=number)
    write_pets("drawn", 30, seed=9)
    ready_made = ("--generator", "folder", "--set", "generator.images=[drawn]")
    code, out, err = understudy("validate", "pets", *ready_made, "--set", f"data.split_names={split_names}")
    assert code == 0, err
    held_out = [split for split in ("val", "test") if split not in given or split_names == "join"]
    words = " and ".join({"val": "validation", "test": "test"}[split] for split in held_out)
    told = f"ready-made images: this run splits {words} images off from pets; if the tool"
    assert (told in " ".join(out.split())) == bool(held_out)


def test_so_may_the_tool_that_made_adapters(pets):
    data = {"source": str(pets)}
    splits = load_splits(build({"data": data}).data, seed=0)
    pipeline = {"name": "org/pipeline", "adapters": ["style.safetensors"]}
    (told,) = about_other_tools(build({"data": data, "generator": pipeline}), splits)
    assert told.startswith("adapters: this run splits validation and test images off from ")
    del pipeline["adapters"]
    assert about_other_tools(build({"data": data, "generator": pipeline}), splits) == ()


@pytest.mark.parametrize(("source", "warns"), [("pets", True), ("digits", False)])
def test_the_bundled_generator_is_no_generator_of_photographs(source, warns, pets):
    settings = build({"data": {"source": str(pets) if source == "pets" else source}})
    checked = validate(settings)
    told = " ".join(checked.sentences)
    assert checked.words.endswith("with a warning") == warns
    assert ("warning: 'mini' has seen only printed characters" in told) == warns
    assert ("--generator class_conditional" in told) == warns
