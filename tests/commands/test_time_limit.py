"""`understudy run --time-limit`, and the same in Python."""

import shlex

import pytest
from tiny_job import OPTIONS, SECTIONS, write_pets

from understudy import fit_to_time
from understudy.commands import time_limit
from understudy.commands.cost import AdaptationPace, Pace
from understudy.commands.measuring import Measured
from understudy.commands.time_limit import plan_run
from understudy.commands.time_plan import TimeLimit
from understudy.core.errors import InputError
from understudy.data.load import load_splits
from understudy.recipes import PRESETS
from understudy.settings import build

pytestmark = pytest.mark.usefixtures("plain_report")

NO_SIZES = [
    word
    for text in OPTIONS[1::2]
    if text.split("=")[0] not in ("adapt.steps", "draw.per_class", "compare.steps", "compare.num_seeds")
    for word in ("--set", text)
]


@pytest.fixture(scope="module")
def demo():
    """Settings of the demo, and the pace of two CPU cores: it takes four minutes with them."""
    settings = build(PRESETS["quick"], {"data": {"source": "digits", "shots": 5}})
    pace = Pace(
        adaptations=0.0,
        images=0.013,
        steps=0.05,
        private_steps=0.0,
        predictions=0.0001,
        corruptions=0.0,
        image_bytes=1000.0,
        classifier_bytes=1e6,
    )
    measured = Measured(
        splits=load_splits(settings.data, seed=settings.seed),
        pace=pace,
        adaptation=AdaptationPace(step=0.1, validation=0.5),
        strength=1.0,
        passing=0.8,
        recognised="",
        words="",
        reading=0.5,
        spent=8.0,
        input_size=32,
    )
    return settings, measured


def test_the_demo_fits_two_and_a_half_minutes(demo):
    settings, measured = demo
    plan = plan_run(settings, TimeLimit(seconds=150), measured)
    seconds = 8 + 0.5 + sum(measured.estimate(plan.settings).seconds.values())
    assert seconds == pytest.approx(plan.seconds)
    assert 120 < plan.seconds < 150
    assert plan.sentence == (
        "time limit 2m30s: 300 -> 160 adaptation steps, 200 -> 100 classifier steps, 1,000 -> 540 images; "
        "expected 2m12s"
    )
    assert plan_run(settings, TimeLimit(seconds=3600), measured).settings == settings


def test_all_repeats_share_the_time(demo):
    settings, measured = demo
    one = plan_run(settings, TimeLimit(seconds=150), measured)
    three = plan_run(settings, TimeLimit(seconds=8 + 3 * (150 - 8), repeats=3), measured)
    assert three.settings == one.settings
    assert three.sentence.startswith("time limit 7m14s for 3 runs: 300 -> ")
    with pytest.raises(
        InputError, match="3 smallest runs, each with .*, take about 6m.*: give more time, do"
    ):
        plan_run(settings, TimeLimit(seconds=150, repeats=3), measured)


def test_in_python(pets, tiny_pipeline_folder):
    settings = build(
        SECTIONS, {"data": {"source": str(pets)}, "generator": {"name": str(tiny_pipeline_folder)}}
    )
    plan = fit_to_time(settings, 3600)
    assert plan.settings == settings
    assert plan.sentence.startswith("time limit 1h: nothing is cut; expected ")
    assert 0 < plan.seconds < 600


def test_several_processes_would_measure_different_paces(demo, monkeypatch):
    monkeypatch.setattr(time_limit, "Processes", lambda: type("Two", (), {"count": 2}))
    with pytest.raises(InputError, match="a time limit needs a single process, because each would measure"):
        fit_to_time(demo[0], 3600)


@pytest.mark.slow
def test_the_same_command_goes_on_without_measuring(understudy, tiny_pipeline_folder):
    """With the numbers that it began with, although a run without a limit would have larger ones."""
    write_pets("pets")
    words = ("run", "pets", "--generator", tiny_pipeline_folder, "--out", "out", "--arms", "real,mixed")
    words += ("--time-limit", "1h")
    code, out, err = understudy(*words, *OPTIONS)
    assert (code, err) == (0, "")
    assert out.startswith("time limit: measuring what a run takes on this machine\ntime limit 1h: nothing is")
    code, out, err = understudy(*words, *NO_SIZES)
    assert (code, err) == (0, "")
    assert out.startswith("time limit: out was begun, so it keeps its numbers of seeds, steps and images\n")
    code, _, err = understudy(*words, *NO_SIZES, "--set", "compare.steps=5")
    assert (code, "compare.steps: 4 in the folder, 5 now" in err) == (2, True)
    code, _, err = understudy("run", "out", "--time-limit", "1h")
    assert (code, "out is a run, which keeps its settings: leave out --time-limit" in err) == (2, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1s", "a time limit of 1s is too short: the smallest run, with 3 seeds, 100 adaptation steps"),
        ("5", "error: --time-limit: a length of time must be written as 90s, 30m, 2h or 1h30m"),
        ("0m", "error: --time-limit: a length of time must be above 0 and at most a year, got 0 seconds"),
    ],
)
def test_a_time_that_cannot_be_kept_is_refused_before_anything_is_written(
    text, message, understudy, tmp_path, tiny_pipeline_folder
):
    write_pets("pets")
    words = ("run", "pets", "--generator", tiny_pipeline_folder, *NO_SIZES, "--time-limit", text)
    code, _, err = understudy(*words)
    assert code == 2
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]


def test_a_preview_shows_the_plan(understudy, tiny_pipeline_folder):
    write_pets("pets")
    options = ("--generator", tiny_pipeline_folder, *OPTIONS, "--time-limit", "1h30m")
    code, out, err = understudy("preview", "pets", "--images", 1, *options)
    assert (code, err) == (0, "")
    assert "\ntime limit 1h30m: nothing is cut; expected " in out
    assert shlex.split(out.splitlines()[-1])[-2:] == ["--time-limit", "1h30m"]


def test_sizes_given_by_times_are_not_cut(understudy, tiny_pipeline_folder):
    write_pets("pets")
    words = ("preview", "pets", "--generator", tiny_pipeline_folder, *NO_SIZES, "--times", 3)
    code, _, err = understudy(*words, "--time-limit", "1s")
    assert code == 2
    assert "42 images and the given draw.min_per_class, draw.times, takes about" in err
