"""Larger synthetic sets after the comparison: nested, asked for at any time, and never drawn or trained
twice.
"""

import dataclasses
import hashlib
import json
import re
import shutil
from contextlib import contextmanager

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from tiny_job import Listener, results_of, times, tiny_settings, tree

from understudy import cli
from understudy.core.config import check_effect
from understudy.core.errors import InputError
from understudy.curation.scores import SCORES, Score
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run, write_report_again
from understudy.report.terminal import summary_table

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]

DRAW = {"per_class": None, "times": 1, "min_per_class": 1, "part_size": 8, "batch_size": 8}
ARMS = {"arms": ["real", "synthetic"], "steps": 2}
SHARES = [0.5]


@pytest.fixture(scope="module")
def job(pets, tiny_pipeline_folder):
    """Settings of a run that compares two arms and then studies sets of the sizes asked for."""

    def settings(*sizes, **changes):
        sections = {
            "adapt": {"method": "none"},
            "draw": DRAW,
            "compare": ARMS,
            "scale": {"times": sizes, "real_shares": SHARES},
        }
        return tiny_settings(pets, tiny_pipeline_folder, **sections | changes)

    return settings


@pytest.fixture(scope="module")
def plain(job, tmp_path_factory):
    """A finished run without larger sets. Tests only copy it."""
    out = tmp_path_factory.mktemp("runs") / "plain"
    assert "scale" not in run(job(), out)
    return out


@pytest.fixture(scope="module")
def doubled(job, plain):
    """The same, asked for once and twice as many images later; and who listened. Tests only copy it."""
    out, listener = shutil.copytree(plain, plain.with_name("doubled")), Listener()
    run(job(1, 2), out, observer=listener)
    return out, listener


def sets_of(folder):
    """Ids of the images of every size."""
    return {
        path.parent.name: json.loads(path.read_text())
        for path in sorted(folder.glob("arms/times-*/images.json"))
    }


KEPT = re.compile(
    r"data/.*|synthetic/(plan|images)/.*|synthetic/(curated|decisions).*|arms/.*(npz|images\.json)|stages/(load|adapt|draw|curate|compare).json"
)


def kept(folder):
    """Everything drawn, trained and recorded before, with the time at which it was written."""
    return {
        path: when
        for path, when in times(folder).items()
        if KEPT.fullmatch(path) and path != "synthetic/plan/scale.json"
    }


def test_a_run_without_larger_sets_has_no_such_stage(plain):
    assert not (plain / "stages" / "scale.json").exists()
    assert not list(plain.glob("arms/*-*/images.json"))


def test_larger_sets_hold_smaller_ones_and_nothing_is_drawn_twice(doubled):
    out, _ = doubled
    sets, train = sets_of(out), LabelledSet.load(out / "data" / "train.parquet")
    assert {name: len(ids) for name, ids in sets.items()} == {
        "times-1": len(train),
        "times-2": 2 * len(train),
    }
    assert set(sets["times-1"]) < set(sets["times-2"])
    assert set(sets["times-1"]) == set(LabelledSet.load(out / "synthetic" / "curated.parquet").ids)
    scaled = LabelledSet.load(out / "synthetic" / "scaled.parquet")
    assert set(scaled.ids) == set(sets["times-2"])
    assert scaled.counts.tolist() == (2 * train.counts).tolist()
    rows = [
        row
        for part in sorted(out.glob("synthetic/plan/*/part-*.parquet"))
        for row in pq.read_table(part).to_pylist()
    ]
    assert len({row["id"] for row in rows}) == len({row["seed"] for row in rows}) == len(rows) == len(scaled)


def test_asking_later_keeps_everything_and_only_adds(plain, doubled):
    out, listener = doubled
    before, after = tree(plain), tree(out)
    changed = {path for path in before if after[path] != before[path]}
    assert changed == {"settings.yaml", "results.json", "report.html", "README.md", "stages/report.json"}
    assert kept(out).items() >= kept(plain).items(), "shutil.copytree keeps times"
    said = [line for line in listener.lines if "finished earlier" not in line]
    assert [line.split(":")[0] for line in said] == ["scale", "report"]
    assert said[0].startswith("scale: 1x, 2x in ")
    assert listener.bars["scale"] == {"done": 18, "total": 18}, (
        "3 seeds of 2 steps: real on half the images, synthetic on two sets"
    )


