"""Studies: complete runs side by side, made once, made larger at any time, and sharing what cannot differ."""

import json
import re
import shlex
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_job import OPTIONS, Listener, results_of, times, tiny_settings, tree

from understudy.commands import study as studies
from understudy.commands.chosen import parse_overrides, settings_of
from understudy.commands.options import Options
from understudy.commands.study import STUDIES, run_study
from understudy.commands.study_folder import StudyFolder
from understudy.commands.study_kinds import read_points
from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.functional.intervals import student_interval
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.recipes import RECIPES
from understudy.settings import build

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]

ARMS = {"arms": ["real", "synthetic"], "steps": 2, "curve_points": 0}
QUICK = {"adapt": {"method": "none"}, "draw": {"per_class": 2}, "curate": {"score": "none"}, "compare": ARMS}


@pytest.fixture(scope="module")
def job(pets, tiny_pipeline_folder):
    """Settings that all runs of a study share."""
    return lambda **sections: tiny_settings(pets, tiny_pipeline_folder, **QUICK | sections)


@pytest.fixture(scope="module")
def volume_job(job):
    return job(adapt={"steps": 2}, draw={"per_class": None})


@pytest.fixture(scope="module")
def volume(volume_job, tmp_path_factory):
    """A study of two volumes, twice each; and who listened. Tests only read or copy it."""
    out, listener = tmp_path_factory.mktemp("studies") / "volume", Listener()
    run_study("volume", volume_job, out, points=[3, 2], repeats=2, observer=listener)
    return out, listener


def study_of(folder):
    return json.loads((folder / "study.json").read_text())


def rows_of(folder):
    """What is said of every run, but how long it took."""
    return [
        {name: value for name, value in row.items() if name != "seconds"} for row in study_of(folder)["runs"]
    ]


def without_seconds(arms):
    return {
        name: {key: value for key, value in arm.items() if key != "seconds"} for name, arm in arms.items()
    }


def names_of_runs(folder):
    return sorted(path.name for path in (folder / "runs").iterdir())


