"""The whole job on a tiny folder, stage by stage."""

import runpy
from pathlib import Path

import pytest
from tiny_job import Listener, results_of, times, tiny_settings

from understudy.core.errors import InputError
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import STAGES, run

pytestmark = pytest.mark.usefixtures("plain_report")

ROOT = Path(__file__).parent.parent.parent


def test_results_are_as_documented(finished, capsys):
    out, _ = finished
    runpy.run_path(str(ROOT / "benchmarks" / "check_results.py"))["main"](out / "results.json")
    results = results_of(out)
    assert results["data"]["classes"] == ["cat", "dog"]
    assert results["data"]["train"] + results["data"]["val"] + results["data"]["test"] == 24
    *arms, refit = results["arms"]
    assert arms == ["real", "real+val", "synthetic", "mixed", "bridged"]
    assert refit == f"{results['verdict']['best']}+val"
    assert set(results["cost"]["seconds"]) == {
        "load",
        "adapt",
        "draw",
        "curate",
        "fidelity",
        "memorisation",
        "compare",
    }
    assert 0.1 < results["cost"]["peak_memory_gb"] < 16
    assert results["adaptation"]["steps"] == 4
    assert results["environment"]["device"] == "cpu"
    assert results["verdict"]["sentence"] in capsys.readouterr().out


def test_every_stage_says_something_and_bars_end_full(finished):
    out, listener = finished
    stages = [stage.name for stage in STAGES if stage.is_wanted(RunFolder.find(out).settings)]
    assert list(dict.fromkeys(line.split(":")[0] for line in listener.lines)) == stages
    assert {"adapt", "draw round-00", "compare"} <= set(listener.bars)
    assert all(bar["done"] == bar["total"] for bar in listener.bars.values())


def test_the_second_run_does_nothing_and_says_so(finished, pets, tiny_pipeline_folder):
    out, _ = finished
    before, again = times(out), Listener()
    settings = tiny_settings(pets, tiny_pipeline_folder)
    results = run(settings, out, observer=again)
    assert times(out) == before
    assert again.lines == [
        f"{stage.name}: finished earlier, kept" for stage in STAGES[1:] if stage.is_wanted(settings)
    ]
    assert not again.bars
    assert results == results_of(out)


def test_settings_that_differ_write_nothing(finished, pets, tiny_pipeline_folder):
    out, _ = finished
    before = times(out)
    settings = tiny_settings(pets, tiny_pipeline_folder, draw={"guidance_scale": 3.0})
    with pytest.raises(InputError, match=r"draw.guidance_scale: 1.0 in the folder, 3.0 now"):
        run(settings, out)
    with pytest.raises(InputError, match="--resume never was given"):
        run(RunFolder.find(out).settings, out, resume="never")
    assert times(out) == before
