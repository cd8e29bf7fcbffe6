"""A run stage by stage in Python: the same settings and folder as on the command line, and what it shows."""

import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image
from tiny_job import SECTIONS, Listener, tiny_settings, tree

import understudy
from understudy.commands.chosen import settings_of
from understudy.commands.options import Options
from understudy.commands.stage_result import StageResult, result_of
from understudy.core.errors import InputError
from understudy.pipeline.folder import RunFolder

VERBS = ("adapt", "draw", "curate", "compare", "report")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown_pictures(result):
    """The images in what a notebook shows."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', result._repr_html_())
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in found]


@pytest.mark.slow
@pytest.mark.usefixtures("plain_report")
def test_each_verb_does_the_stages_up_to_its_own(pets, tiny_pipeline_folder, tmp_path):
    listener = Listener()
    words = {"generator": {"name": str(tiny_pipeline_folder)}, **SECTIONS}
    this = understudy.StagedRun(pets, tmp_path / "run", observer=listener, device="cpu", **words)
    assert repr(this).endswith("run'): not begun")
    shown = {}
    for verb in VERBS:
        shown[verb] = getattr(this, verb)()
        assert (tmp_path / "run" / "stages" / f"{verb}.json").is_file()
        later = VERBS[VERBS.index(verb) + 1 :]
        assert not [name for name in later if (tmp_path / "run" / "stages" / f"{name}.json").exists()]
    assert re.fullmatch(
        r"adapt: lora, 4 steps; .* \(weights of step \d\)|adapt: full, .*", repr(shown["adapt"])
    )
    assert "<svg" in shown["adapt"]._repr_html_()
    for verb in ("draw", "curate"):
        (picture,) = shown_pictures(shown[verb])
        assert picture.width > 64
        assert repr(shown[verb]).endswith("samples.png")
    assert shown["draw"].content["images"] == 6
    for verb in ("compare", "report"):
        for text in (repr(shown[verb]), shown[verb]._repr_html_()):
            assert all(arm in text for arm in ("real+val", "synthetic", "mixed", "bridged"))
    assert shown["report"].content["verdict"]["sentence"].split()[0] in repr(shown["report"])
    assert str(tmp_path / "run" / "report.html") in repr(shown["report"])
    assert repr(this).endswith("curate, fidelity, memorisation, compare, report")

    before = tree(tmp_path / "run")
    again = understudy.StagedRun(tmp_path / "run", observer=listener)
    assert again.settings == this.settings
    assert repr(again.compare()) == repr(shown["compare"])
    assert tree(tmp_path / "run") == before, "everything is finished"
    assert "compare: finished earlier, kept" in listener.lines


def test_results_of_a_finished_run_show_themselves(finished):
    out, _ = finished
    shown = {verb: result_of(verb, RunFolder.find(out)) for verb in VERBS}
    assert {verb: len(shown_pictures(result)) for verb, result in shown.items()} == {
        "adapt": 0,
        "draw": 1,
        "curate": 1,
        "compare": 0,
        "report": 0,
    }
    assert "6 images" in repr(shown["draw"])
    assert "difference to real, points" in repr(shown["compare"])
    assert repr(shown["report"]).splitlines()[-1] == str(out / "results.json"), "a path is not broken"


def test_results_of_runs_of_earlier_versions_show_themselves():
    old = RunFolder.find(Path(__file__).parent.parent / "fixtures" / "run-0.1.0" / "run")
    for verb in VERBS:
        assert repr(result_of(verb, old))
        assert result_of(verb, old)._repr_html_().startswith("<pre")


def test_names_are_no_markup():
    result = StageResult(stage="draw", content={}, shown=["[bold]<b>cat</b>"])
    assert repr(result) == "[bold]<b>cat</b>"
    assert "[bold]&lt;b&gt;cat&lt;/b&gt;" in result._repr_html_()


def test_settings_are_those_of_the_command_line(here, photographs):
    this = understudy.StagedRun(
        photographs, preset="quick", recipe="latent-prior", seed=3, data={"shots": 2}, draw={"times": 2}
    )
    words = {"preset": "quick", "recipe": "latent-prior", "seed": 3, "shots": 2, "override": ["draw.times=2"]}
    assert this.settings == settings_of(Options(str(photographs), given=frozenset(words), **words))
    assert this.settings.compare.augmentation == "flip-crop"
    assert this.folder == Path("runs/photographs0") or this.folder.parent == Path("runs")


def test_a_settings_file_is_data_too(here):
    Path("s.yaml").write_text("preset: quick\nseed: 3\ndata: {source: digits, shots: 5}\ndraw: {times: 2}\n")
    settings = understudy.StagedRun("s.yaml", draw={"times": 4}).settings
    assert (settings.seed, settings.data.shots, settings.draw.times, settings.compare.steps) == (3, 5, 4, 200)
    assert understudy.StagedRun("s.yaml", preset="standard").settings.compare.steps == 300


def test_complete_settings_are_taken_as_they_are(here, pets):
    settings = tiny_settings(pets, "mini")
    this = understudy.StagedRun(settings)
    assert this.settings is settings
    assert this.folder == Path("runs/pets")
    assert understudy.StagedRun(settings, "other").folder == Path("other")


@pytest.mark.parametrize(
    ("data", "words", "message"),
    [
        ("", {}, "DATA must not be empty"),
        ("gone.yaml", {}, "there is no settings file gone.yaml"),
        ("digits", {"drow": {}}, "unknown setting 'drow'"),
        ("digits", {"draw": {"time": 2}}, "unknown setting 'draw.time'"),
        ("digits", {"draw": 2}, "setting 'draw' must be a section with settings"),
        ("digits", {"generator": "mini"}, "setting 'generator' must be a section with settings"),
        ("digits", {"data": {"source": "pets"}}, "the images must be named once, got digits and data.source"),
        ("digits", {"data": "pets"}, "setting 'data' must be a section with settings"),
        ("digits", {"data": {"subset": 2}}, "data.subset has no effect"),
        ("digits", {"preset": "fast"}, "unknown preset 'fast'"),
        ("digits", {"preset": 3}, "unknown preset 3; known: quick"),
        ("digits", {"recipe": "mine"}, "unknown recipe 'mine'"),
        ("digits", {"recipe": ["adapted"]}, "unknown recipe ['adapted']; known: "),
        ("run", {"seed": 3}, "run is a run, which keeps its settings: leave out seed, or start a new run"),
        ("run", {"preset": "quick", "draw": {}}, "leave out preset, draw, or start"),
    ],
)
def test_wrong_words_are_refused_and_nothing_written(data, words, message, here):
    RunFolder.open(here / "run", understudy.build({"data": {"source": "digits"}}))
    before = tree(here)
    with pytest.raises(InputError, match=re.escape(message)):
        understudy.StagedRun(data, **words)
    assert tree(here) == before


@pytest.mark.parametrize(
    "data", ["gone", Path("gone"), None, 5, understudy.build({"data": {"source": "gone"}})]
)
def test_missing_images_are_refused_at_once(data, here):
    with pytest.raises(InputError, match="no file or folder at '(gone|None|5)'"):
        understudy.StagedRun(data)
    assert not list(here.iterdir())


def test_a_run_goes_on_without_its_images(here):
    settings = understudy.build({"data": {"source": "gone"}})
    RunFolder.open(here / "runs" / "gone", settings)
    assert understudy.StagedRun(settings).folder == understudy.StagedRun("runs/gone").folder


def test_complete_settings_take_no_others(pets):
    with pytest.raises(InputError, match="complete need no preset, seed: leave them out"):
        understudy.StagedRun(tiny_settings(pets, "mini"), preset="quick", seed=3)


def test_a_run_in_another_place_is_refused(here):
    RunFolder.open(here / "run", understudy.build({"data": {"source": "digits"}}))
    with pytest.raises(InputError, match="leave out --out"):
        understudy.StagedRun("run", "other")


def test_a_device_that_is_not_there_is_refused(here):
    with pytest.raises(InputError, match="'mps:9' cannot be used"):
        understudy.StagedRun("digits", device="mps:9").adapt()
