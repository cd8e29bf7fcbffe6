"""Where an export goes: a folder, a repository on the hub, or nowhere in a dry run."""

import shutil
import tempfile
from pathlib import Path
from typing import get_type_hints

import pytest
from hub_stand_in import Repository, hub, log_out
from huggingface_hub import DatasetCard, ModelCard
from tiny_job import tiny_settings, tree, write_pets

from understudy.commands.export import FORMS
from understudy.commands.options import Export, ExportForm, ExportWhat
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run

pytestmark = pytest.mark.usefixtures("plain_report")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_pipeline_folder):
    """The folder of a finished run with two arms. Tests only read it."""
    source = write_pets(tmp_path_factory.mktemp("source") / "pets")
    out = tmp_path_factory.mktemp("runs") / "run"
    run(tiny_settings(source, tiny_pipeline_folder, compare={"arms": ["real", "mixed"]}), out)
    return out


@pytest.fixture
def temporary(tmp_path_factory, monkeypatch):
    """Where temporary folders are made; it must be empty in the end."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert [*folder.iterdir()] == []


def one_line(text):
    return " ".join(text.split())


def test_a_classifier_goes_to_a_folder(finished, understudy):
    words = ("export", finished, "--to", "new/to", "--what", "classifier", "--arm", "real")
    assert understudy(*words) == (0, "the classifier of the arm real in new/to\n", "")
    assert Path("new/to/model.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "kind", "page", "files"),
    [
        ((), "datasets", "datasets/me/pets", {"data/train-00000-of-00001.parquet"}),
        (("--form", "webdataset"), "datasets", "datasets/me/pets", {"classes.txt", "synthetic-000000.tar"}),
        (("--what", "classifier"), "models", "me/pets", {"config.json", "model.safetensors"}),
        (
            ("--what", "adapter"),
            "models",
            "me/pets",
            {"report.json", "samples.png", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"},
        ),
    ],
)
def test_each_part_goes_to_the_hub(
    options, kind, page, files, finished, understudy, monkeypatch, tmp_path, temporary
):
    before = tree(finished)
    with hub(monkeypatch) as there:
        code, out, _ = understudy("export", finished, "--to", "hub:me/pets", *options)
        assert code == 0
        assert out.endswith(f" in {there.address}/{page}\n")
        assert list(there.repositories) == [f"{kind}/me/pets"]
        repository = there.repositories[f"{kind}/me/pets"]
    assert set(repository.files) == {"README.md", *files}
    assert repository.private
    card = repository.files["README.md"].decode()
    (DatasetCard if kind == "datasets" else ModelCard)(card)
    assert "FOLDER" not in card
    if kind == "models":
        assert "me/pets" in card, "it says how to load it from there"
    assert tree(finished) == before
    assert [*tmp_path.iterdir()] == []


def test_a_repository_is_public_if_asked(finished, understudy, monkeypatch, temporary):
    with hub(monkeypatch) as there:
        assert understudy("export", finished, "--to", "hub:me/pets", "--public")[0] == 0
        assert not there.repositories["datasets/me/pets"].private


def test_the_same_upload_again_changes_nothing_and_another_one_is_refused(
    finished, understudy, monkeypatch, temporary
):
    with hub(monkeypatch) as there:
        words = ("export", finished, "--to", "hub:me/pets", "--what", "classifier", "--arm")
        assert understudy(*words, "real")[0] == 0
        before = dict(there.repositories["models/me/pets"].files)
        assert understudy(*words, "real")[0] == 0
        code, _, err = understudy(*words, "mixed")
        assert code == 2
        assert "me/pets exists on the hub and holds other files, README.md, model.safetensors" in one_line(
            err
        )
        kept = Repository(private=True, files=before, large={"model.safetensors"})
        assert there.repositories == {"models/me/pets": kept}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("hub:me/pets",), "would go to the private dataset repository me/pets on the hub"),
        (("hub:me/pets", "--public"), "would go to the public dataset repository me/pets on the hub"),
        (
            ("hub:me/pets", "--what", "classifier", "--arm", "real"),
            "the classifier of the arm real would go to the private model repository me/pets on the hub",
        ),
        (("new",), "images would go to new; this dry run has written nothing there"),
        (
            ("new", "--what", "predictions", "--arm", "mixed"),
            "real test images would go to new; this dry run",
        ),
        (("new", "--what", "predictions"), "; --arm gives another) would go to new; this dry run"),
    ],
)
def test_a_dry_run_shows_the_files_and_writes_nothing(
    options, said, finished, understudy, monkeypatch, tmp_path, temporary
):
    before = tree(finished)
    with hub(monkeypatch) as there:
        log_out(monkeypatch, tmp_path)
        code, out, err = understudy("export", finished, "--dry-run", "--to", *options)
        assert (code, err) == (0, "")
        assert there.requests == []
    assert said in out
    *files, total, _ = out.splitlines()
    assert any(line.endswith(" bytes  README.md") for line in files)
    sizes = [int(line.split()[0].replace(",", "")) for line in files]
    assert total.split() == [f"{sum(sizes):,}", "bytes", "in", str(len(files)), "files"]
    assert tree(finished) == before
    assert [*tmp_path.iterdir()] == []


def test_the_options_are_what_can_be_exported():
    assert [what.value for what in ExportWhat] == list(FORMS)
    assert {form.value for form in ExportForm} == {form for forms in FORMS.values() for form in forms}
    text = str(get_type_hints(Export, include_extras=True)["form"].__metadata__[0].help)
    assert [form.value for form in ExportForm if form.value not in text] == []


REFUSED = {
    "--to hub:pets": "a place on the hub must be hub:ORG/NAME",
    "--to hub:me/pets/more --dry-run": "a place on the hub must be hub:ORG/NAME",
    "--to hub:": "a place on the hub must be hub:ORG/NAME",
    "--to hub:me/pets --what report": "the hub has no place for a report: give a folder to --to",
    "--to hub:me/pets --what predictions": "predictions name your real images and tell their labels, so they",
    "--to hub:me/pets --what predictions --dry-run": "predictions name your real images and tell their",
    "--to hub:me/pets --form onnx": "--form of the dataset must be folder, fiftyone,",
    "--to hub:me/pets --what classifier --arm bridged": "--arm must be an arm of ",
    "--to new --public": "--public has no effect on a folder: leave it out, or give hub:ORG/NAME to --to",
    "--to new --dry-run --set data.licence=mit": "--set stores licences in the run, --dry-run stores nothing",
    "--to new --dry-run --what classifier --form folder": "--form of the classifier must be timm or onnx",
    "--to mine.txt --dry-run": "mine.txt must be a new or empty folder to export to: choose another",
    "--to new --form parquet": "Invalid value for '--form'",
    "--to new --what model": "Invalid value for '--what'",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    words, finished, understudy, monkeypatch, tmp_path, temporary
):
    Path("mine.txt").write_text("mine")
    before = tree(finished)
    with hub(monkeypatch) as there:
        code, out, err = understudy("export", finished, *words.split())
        assert (code, out) == (2, "")
        assert REFUSED[words] in one_line(err)
        assert there.requests == []
    assert tree(finished) == before
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_nobody_is_logged_in(finished, understudy, monkeypatch, tmp_path, temporary):
    with hub(monkeypatch) as there:
        log_out(monkeypatch, tmp_path)
        code, _, err = understudy("export", finished, "--to", "hub:me/pets")
        assert (code, there.requests) == (2, [])
    assert "only from users who are logged in: log in with 'hf auth login', or set HF_TOKEN" in one_line(err)


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_hub_that_refuses(status, finished, understudy, monkeypatch, temporary):
    with hub(monkeypatch) as there:
        there.fails["create"] = status
        code, _, err = understudy("export", finished, "--to", "hub:me/pets")
        assert (code, there.repositories) == (2, {})
    assert "error: cannot upload to me/pets: the hub " in one_line(err)
    assert str(status) in err


@pytest.mark.parametrize("what", ["dataset", "classifier", "predictions", "adapter"])
def test_a_run_that_is_not_finished(what, understudy, monkeypatch, tmp_path, temporary):
    RunFolder.open(Path("old"), tiny_settings("pets", "mini"))
    said = "old has no curated images yet" if what == "dataset" else "old is not finished"
    for words in (("new",), ("new", "--dry-run")):
        code, _, err = understudy("export", "old", "--what", what, "--to", *words)
        assert code == 2
        assert f"error: {said}" in one_line(err)
    if what != "predictions":
        with hub(monkeypatch) as there:
            code, _, err = understudy("export", "old", "--what", what, "--to", "hub:me/pets")
            assert (code, there.requests) == (2, [])
    assert not Path("new").exists()


def test_images_without_a_card_stay_here(finished, understudy, monkeypatch, tmp_path, temporary):
    """The run has curated them, and is not finished."""
    out = shutil.copytree(finished, tmp_path / "half")
    (out / "results.json").unlink()
    assert understudy("export", "half", "--to", "new")[0] == 0
    assert not Path("new/README.md").exists()
    with hub(monkeypatch) as there:
        for more in ((), ("--dry-run",)):
            code, _, err = understudy("export", "half", "--to", "hub:me/pets", *more)
            assert (code, there.requests) == (2, [])
            assert "half is not finished: go on with 'understudy run half'" in one_line(err)


def test_long_lists_of_files_are_cut(understudy, finished, temporary, monkeypatch):
    monkeypatch.setattr("understudy.commands.export_place._MOST_FILES", 3)
    code, out, _ = understudy("export", finished, "--to", "new", "--dry-run")
    assert code == 0
    assert out.splitlines()[3] == "and 5 more"


@pytest.mark.parametrize("place", ["run", "run/new", "run/arms/../new"])
def test_a_place_inside_the_run_is_refused(place, understudy, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    before = tree(tmp_path)
    code, _, err = understudy("export", "run", "--to", place)
    assert code == 2 and f"{place} must be outside of the run" in err
    assert tree(tmp_path) == before