def test_every_run_is_complete_and_differs_in_one_thing(volume, volume_job):
    out, _ = volume
    assert names_of_runs(out) == ["2-repeat0", "2-repeat1", "3-repeat0", "3-repeat1"]
    for name in names_of_runs(out):
        folder = RunFolder.find(out / "runs" / name)
        assert (folder.settings.draw.per_class, folder.settings.seed) == (int(name[0]), int(name[-1]))
        others = folder.settings.model_dump()
        others["draw"]["per_class"], others["seed"] = None, 0
        others["curate"]["stop_at_chance"] = True  # decides nothing
        assert others == volume_job.model_dump()
        assert (folder.path / "report.html").exists()
        assert set(LabelledSet.load(folder.path / "synthetic" / "curated.parquet").counts) == {int(name[0])}


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("study.json", "remove it, and the same command writes it again"),
        ("runs/2-repeat1/results.json", "write it again with 'understudy report"),
        ("runs/2-repeat1/stages/report.json", "remove it, then do the stage again with 'understudy run"),
        ("study.yaml", "restore the file"),
    ],
)
def test_damaged_files_of_a_study_are_named(name, mend, volume, volume_job, tmp_path):
    out = shutil.copytree(volume[0], tmp_path / "study")
    content = (out / name).read_bytes()
    (out / name).write_bytes(content[: content.index(b":", len(content) // 2)])  # in the middle of a line
    with pytest.raises(InputError) as caught:
        run_study("volume", volume_job, out, points=[3, 2], repeats=2)
    assert str(out / name) in str(caught.value) and mend in str(caught.value)


def test_a_page_of_a_study_that_was_cut_is_made_again(volume, volume_job, tmp_path):
    out = shutil.copytree(volume[0], tmp_path / "study")
    page, listener = out / "study.html", Listener()
    whole = page.read_bytes()
    for damage in (page.unlink, lambda: page.write_bytes(whole[:-100])):
        damage()
        run_study("volume", volume_job, out, points=[3, 2], repeats=2, observer=listener)
        assert listener.lines[-1] == "study: study.html was missing or cut short, and is made again"
        assert page.read_bytes().endswith(whole[-20:])
    run_study("volume", volume_job, out, points=[3, 2], repeats=2, observer=listener)
    assert len(listener.lines) == 2


def test_study_json_says_what_the_runs_say(volume):
    out, _ = volume
    study = study_of(out)
    assert set(study) == {
        *("schema", "kind", "summary", "sets", "unit", "axis", "source", "repeats_differ_in", "sentence"),
        *("points", "runs", "settings", "environment", "measure"),
    }
    assert (study["schema"], study["kind"], study["unit"], study["axis"]) == (
        1,
        "volume",
        "synthetic images per class",
        "log",
    )
    assert [(row["point"], row["repeat"], row["seed"]) for row in study["runs"]] == [
        (2, 0, 0),
        (2, 1, 1),
        (3, 0, 0),
        (3, 1, 1),
    ]
    for point in study["points"]:
        rows = [row for row in study["runs"] if row["point"] == point["point"]]
        runs = [results_of(out / row["folder"]) for row in rows]
        assert point["runs"] == 2
        for arm, measured in point["arms"].items():
            assert len(measured["balanced_accuracy"]["minus_real"]["runs"]) == len(runs)
            for field, (lowest, highest) in {"accuracy": (0, 1), "minus_real": (-1, 1)}.items():
                values = [results["arms"][arm][field]["mean"] for results in runs]
                if len(set(values)) == 1:  # tests/evaluation/test_repeats.py
                    continue
                ends = student_interval(values)
                expected = {
                    "mean": ends["mean"],
                    "low": max(lowest, ends["low"]),
                    "high": min(highest, ends["high"]),
                }
                assert {end: measured[field][end] for end in expected} == pytest.approx(expected)
                assert measured[field]["runs"] == values
                assert measured[field]["interval"] == "runs"
            assert [row["arms"][arm]["val_accuracy"] for row in rows] == [
                results["arms"][arm]["val_accuracy"] for results in runs
            ]
        assert [row["synthetic"] for row in rows] == [results["curation"]["kept"] for results in runs]
    assert study["points"][0]["arms"]["real"] == study["points"][1]["arms"]["real"]
    assert study["sentence"].startswith(
        "From 2 to 3 synthetic images per class, the difference between synthetic and the real images alone"
    )
    assert study["sentence"] in (out / "study.html").read_text()


def test_what_cannot_differ_is_made_once(volume):
    """The second volume of each repeat has adapter and real classifiers of the first, and the same figures as
    a run by itself.
    """
    _, listener = volume
    shared = [line for line in listener.lines if "made from the same images" in line]
    assert shared == [
        line
        for repeat in (0, 1)
        for line in (
            f"adapt: uses the adapter of 2-repeat{repeat}, which was made from the same images",
            f"compare: uses the trainings of real in 2-repeat{repeat}, which were made from the same images",
        )
    ]


def test_sharing_changes_no_figure(volume, tmp_path):
    out, _ = volume
    here = out / "runs" / "3-repeat1"
    there = tmp_path / "alone"
    alone = run(RunFolder.find(here).settings, there)
    assert without_seconds(results_of(here)["arms"]) == without_seconds(alone["arms"])
    assert results_of(here)["in_study"] and "in_study" not in alone
    assert results_of(here)["adaptation"] == alone["adaptation"]
    for part in ("synthetic", "arms/real-classifier", "arms/synthetic-classifier"):
        assert tree(here / part) == tree(there / part)
    assert set(tree(here / "adapter")) == set(tree(there / "adapter")) - {"checkpoint.pt"}


def test_the_same_again_does_nothing(volume, volume_job):
    out, _ = volume
    before, listener = times(out), Listener()
    assert run_study("volume", volume_job, out, points=[2, 3], repeats=2, observer=listener) == study_of(out)
    assert times(out) == before
    assert listener.lines == []


def test_more_points_and_repeats_only_add(volume, volume_job, tmp_path):
    """Also after the folder was moved; what is there stays in the study without being asked for."""
    out = shutil.copytree(volume[0], tmp_path / "moved")
    before = times(out / "runs")
    more = run_study("volume", volume_job, out, points=[1], repeats=1)
    assert set(names_of_runs(out)) - {path.split("/")[0] for path in before} == {"1-repeat0"}
    assert {path: when for path, when in times(out / "runs").items() if path in before} == before
    assert [(point["point"], point["runs"]) for point in more["points"]] == [(1, 1), (2, 2), (3, 2)]
    one = more["points"][0]["arms"]["synthetic"]["accuracy"]
    own = results_of(out / "runs" / "1-repeat0")["arms"]["synthetic"]["accuracy"]
    assert one == {end: own[end] for end in ("mean", "low", "high")} | {
        "runs": [own["mean"]],
        "interval": "images",
    }
    assert more["points"][1:] == study_of(volume[0])["points"]
    assert "where there is only one run" in (out / "study.html").read_text()
    assert yaml.safe_load((out / "study.yaml").read_text())["points"] == [1, 2, 3]


class StopError(BaseException):
    """As a kill: nothing handles it."""


class Stopping(Listener):
    """Ends the study at a moment: when something is said, or in the middle of a bar."""

    def __init__(self, text, *, after=0, steps=None):
        super().__init__()
        self._text, self._after, self._steps = text, after, steps

    def _stop(self, text):
        if text.startswith(self._text):
            self._after -= 1
            if self._after < 0:
                raise StopError

    def say(self, text):
        super().say(text)
        if self._steps is None:
            self._stop(text)

    @contextmanager
    def bar(self, text, *, total, unit):
        with super().bar(text, total=total, unit=unit) as advance:

            def counted(amount):
                advance(amount)
                if self._steps is not None and self.bars[text]["done"] >= self._steps:
                    self._stop(text)

            yield counted


def test_a_stop_at_any_moment_changes_nothing(volume, volume_job, tmp_path):
    """While the first images are read, in a training of the first run, after sharing, and between a run and
    the page about it.
    """
    out = tmp_path / "study"
    moments = [
        Stopping("load:"),
        Stopping("compare", steps=3),
        Stopping("compare: uses the trainings"),
        Stopping("report:"),
    ]
    for number, observer in enumerate(moments):
        with pytest.raises(StopError):
            run_study("volume", volume_job, out, points=[2, 3], repeats=1, observer=observer)
        assert (out / "study.yaml").exists() == (number > 0)
        assert (out / "study.json").exists() == (number > 1)
    assert [row["folder"] for row in study_of(out)["runs"]] == ["runs/2-repeat0"], "what a stopped study has"
    run_study("volume", volume_job, out, points=[2, 3], repeats=1)
    assert rows_of(out) == [row for row in rows_of(volume[0]) if row["repeat"] == 0]
    assert [point["runs"] for point in study_of(out)["points"]] == [1, 1]


def test_other_settings_are_refused_and_named(volume, volume_job, job):
    out, _ = volume
    before = times(out)
    other = job(adapt={"steps": 2}, draw={"per_class": None, "steps": 3})
    with pytest.raises(
        InputError,
        match=r"holds a study with other settings:\n  draw.steps: 2 in the folder, 3 now\nchoose another "
        r"--out",
    ):
        run_study("volume", other, out, points=[2])
    with pytest.raises(InputError, match="holds a study of volume, not of guidance: choose another --out"):
        run_study("guidance", volume_job, out, points=[2])
    assert times(out) == before


def test_guidance_shares_also_tuning(job, tmp_path):
    settings = job(tune={"learning_rates": [1e-3, 2e-3]})
    study = run_study("guidance", settings, tmp_path / "study", points=["1", "2.50"], repeats=1)
    assert names_of_runs(tmp_path / "study") == ["1-repeat0", "2.5-repeat0"]
    assert [(point["point"], point["label"]) for point in study["points"]] == [(1, "1"), (2.5, "2.5")]
    first, second = (tmp_path / "study" / "runs" / name for name in ("1-repeat0", "2.5-repeat0"))
    assert RunFolder.find(second).settings.draw.guidance_scale == 2.5
    assert results_of(first)["tuning"]["real"] == results_of(second)["tuning"]["real"]
    same = {
        path
        for path, when in times(first / "arms").items()
        if tree(first / "arms")[path] == tree(second / "arms").get(path)
    }
    assert {"real-seed0.npz", "real-seed2.npz", "tuning/real-trial0.json", "tuning/real-trial1.json"} <= same
    assert not any(path.startswith("synthetic-seed") for path in same), (
        "what saw synthetic images is trained anew"
    )
    assert study["sentence"].startswith("Of 2 guidance scales, ")
    assert study["points"][0]["arms"]["synthetic"]["minus_real"]["interval"] == "images"


def test_shots_are_nested_and_tested_on_the_same_images(job, tmp_path):
    listener, out = Listener(), tmp_path / "study"
    study = run_study("shots", job(), out, points=[2, 1], repeats=2, observer=listener)
    sets = {
        (row["point"], row["repeat"]): [
            LabelledSet.load(out / row["folder"] / "data" / f"{split}.parquet").ids
            for split in ("train", "test")
        ]
        for row in study["runs"]
    }
    assert {key: len(train) for key, (train, _) in sets.items()} == {
        (1, 0): 2,
        (1, 1): 2,
        (2, 0): 4,
        (2, 1): 4,
    }
    assert all(set(sets[1, repeat][0]) < set(sets[2, repeat][0]) for repeat in (0, 1))
    assert set(sets[2, 0][0]) != set(sets[2, 1][0])
    assert len({tuple(test) for _, test in sets.values()}) == 1
    assert [(row["seed"], row["subset"]) for row in study["runs"]] == [(0, 0), (0, 1), (0, 0), (0, 1)]
    assert study["repeats_differ_in"] == "subset"
    assert not [line for line in listener.lines if "made from the same images" in line], (
        "other images, other classifiers"
    )


def test_prompts_leave_the_generator_as_it_is_or_learn_a_token(job, tmp_path):
    (tmp_path / "my templates.txt").write_text("a {class}\nthe {class}\n")
    points = ["single", str(tmp_path / "my templates.txt"), "style-inversion"]
    overrides = [{"adapt": {"steps": 2, "batch_size": 4}}]
    study = run_study(
        "prompts", job(adapt={}), tmp_path / "study", points=points, repeats=1, overrides=overrides
    )
    assert [point["point"] for point in study["points"]] == points
    found = {row["point"]: RunFolder.find(tmp_path / "study" / row["folder"]) for row in study["runs"]}
    settings = {point: folder.settings for point, folder in found.items()}
    assert [settings[point].adapt.method for point in points] == ["none", "none", "style-inversion"]
    assert [settings[point].draw.prompt for point in points[:2]] == ["a photo of {class}", points[1]]
    assert settings["style-inversion"].draw.prompt == RECIPES["style-inversion"]["draw"]["prompt"]
    assert (settings["style-inversion"].adapt.steps, settings["style-inversion"].adapt.batch_size) == (
        2,
        4,
    ), "what is asked for by name wins"
    assert len({tree(folder.path / "arms")["real-seed1.npz"] for folder in found.values()}) == 1
    assert re.fullmatch(r"[\w.-]{1,40}-[0-9a-f]{8}-repeat0", found[points[1]].path.name)


def test_the_documented_comparison_of_li_et_al_is_that_of_the_recipe(tmp_path):
    """S* with Bridged Transfer++: the command on the page, at each of its points."""
    page = (Path(__file__).parents[2] / "docs" / "methods" / "style_inversion.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^understudy (study prompts PATH .*?)\n```", page, re.MULTILINE | re.DOTALL)
    words = shlex.split(command.replace("\\\n", " "))
    given = {word: words[number + 1] for number, word in enumerate(words) if word.startswith("--")}
    texts = [words[number + 1] for number, word in enumerate(words) if word == "--set"]
    options = Options(
        data="digits",
        recipe=given["--recipe"],
        generator=given["--generator"],
        arms=given["--arms"],
        override=texts,
    )
    points = given["--points"].split(",")
    overrides = parse_overrides(texts)
    study = StudyFolder("prompts", settings_of(options), tuple(overrides), tmp_path / "study")
    paper = RECIPES["bridged-transfer-paper"]
    for point in points:
        settings = study.run_of(point, 0).settings
        for section in ("generator", "draw", "curate", "compare"):
            for name, value in paper[section].items():
                if (section, name) not in {
                    ("draw", "prompt"),
                    ("compare", "arms"),
                    ("compare", "transferability"),
                }:
                    assert getattr(getattr(settings, section), name) == value, (point, name)
        assert settings.compare.arms == ("real", "bridged++")
    assert points == [paper["draw"]["prompt"], "neutral-token", "style-inversion"]


def test_other_processes_help_to_make_what_is_missing(volume, volume_job, monkeypatch):
    helped = []
    monkeypatch.setattr(studies, "Processes", lambda: type("Second", (), {"is_main": False}))
    monkeypatch.setattr(studies, "run", lambda settings, out, **options: helped.append(out.name))
    assert run_study("volume", volume_job, volume[0], points=[3, 4], repeats=1) == {}
    assert helped == ["4-repeat0"]


@pytest.mark.parametrize(
    ("kind", "points", "message"),
    [
        (
            "volume",
            [],
            "must have at least one point, got none: leave --points out for 50, 100, 200, 500, 1000",
        ),
        (
            "volume",
            ["x"],
            "points of a study of volume must be whole numbers of images, separated by commas, got 'x'",
        ),
        ("volume", ["50", ""], "must be whole numbers of images, separated by commas, got ''"),
        ("volume", [2.5], "must be whole numbers of images, separated by commas, got '2.5'"),
        ("volume", [0], "setting 'draw.per_class': .*greater than or equal to 1, got 0"),
        ("volume", ["50", " 050"], "points of a study must differ, got 50 twice"),
        ("guidance", ["2", 2.0], "points of a study must differ, got 2 twice"),
        ("guidance", ["two"], "points of a study of guidance must be numbers"),
        ("guidance", [0.5], "setting 'draw.guidance_scale': .*greater than or equal to 1, got 0.5"),
        ("guidance", ["inf"], "setting 'draw.guidance_scale': .*finite"),
        ("shots", ["1,2"], "points of a study of shots must be whole numbers"),
        ("shots", [-1], "setting 'data.shots': .*greater than or equal to 1, got -1"),
        (
            "shots",
            [2, 50],
            "at least 50 different images for 50 shots, but 'cat' has [0-9], 'dog' has [0-9]",
        ),
        (
            "prompts",
            ["photograph"],
            "must be 'single', a recipe with a token.* got 'photograph': .*did you mean 'photographs'",
        ),
        ("prompts", ["real-fake"], "must be 'single', a recipe with a token"),
        ("prompts", [""], "must be 'single', a recipe with a token"),
        ("prompts", ["none.txt"], "template file none.txt must exist"),
        (
            "colours",
            None,
            "unknown study 'colours'; known: bakeoff, guidance, prompts, repeats, shots, steps, volume",
        ),
    ],
)
def test_points_that_are_none_are_refused_and_nothing_written(kind, points, message, job, tmp_path):
    with pytest.raises(InputError) as refused:
        run_study(
            kind, job(draw={"per_class": None if kind == "volume" else 2}), tmp_path / "study", points=points
        )
    assert re.search(message, str(refused.value), flags=re.DOTALL), refused.value
    assert not list(tmp_path.iterdir())


def test_a_study_needs_a_run_of_each_point(volume_job, tmp_path):
    with pytest.raises(InputError, match="repeats of a study must be from 1 to 1,000, got 0"):
        run_study("volume", volume_job, tmp_path / "study", repeats=0)


def test_folders_with_something_else_are_refused(volume_job, tmp_path):
    def refused(message):
        before = tree(tmp_path)
        with pytest.raises(InputError, match=message):
            run_study("volume", volume_job, tmp_path / "study", points=[2], repeats=1)
        assert tree(tmp_path) == before

    (tmp_path / "study").write_text("")
    refused("study is not an empty folder and holds no study: choose another --out")
    (tmp_path / "study").unlink()
    (tmp_path / "study" / "runs" / "thesis").mkdir(parents=True)
    refused("study is not an empty folder and holds no study")
    (tmp_path / "study" / "study.yaml").write_text("kind: volume\n")
    refused("study.yaml must have kind, points and settings, as the study wrote them, got {'kind': 'volume'}")
    (tmp_path / "study" / "study.yaml").write_text("{")
    refused("study.yaml must be YAML as the study wrote it")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff", "must be YAML as the study wrote it: "),
        (b"{", "must be YAML as the study wrote it: "),
        (b"points: 2001-13-45", "must be YAML as the study wrote it: "),
        (b"[" * 600, "must be YAML as the study wrote it: "),
        (b"", "must have kind, points and settings, as the study wrote them, got None"),
        (
            b"kind: volume",
            r"must have kind, points and settings, as the study wrote them, got \{'kind': 'volume'\}",
        ),
        (b"{kind: volume, points: 2, settings: {}}", "must have kind, points and settings"),
        (b"{kind: volume, points: [2], settings: 3}", "must have kind, points and settings"),
        (b"{kind: [volume], points: [2], settings: {}}", "must have kind, points and settings"),
        (b"{kind: colours, points: [2], settings: {data: {source: digits}}}", "unknown study 'colours'"),
        (
            b"{kind: volume, points: [2, two], settings: {data: {source: digits}}}",
            r"must have points of a study of volume.*\[2, 'two'\]",
        ),
        (
            b"{kind: volume, points: [[2]], settings: {data: {source: digits}}}",
            r"must have points of a study of volume.* got \[\[2\]\]",
        ),
        (b"{kind: volume, points: [], settings: {data: {source: digits}}}", r"must have points .* got \[\]"),
        (
            b"{kind: volume, points: [2], settings: {data: {source: digits}, colour: 3}}",
            "unknown setting 'colour'",
        ),
        (b"{kind: volume, points: [2], settings: {data: 3}}", "setting 'data'"),
    ],
    ids=range(15),
)
def test_a_damaged_index_is_refused(text, message, volume_job, tmp_path):
    (tmp_path / "study.yaml").write_bytes(text)
    with pytest.raises(InputError, match=f"^{re.escape(str(tmp_path / 'study.yaml'))}.*{message}"):
        run_study("volume", volume_job, tmp_path, points=[2], repeats=1)
    assert (tmp_path / "study.yaml").read_bytes() == text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "volume digits --set draw.per_class=5",
            "a study of volume sets draw.per_class, so it must not be given: leave it out; --points gives",
        ),
        (
            "volume digits --set draw.min_per_class=5",
            "a study of volume sets draw.min_per_class, so it must not",
        ),
        ("volume digits --times 2", "a study of volume sets draw.times, so it must not"),
        (
            "volume digits --set draw.of_classes.cat=2",
            "a study of volume sets draw.of_classes, so it must not",
        ),
        (
            "guidance digits --set draw.guidance_scale=5",
            "a study of guidance sets draw.guidance_scale, so it must not",
        ),
        ("shots digits --shots 5", "a study of shots sets data.shots, so it must not"),
        ("volume digits --shots 5 --set data.subset=1", "a study of volume sets data.subset, so it must not"),
        (
            "prompts digits --set draw.prompt=photographs",
            "a study of prompts sets draw.prompt, so it must not",
        ),
        ("prompts digits --set adapt.method=lora", "a study of prompts sets adapt.method, so it must not"),
        ("volume digits --repeats 0", "repeats of a study must be from 1 to 1,000, got 0"),
        ("volume digits --points 1,,2", "must be whole numbers of images, separated by commas, got ''"),
        (
            "colours digits",
            "unknown study 'colours'; known: bakeoff, guidance, prompts, repeats, shots, steps, volume",
        ),
        ("volume nowhere", "no file or folder at 'nowhere'"),
        ("volume", "Missing argument 'DATA'"),
        ("volume digits --arms real,synthesized", "unknown arm 'synthesized'"),
    ],
)
def test_wrong_words_are_refused_and_nothing_written(words, message, understudy, tmp_path):
    code, out, err = understudy("study", *words.split())
    assert code == 2
    assert "study.html" not in out
    assert message in err
    assert "Traceback" not in err
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("words", ["run {}", "validate {}", "study volume {}"])
def test_a_study_is_not_taken_for_images(words, understudy, tmp_path):
    (tmp_path / "mine" / "runs").mkdir(parents=True)
    (tmp_path / "mine" / "study.yaml").write_text("kind: volume")
    code, _, err = understudy(*words.format("mine").split())
    assert code == 2
    assert "mine is the folder of a study, not of images" in err
    assert "understudy study KIND DATA --out mine" in " ".join(err.split())


