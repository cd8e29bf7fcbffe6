"""Run folders with missing, damaged or moved files, and files that must not be overwritten."""

import json
import re
import shutil

import pytest
from PIL import Image
from tiny_job import tiny_settings, tree, write_pets

from understudy.commands.compare_runs import compare_runs
from understudy.commands.export import export_part
from understudy.commands.preview import preview
from understudy.core.errors import InputError
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run, write_report_again
from understudy.report.compared import write_comparison
from understudy.settings import build, to_yaml

pytestmark = pytest.mark.usefixtures("plain_report")


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    return write_pets(tmp_path_factory.mktemp("source") / "pets", per_class=24)


@pytest.fixture(scope="module")
def whole(pets, tiny_pipeline_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    fidelity = {"neighbours": 2, "resamples": 20}
    run(
        tiny_settings(
            pets,
            tiny_pipeline_folder,
            fidelity=fidelity,
            compare={"arms": ["real", "synthetic"], "batch_size": 4},
        ),
        out,
    )
    return out


@pytest.fixture
def out(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def added(out, **sections):
    return build(RunFolder.find(out).settings.model_dump(mode="json"), sections)


DAMAGED = {
    "results.json": r"results\.json is damaged: write it again with 'understudy report .*run'",
    "stages/compare.json": r"compare\.json is damaged: remove it, then do the stage again with 'understudy "
    r"run "
    r".*run'",
    "settings.yaml": r"settings\.yaml cannot be read: .*\nrestore the file, or choose another folder",
    "arms/real-seed1.npz": r"real-seed1\.npz is damaged: to make it again, remove it and the record",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_named(name, out, whole):
    (out / name).write_bytes(b"{[\xff")
    with pytest.raises(InputError, match=DAMAGED[name]):
        write_report_again(RunFolder.find(out)) if name.startswith("stages") else compare_runs(
            RunFolder.find(out), RunFolder.find(whole)
        )


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_damaged_results_leave_no_half_export_and_the_same_command_mends_them(text, out, tmp_path):
    results = (out / "results.json").read_text()
    (out / "results.json").write_text(text)
    with pytest.raises(InputError, match="results.json is damaged"):
        export_part(RunFolder.find(out), tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
    run(RunFolder.find(out).settings, out)
    assert json.loads((out / "results.json").read_text())["arms"] == json.loads(results)["arms"]


def test_a_report_needs_every_record_and_the_confusions(out):
    (out / "arms" / "confusions.npz").unlink()
    with pytest.raises(
        InputError, match=r"confusions\.npz is missing: to make it again, remove the record of its stage"
    ):
        write_report_again(RunFolder.find(out))
    (out / "stages" / "memorisation.json").unlink()
    with pytest.raises(
        InputError, match=r"stages lacks the record of memorisation: go on with 'understudy run"
    ):
        write_report_again(RunFolder.find(out))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {
                "membership": {
                    "measure": True,
                    "shadows": 6,
                    "false_positive_rates": [0.5],
                    "arms": ["synthetic"],
                }
            },
            (
                "a membership audit needs an arm that depends on the real images. The arm 'synthetic' trains "
                "only on synthetic images"
            ),
        ),
        (
            {"shift": {"measure": True, "corruptions": ["noise"], "severities": [1]}},
            "must hold the weights of all 3 trainings of the arm 'real', but the weights of 1 are missing",
        ),
    ],
    ids=["audit of nothing", "weights that were removed"],
)
def test_what_is_refused_leaves_the_settings_as_they_were(sections, message, out):
    (out / "arms" / "real-seed1.safetensors").unlink()
    before = tree(out)
    with pytest.raises(InputError, match=message):
        run(added(out, **sections), out)
    assert tree(out) == before


def test_private_batches_must_fit_into_a_half(out):
    pytest.importorskip("opacus")
    (out / "settings.yaml").write_text(to_yaml(added(out, compare={"batch_size": 64})))
    before = tree(out)
    asked = {
        "measure": True,
        "shadows": 6,
        "false_positive_rates": [0.5],
        "arms": ["real"],
        "private_epsilon": 8,
    }
    with pytest.raises(
        InputError,
        match=r"at least compare.batch_size=64 real images in every half of the train images, got 14: leave",
    ):
        run(added(out, membership=asked), out)
    assert tree(out) == before


def test_a_further_test_set_may_move_once_it_is_measured(out, tmp_path):
    others = write_pets(tmp_path / "others", per_class=5, seed=9)
    settings = added(out, shift={"measure": True, "corruptions": [], "tests": {"other": str(others)}})
    measured = run(settings, out)["shift"]
    others.rename(tmp_path / "elsewhere")
    assert run(settings, out)["shift"] == measured


def test_only_our_own_files_are_replaced(out, whole, pets, tiny_pipeline_folder, tmp_path):
    settings, picture = tiny_settings(pets, tiny_pipeline_folder), tmp_path / "picture.png"
    Image.new("RGB", (8, 8)).save(picture)
    for path in (picture, out / "settings.yaml"):
        with pytest.raises(InputError, match=re.escape(f"{path} exists and is not an earlier version")):
            preview(settings, path)
    with pytest.raises(
        InputError,
        match=r"results\.json exists and is not an earlier version of the file",
    ):
        write_comparison(out / "results.json", {})
    for _ in range(2):
        preview(settings, tmp_path / "preview.png")
        write_comparison(tmp_path / "compare.html", compare_runs(RunFolder.find(out), RunFolder.find(whole)))
    with Image.open(tmp_path / "preview.png") as image:
        assert image.info["Software"] == "understudy preview"