def test_results_report_and_terminal_tell_of_the_sizes(doubled, plain):
    out, _ = doubled
    results = results_of(out)
    scale, count = results["scale"], results["data"]["train"]
    assert set(scale) == {"times", "images", "real", "arms", "stopped"}
    assert scale["stopped"] is None
    assert scale["times"] == [1, 2]
    assert scale["images"] == [count, 2 * count]
    assert [point["images"] for point in scale["real"]["curve"]] == [count // 2, count]
    assert set(scale["arms"]) == {"synthetic"}
    assert set(scale["arms"]["synthetic"]) == {
        "curve",
        "minus_real",
        "marginal",
        "log_fit",
        "next_doubling",
        "worth_real_images",
        "overtakes_real_at",
    }
    assert scale["real"]["curve"][-1]["seeds"] == results["arms"]["real"]["accuracy"]["seeds"], (
        "not trained again"
    )
    assert results["cost"]["seconds"]["scale"] > 0
    assert {name: value for name, value in results.items() if name not in ("scale", "cost")} == {
        name: value for name, value in results_of(plain).items() if name != "cost"
    }
    assert 'id="scale"' in (out / "report.html").read_text()
    assert 'id="scale"' not in (plain / "report.html").read_text()
    console = Console(width=200)
    with console.capture() as printed:
        console.print(summary_table(results))
    assert f"synthetic, {2 * count} synthetic images: worth" in printed.get()


def test_the_same_again_does_nothing(job, doubled):
    out, _ = doubled
    before, listener = times(out), Listener()
    run(job(1, 2), out, observer=listener)
    assert times(out) == before
    assert all("finished earlier, kept" in line for line in listener.lines)
    assert len(listener.lines) == 8


def test_more_sizes_later_keep_the_sets_that_are_there(job, doubled, tmp_path):
    """In any order; and without any size the sizes that were studied stay in the results."""
    out = shutil.copytree(doubled[0], tmp_path / "run")
    before, sets, results = kept(out), sets_of(out), results_of(out)["scale"]
    more = run(job(3, 1, 2), out)["scale"]
    assert kept(out).items() >= before.items()
    assert sets_of(out).items() > sets.items()
    assert set(sets_of(out)["times-2"]) < set(sets_of(out)["times-3"])
    assert more["times"] == [1, 2, 3]
    assert more["arms"]["synthetic"]["curve"][:2] == results["arms"]["synthetic"]["curve"]
    after = kept(out)
    assert run(job(1, 2, 3), out)["scale"] == more
    assert run(job(), out)["scale"] == more
    assert kept(out) == after


class StopError(BaseException):
    """As a kill: nothing handles it."""


class Stopping(Listener):
    """Ends the run at a moment: when something is said, or after some steps of a bar."""

    def __init__(self, text, steps=None):
        super().__init__()
        self._text, self._steps = text, steps

    def say(self, text):
        super().say(text)
        if self._steps is None and text.startswith(self._text):
            raise StopError

    @contextmanager
    def bar(self, text, *, total, unit):
        with super().bar(text, total=total, unit=unit) as advance:

            def counted(amount):
                advance(amount)
                if (
                    self._steps is not None
                    and text.startswith(self._text)
                    and self.bars[text]["done"] >= self._steps
                ):
                    raise StopError

            yield counted


def test_sizes_that_were_measured_stay(job, doubled, tmp_path):
    """Given by the first command again, or by --times: fewer sizes take nothing away."""
    out, listener = shutil.copytree(doubled[0], tmp_path / "run"), Listener()
    before = tree(out)
    results = run(job(1), out, observer=listener)
    assert results["scale"]["times"] == [1, 2]
    assert "scale.times: 2 measured earlier, kept" in listener.lines
    assert tree(out) == before


def test_a_stop_at_any_moment_changes_nothing(job, doubled, plain, tmp_path):
    """While drawing, in the middle of a training of either kind, and between the last figures and the report
    about them.
    """
    whole, out = doubled[0], shutil.copytree(plain, tmp_path / "run")
    untouched = kept(out)
    for observer in (
        Stopping("draw round-01", 8),
        Stopping("scale", 3),
        Stopping("scale", 7),
        Stopping("scale:"),
    ):
        with pytest.raises(StopError):
            run(job(1, 2), out, observer=observer)
        assert kept(out).items() >= untouched.items()
        untouched = kept(out)
    assert "scale" not in results_of(out), "the report is older than what it is about"
    assert run(job(1, 2), out)["scale"] == results_of(whole)["scale"]
    assert 'id="scale"' in (out / "report.html").read_text()
    assert tree(out / "synthetic") == tree(whole / "synthetic")
    assert sets_of(out) == sets_of(whole)


def hashed(share):
    """A score that passes a share of the images, whatever they show."""

    def score(drawn, judge):
        return np.array(
            [hashlib.sha256(name.encode()).digest()[0] < 256 * share for name in drawn.ids], dtype=float
        )

    return Score(score, "none", 0.5)


def test_a_set_that_fell_short_stays_as_it_was_trained(job, plain, tmp_path, monkeypatch):
    """Later rounds, drawn for a larger set, would fill it: but the accuracy that is reported is that of what
    was trained on.
    """
    monkeypatch.setitem(SCORES._things, "agreement", hashed(0.2))
    curate, out = {"threshold": 0.5, "max_refills": 0}, tmp_path / "run"
    count = len(LabelledSet.load(plain / "data" / "train.parquet"))
    first = run(job(1, curate=curate), out)["scale"]
    assert first["images"][0] < count
    sets = sets_of(out)
    second = run(job(1, 2, curate=curate), out)["scale"]
    assert second["images"][0] == first["images"][0] < second["images"][1]
    assert second["arms"]["synthetic"]["curve"][0] == first["arms"]["synthetic"]["curve"][0]
    assert sets_of(out)["times-1"] == sets["times-1"]
    assert set(sets["times-1"]) < set(sets_of(out)["times-2"])


def test_every_image_of_a_larger_set_passed_the_judge(job, tmp_path):
    """With the real score: a classifier that was trained on the real images."""
    results = run(
        job(1, 2, curate={"score": "agreement", "threshold": 1.0, "max_refills": 1}), tmp_path / "run"
    )
    scaled = LabelledSet.load(tmp_path / "run" / "synthetic" / "scaled.parquet")
    assert results["curation"]["rejected"].get("low score", 0) > 0, "the judge was asked"
    assert set(scaled.provenance("score")) == {1.0}
    decided = {
        row["id"]: row
        for row in pq.read_table(tmp_path / "run" / "synthetic" / "decisions.parquet").to_pylist()
    }
    assert all(decided[name]["score"] == 1 for name in scaled.ids if name in decided)
    assert results["scale"]["images"][-1] == len(scaled)
    assert (scaled.counts <= 2 * LabelledSet.load(tmp_path / "run" / "data" / "train.parquet").counts).all()


def test_nothing_to_scale_is_said_and_the_rest_can_be_reported(job, tmp_path, monkeypatch):
    monkeypatch.setitem(SCORES._things, "agreement", hashed(0))
    with pytest.raises(
        InputError,
        match="scale needs images that pass curation, but every drawn image was rejected: see",
    ):
        run(job(2, curate={"threshold": 0.5, "max_refills": 0}), tmp_path / "run")
    assert list(write_report_again(RunFolder.find(tmp_path / "run"))["arms"]) == ["real"]


def test_a_size_without_any_image_is_refused(job, plain, tmp_path):
    """And not taken for the curated set."""
    with pytest.raises(
        InputError, match="scale.times must give a class at least one image, got 0.01 times at most 8"
    ):
        run(job(2, 0.01), shutil.copytree(plain, tmp_path / "run"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,two", r"--times must be numbers separated by commas, such as 1,2,5,10, got '1,two'"),
        ("", r"--times must be numbers separated by commas, such as 1,2,5,10, got ''"),
        ("1,,2", r"--times must be numbers separated by commas"),
        ("0,2", r"setting 'draw.times': .*greater than 0, got 0"),
        ("-1", r"setting 'draw.times': .*greater than 0, got -1"),
    ],
)
def test_sizes_that_are_none_are_refused(text, message, pets, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        cli.main(["run", str(pets), f"--times={text}", "--out", str(tmp_path / "run")])
    assert exit_.value.code == 2
    assert not list(tmp_path.iterdir())
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("text", "compared", "sizes"),
    [("5,1, 2,2", 1, (1, 2, 5)), ("3", 3, ()), ("0.5,1.5", 0.5, (0.5, 1.5)), ("2,2.0", 2, ())],
)
def test_the_smallest_size_is_compared_and_all_are_studied(
    text, compared, sizes, pets, tiny_pipeline_folder, tmp_path
):
    with pytest.raises(SystemExit) as exit_:
        words = (
            "adapt",
            pets,
            "--recipe",
            "vanilla",
            "--generator",
            tiny_pipeline_folder,
            "--times",
            text,
            "--out",
            tmp_path / "run",
        )
        cli.main([str(word) for word in words])
    assert exit_.value.code == 0
    settings = RunFolder.find(tmp_path / "run").settings
    assert (settings.draw.times, settings.draw.min_per_class, settings.scale.times) == (compared, 1, sizes)


def test_a_size_between_those_of_earlier_requests_is_full(job, doubled, tmp_path):
    """Every image that lies there is used before more is drawn, however many rounds it took to draw them."""
    out = shutil.copytree(doubled[0], tmp_path / "run")
    run(job(1, 2, 3, 4), out)
    drawn = len(list(out.glob("synthetic/images/*/*.parquet")))
    for sizes in ((1, 3.5), (1, 4)):
        scale = run(job(*sizes), out)["scale"]
        assert set(sizes) | {1, 2, 3, 4} <= set(scale["times"])
        assert scale["images"] == [round(size * scale["images"][0]) for size in scale["times"]]
    assert len(list(out.glob("synthetic/images/*/*.parquet"))) == drawn


def fixed_gains(monkeypatch, gains):
    """Validation accuracies of the sizes as if every step had gained so much."""
    from understudy.pipeline import scale

    reason = scale.stop_reason

    def told(arms, images, *, below):
        sizes = sorted(images)
        accuracy = {size: float(np.sum(gains[:number])) for number, size in enumerate(sizes)}
        named = {
            arm: {
                size: dataclasses.replace(result, val_accuracy=(accuracy[size],) * 3)
                for size, result in results.items()
            }
            for arm, results in arms.items()
        }
        return reason(named, images, below=below)

    monkeypatch.setattr(scale, "stop_reason", told)


def test_a_rule_that_never_stops_changes_no_figure(job, doubled, tmp_path, monkeypatch):
    """Drawn and trained size by size, the sets and what they give are the same."""
    fixed_gains(monkeypatch, [0.1, 0.1])
    sizes = (1, 2, 3)
    together = run(job(*sizes), shutil.copytree(doubled[0], tmp_path / "together"))["scale"]
    listener = Listener()
    one_by_one = run(
        job(scale={"times": sizes, "real_shares": SHARES, "stop_below": 1}),
        tmp_path / "run",
        observer=listener,
    )["scale"]
    assert one_by_one == together
    assert sets_of(tmp_path / "run") == sets_of(tmp_path / "together")
    said = [line for line in listener.lines if line.startswith("scale")]
    assert len(said) == 1 and said[0].startswith("scale: 1x, 2x, 3x in ")


def test_after_a_stop_nothing_larger_is_drawn_or_trained(job, tmp_path, monkeypatch):
    fixed_gains(monkeypatch, [0.1, 0.0, 0.1])
    scale = {"times": (4, 1, 2, 3), "real_shares": SHARES, "stop_below": 2}
    out, listener = tmp_path / "run", Listener()
    found = run(job(scale=scale), out, observer=listener)["scale"]
    train = LabelledSet.load(out / "data" / "train.parquet")
    assert found["times"] == [1, 2, 3]
    assert (found["stopped"]["arm"], found["stopped"]["at"]) == ("synthetic", 3)
    assert f"scale: {found['stopped']['sentence']}" in listener.lines
    assert sorted(sets_of(out)) == ["times-1", "times-2", "times-3"]
    rows = [
        row
        for part in out.glob("synthetic/images/*/part-*.parquet")
        for row in pq.read_table(part, columns=["id"]).to_pylist()
    ]
    assert len(rows) == 3 * len(train)
    before = kept(out)
    again = run(job(scale=scale), out)["scale"]
    assert again == found and kept(out) == before
    monkeypatch.undo()
    more = run(job(1, 2, 3, 4), out)["scale"]
    assert more["times"] == [1, 2, 3, 4] and more["stopped"] is None
    assert kept(out).items() >= before.items(), "what was tried is kept when the rule is switched off"


def test_a_kill_between_two_sizes_changes_nothing(job, tmp_path, monkeypatch):
    fixed_gains(monkeypatch, [0.1, 0.0])
    scale = {"times": (1, 2, 3), "real_shares": SHARES, "stop_below": 0.5}
    whole = run(job(scale=scale), tmp_path / "whole")["scale"]
    for observer in (Stopping("draw round-01", 8), Stopping("scale", 4)):
        with pytest.raises(StopError):
            run(job(scale=scale), tmp_path / "run", observer=observer)
    assert run(job(scale=scale), tmp_path / "run")["scale"] == whole
    assert tree(tmp_path / "run" / "synthetic") == tree(tmp_path / "whole" / "synthetic")


def test_a_rule_without_effect_is_refused(job):
    with pytest.raises(
        InputError, match=r"stop_below 1 needs at least three sizes, .* got 1, 2: leave it out"
    ):
        job(scale={"times": (1, 2), "stop_below": 1})
    with pytest.raises(
        InputError,
        match=r"scale.stop_below needs sets .* without curate.direction gives, got curate.select 'coverage'",
    ):
        job(scale={"times": (1, 2, 3), "stop_below": 1}, curate={"select": "coverage"})
    with pytest.raises(InputError, match=r"scale.stop_below needs sets .*, got curate.direction 'most'"):
        job(scale={"times": (1, 2, 3), "stop_below": 1}, curate={"direction": "most"})
    with pytest.raises(InputError, match=r"scale.stop_below has no effect while scale.times is \[\]"):
        check_effect(job(scale={"stop_below": 1}), ["scale.stop_below"])