def test_a_run_is_not_taken_for_images(understudy, tmp_path):
    RunFolder.open(tmp_path / "mine", build({"data": {"source": "digits"}}))
    code, _, err = understudy("study", "volume", "mine")
    assert code == 2
    assert "DATA must be images for this command, got the run mine: give the images that it was made" in err


@pytest.mark.usefixtures("study_figures")
def test_the_command_line_ends_with_a_table_and_the_path(understudy, pets, tiny_pipeline_folder, tmp_path):
    options = [
        word
        for text in OPTIONS
        if not text.startswith(("--set", "draw.per", "adapt.", "curate."))
        for word in ("--set", text)
    ]
    options += ["--set", "compare.arms=[real,synthetic]", "--set", "curate.score=none", "--recipe", "vanilla"]
    words = (
        "study",
        "volume",
        pets,
        "--generator",
        tiny_pipeline_folder,
        *options,
        "--points",
        "2",
        "--repeats",
        "1",
    )
    code, out, err = understudy(*words)
    assert (code, err) == (0, "")
    study = study_of(tmp_path / "runs" / "pets-volume")
    assert "synthetic images per class" in out
    assert f"{100 * study['points'][0]['arms']['synthetic']['accuracy']['mean']:.1f} [" in out
    assert "95% intervals over test images and trainings of one run" in out
    assert study["sentence"] in " ".join(out.split())
    assert (tmp_path / "runs" / "pets-volume" / "study.html").read_text().count("<svg") >= 2
    assert out.splitlines()[-1] == "runs/pets-volume/study.html  runs/pets-volume/study.json"


