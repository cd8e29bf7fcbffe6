"""`understudy validate`: what it shows, and that it writes nothing."""

from pathlib import Path

from tiny_job import tree, write_pets


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
