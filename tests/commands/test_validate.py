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