def test_defaults_are_those_of_the_paper():
    """Li et al. 2024 (arXiv:2403.19866), figures 4 and 6; each default is a point that can be asked for."""
    assert STUDIES["shots"].points == (1, 2, 4, 8, 16)
    assert STUDIES["guidance"].points == (2, 3.5, 5, 6.5, 8)
    for kind in STUDIES:
        assert read_points(kind, [str(point) for point in STUDIES[kind].points]) == list(STUDIES[kind].points)
    assert np.all(np.diff(STUDIES["volume"].points) > 0)


def test_commands_for_a_run_name_the_runs_of_a_study(volume, tmp_path):
    """What is asked of one run, as by ``understudy report`` and ``understudy export``, cannot be asked of a
    study.
    """
    out, _ = volume
    with pytest.raises(InputError, match="holds a study, not a run: .*or give one of its runs, ") as refused:
        RunFolder.find(out)
    assert str(refused.value).split("its runs, ")[1].split(", ") == [
        str(out / "runs" / f"{point}-repeat{j}") for point in (2, 3) for j in (0, 1)
    ]
    study = tmp_path / "study"
    for number in range(12):
        RunFolder.open(study / "runs" / f"{number}", RunFolder.find(out / "runs" / "2-repeat0").settings)
    (study / "study.yaml").write_text("kind: volume")
    with pytest.raises(InputError, match="runs/7 and 2 more$"):
        RunFolder.find(study)


def test_a_study_keeps_the_default_arms_that_it_began_with(tmp_path):
    earlier = ("real", "synthetic", "mixed", "bridged")
    began = build({"data": {"source": "pets"}, "compare": {"arms": earlier}})
    StudyFolder("volume", began, (), tmp_path).note(2)
    now = StudyFolder("volume", build({"data": {"source": "pets"}}), (), tmp_path).with_earlier_defaults()
    now.check([])
    assert now.run_of(2, 0).settings.compare.arms == earlier


def test_a_study_that_was_stopped_before_its_index_keeps_the_default_arms_too(tmp_path):
    """Stopped while the first images were read, by a version with other default arms."""
    earlier = ("real", "synthetic", "mixed", "bridged")
    began = build({"data": {"source": "pets"}, "compare": {"arms": earlier}})
    first = StudyFolder("volume", began, (), tmp_path).run_of(2, 0)
    RunFolder.open(first.path, first.settings)
    now = StudyFolder("volume", build({"data": {"source": "pets"}}), (), tmp_path).with_earlier_defaults()
    now.check([now.run_of(2, 0), now.run_of(3, 0)])
    assert now.run_of(3, 0).settings.compare.arms == earlier
    with pytest.raises(InputError, match=r"this study has no run 2-repeat0: give the same --points"):
        now.check([now.run_of(3, 0)])
    other = build({"data": {"source": "pets"}, "compare": {"arms": ["real", "mixed"]}})
    given = StudyFolder("volume", other, (), tmp_path)
    with pytest.raises(InputError, match=r"(?s)compare.arms: .*choose another --out, or the same settings"):
        given.with_earlier_defaults().check([given.run_of(2, 0)])


def test_a_study_adapts_as_the_version_that_began_it(tmp_path):
    """Its index has no ``adapt.until``, which is a plateau by default today."""
    settings = build({"data": {"source": "pets"}, "generator": {"name": "class_conditional"}})
    study = StudyFolder("volume", settings, (), tmp_path)
    study.note(2)
    index = yaml.safe_load(study.index.read_text(encoding="utf-8"))
    for name in ("until", "max_steps", "ema_length"):
        del index["settings"]["adapt"][name]
    study.index.write_text(yaml.safe_dump(index), encoding="utf-8")
    now = study.with_earlier_defaults()
    now.check([])
    assert (now.run_of(2, 0).settings.adapt.until, settings.adapt.until) == ("steps", "plateau")


def test_a_study_goes_on_with_a_smaller_batch(tmp_path):
    def study(**draw):
        return StudyFolder("volume", tiny_settings("pets", "mini", draw=draw), (), tmp_path)

    study(batch_size=4).note(2)
    study(batch_size=2).check([])
    with pytest.raises(InputError, match="draw.steps: 2 in the folder, 3 now"):
        study(steps=3).check([])


@pytest.mark.parametrize(
    ("kind", "point", "stops"),
    [("guidance", 4.0, False), ("repeats", "run", True), ("bakeoff", "mini", True)],
)
def test_only_points_that_vary_a_setting_are_measured_at_chance(kind, point, stops, tmp_path):
    """A guidance at which nothing can be recognised is a finding, and a useless generator is a line."""
    base = build({"data": {"source": "digits"}})
    study = StudyFolder(kind=kind, base=base, overrides=(), out=tmp_path)
    assert study.run_of(point, 0).settings.curate.stop_at_chance is stops
