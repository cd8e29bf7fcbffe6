"""The decomposition of the gap as a stage of a run, and what scarce data may see."""

import json
import shutil

import numpy as np
import pytest
from tiny_job import SECTIONS, Listener, tiny_settings, tree, write_pets

from understudy.core.errors import InputError
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.settings import build
from understudy.training.strategies import STRATEGIES

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]

ARMS = ("real", "synthetic", "mixed", "synthetic@confidence-filter", "mixed@refresh")
LOOSE = {"score": "none", "threshold": None, "validation_pass": 1.0}
GAP = {"measure": True, "strengths": [0.5, 0.9]}


@pytest.fixture(scope="module")
def job(pets, tiny_pipeline_folder):
    def settings(**gap):
        return tiny_settings(
            pets,
            tiny_pipeline_folder,
            curate=LOOSE,
            compare={"arms": list(ARMS), "batch_size": 16, "curve_points": 0},
            gap=gap,
            data={"source": str(pets), "shots": 3},
        )

    return settings


@pytest.fixture(scope="module")
def finished(job, tmp_path_factory):
    """A run without the gap, and the same folder after it was asked for."""
    out = tmp_path_factory.mktemp("gap") / "run"
    run(job(), out)
    before = shutil.copytree(out, out.parent / "before")
    listener = Listener()
    return before, out, run(job(**GAP), out, observer=listener), listener


def test_it_is_added_to_a_finished_run_which_stays_as_it_was(finished):
    before, out, results, listener = finished
    kept = tree(before)
    changed = {name for name, digest in tree(out).items() if name in kept and kept[name] != digest}
    assert changed - {"README.md"} == {"settings.yaml", "stages/report.json", "results.json", "report.html"}
    assert "gap" not in json.loads((before / "results.json").read_text())
    assert set(results["gap"]["arms"]) == {
        *("real", "plain", "filtered", "fresh", "filtered+fresh", "diverse", "matched", "reconstructed"),
    }
    assert all(bar["done"] == bar["total"] for bar in listener.bars.values())
    assert 'id="gap"' in (out / "report.html").read_text()


def test_the_terms_add_up(finished):
    terms = {name: term["mean"] for name, term in finished[2]["gap"]["terms"].items()}
    assert terms["total"] == pytest.approx(
        terms["appearance"] + terms["content"] + terms["recovered"], abs=1e-9
    )
    path, reverse = (
        sum(step["mean"] for step in finished[2]["gap"][name]) for name in ("path", "reverse_path")
    )
    assert path == pytest.approx(reverse, abs=1e-9)


def test_sets_are_as_many_as_real_images_and_start_where_they_say(finished):
    out = finished[1] / "synthetic" / "variants" / "gap"
    real = LabelledSet.load(finished[1] / "data" / "train.parquet")
    plain, redrawn = (LabelledSet.load(out / f"{name}.parquet") for name in ("plain", "redrawn-0.5"))
    assert plain.counts.tolist() == redrawn.counts.tolist() == real.counts.tolist()
    assert sorted(redrawn.provenance("source_id")) == sorted(real.ids), "each real image once"
    assert set(plain.provenance("source_id")) == {""}
    for name in ("plain", "redrawn-0.5"):
        assert json.loads((out / f"{name}.json").read_text())["copies"] is None, (
            "redrawn images may be copies, so none is looked for"
        )


def test_copies_among_the_images_of_an_arm_are_counted(finished):
    path = finished[1] / "synthetic" / "variants" / "confidence-filter"
    flags = LabelledSet.load(path.with_suffix(".parquet")).provenance("flag")
    assert json.loads(path.with_suffix(".json").read_text())["copies"] == sum(flag != "" for flag in flags)


def test_what_is_drawn_alike_is_drawn_once(finished):
    """Plain, filtered, fresh and matched sets share the images of the run."""
    supplies = finished[1] / "synthetic" / "supplies"
    assert sorted(path.name for path in supplies.iterdir()) == [
        "noise_scale=1.1",
        "strength=0.5",
        "strength=0.9",
    ]
    run_images = LabelledSet.concatenate(
        [LabelledSet.load(path) for path in sorted((finished[1] / "synthetic" / "images").rglob("*.parquet"))]
    )
    fresh = LabelledSet.load(next((finished[1] / "synthetic" / "variants" / "gap").glob("refresh-*.parquet")))
    assert set(fresh.ids) <= set(run_images.ids)


def test_the_noise_floor_has_other_real_images(finished):
    spare = LabelledSet.load(finished[1] / "data" / "spare.parquet")
    train = LabelledSet.load(finished[1] / "data" / "train.parquet")
    assert spare.counts.tolist() == train.counts.tolist()
    assert set(spare.ids).isdisjoint(train.ids)
    assert finished[2]["gap"]["noise_floor"]["measured_by"] == "independent real sample"


def test_advice_names_every_strategy_and_what_was_gained(finished):
    rows = {row["name"]: row for row in finished[2]["gap"]["advice"]}
    assert set(rows) == {name for name in STRATEGIES if not STRATEGIES[name].is_control}
    assert (
        rows["confidence-filter"]["gains"]["synthetic"]
        == finished[2]["arms"]["synthetic@confidence-filter"]["minus_plain"]
    )
    assert set(rows["refresh"]["gains"]) == {"mixed"}
    assert rows["coverage"]["gains"] == {}


def test_a_second_time_nothing_is_done(finished, job):
    listener, before = Listener(), tree(finished[1])
    run(job(**GAP), finished[1], observer=listener)
    assert tree(finished[1]) == before
    assert listener.bars == {}


def test_the_command_says_what_came_out(finished, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    from understudy.cli import (
        main,
    )  # not above: its console takes the width of the terminal when it is first imported

    with pytest.raises(SystemExit) as ended:
        main(["gap", str(finished[1]), "--strengths", "0.5,0.9"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "appearance" in printed
    assert "share of the gap" in printed


def scarce(tmp_path, tiny_pipeline_folder, *, others):
    """A folder with splits; of the train images, ``others`` decides those that two shots leave out."""
    source = tmp_path / f"source-{others}"
    for split, seed in (("train", 0), ("val", 1), ("test", 2)):
        write_pets(source / split, 6, seed=seed)
    sections = {
        "data": {"source": str(source), "shots": 2},
        "generator": {"name": str(tiny_pipeline_folder)},
        "seed": 3,
    }
    arms = [
        "real",
        "synthetic@confidence-filter",
        "synthetic@coverage",
        "synthetic@weak-classes",
        "mixed@soft-labels",
    ]
    settings = build(SECTIONS, {"curate": LOOSE, "compare": {"arms": arms, "curve_points": 0}}, sections)
    if others:
        kept = tmp_path / "source-0"
        known = {split: ids_of(tmp_path / "run-0", split) for split in ("train", "val")}
        replacement = write_pets(tmp_path / "noise", 6, seed=99)
        for split, ids in known.items():
            for path in sorted((kept / split).rglob("*.png")):
                relative = path.relative_to(kept)
                if str(relative) not in ids:
                    shutil.copy(replacement / path.parent.name / path.name, source / relative)
    out = tmp_path / f"run-{others}"
    results = run(settings, out)
    return out, results


def ids_of(out, split):
    """Paths below the source of the images that a run kept."""
    paths = LabelledSet.load(out / "data" / f"{split}.parquet").provenance("source_path")
    return {str(path).split("source-0/")[-1] for path in paths}


def test_generator_filters_and_thresholds_see_the_scarce_images_only(tmp_path, tiny_pipeline_folder):
    """All other train and validation images are exchanged, and everything but the noise floor's images stays
    as it is, bit for bit.
    """
    (first, found), (second, again) = (
        scarce(tmp_path, tiny_pipeline_folder, others=others) for others in (0, 1)
    )
    same = [
        name
        for name in tree(first)
        if name.startswith(("adapter/", "synthetic/")) and name.endswith((".parquet", ".safetensors"))
    ]
    assert any("variants/confidence-filter" in name for name in same)
    assert {name: tree(first)[name] for name in same} == {name: tree(second)[name] for name in same}
    for name in ("confidence-filter", "coverage", "weak-classes"):
        records = [
            json.loads((out / "synthetic" / "variants" / f"{name}.json").read_text())
            for out in (first, second)
        ]
        assert records[0]["threshold"] == records[1]["threshold"]
        assert records[0]["judged"] == records[1]["judged"]
    assert found["arms"]["mixed@soft-labels"]["accuracy"] == again["arms"]["mixed@soft-labels"]["accuracy"]
    spares = [LabelledSet.load(out / "data" / "spare.parquet") for out in (first, second)]
    assert not np.array_equal(spares[0].pixels(16), spares[1].pixels(16)), (
        "the test must have exchanged something"
    )


def folder_settings(pets, images, **sections):
    layer = {"data": {"source": str(pets)}, "generator": {"name": "folder", "images": [str(images)]}}
    return build({key: value for key, value in SECTIONS.items() if key != "adapt"}, layer, sections)


def test_images_that_another_tool_made_are_measured_too(pets, tmp_path):
    made = write_pets(tmp_path / "made", 30, seed=5)
    settings = folder_settings(
        pets, made, draw={"per_class": 20}, curate=LOOSE, gap=GAP, compare={"arms": ["real", "synthetic"]}
    )
    results = run(settings, tmp_path / "run")
    assert results["gap"]["hypothesis"]["outcome"] in ("undecided", "no gap"), "nothing could be redrawn"
    assert set(results["gap"]["arms"]) == {"real", "plain", "filtered", "fresh", "filtered+fresh", "matched"}
    assert results["gap"]["noise_floor"]["measured_by"] == "halves"


def test_images_as_varied_as_they_get_are_measured_without_more_varied_ones(
    pets, tiny_pipeline_folder, tmp_path
):
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        draw={"noise_scale": 1.1},
        gap={"measure": True, "strengths": [0.5]},
        curate={**LOOSE, "max_refills": 3},
        compare={
            "arms": ["real", "synthetic"],
            "curve_points": 0,
            "learning_rate": 1e-6,
        },  # a judge that knows little rejects little
    )
    results = run(settings, tmp_path / "run")
    assert set(results["gap"]["arms"]) == {
        "real",
        "plain",
        "filtered",
        "fresh",
        "filtered+fresh",
        "matched",
        "reconstructed",
    }
    assert "diversity" not in results["gap"]["terms"]


def test_made_images_of_other_classes_stop_the_run_before_it_begins(pets, tmp_path):
    made = write_pets(tmp_path / "made", 4)
    (made / "dog").rename(made / "wolf")
    with pytest.raises(InputError, match=r"(?s)cat, wolf.*cat, dog"):
        run(folder_settings(pets, made), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_made_images_that_are_test_images_stop_the_run(pets, tmp_path):
    with pytest.raises(
        InputError, match=r"generated images must not be (val|test) images, but \d+ of \d+ are exact copies"
    ):
        run(folder_settings(pets, pets), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_filter_that_leaves_nothing_says_so_before_anything_is_trained(
    pets, tiny_pipeline_folder, tmp_path
):
    curate = {"score": "none", "threshold": None, "max_refills": 1, "validation_pass": 0.01}
    arms = ["real", "synthetic", "synthetic@confidence-filter"]
    settings = tiny_settings(pets, tiny_pipeline_folder, curate=curate, compare={"arms": arms, "steps": 40})
    with pytest.raises(
        InputError,
        match=r"(?s)after 1 refill, .* have no image, and 0 of the .*'cat': .* best score 0\.\d+, threshold "
        r"0\.\d+.*curate",
    ):
        run(settings, tmp_path / "run")
    assert not list((tmp_path / "run").glob("arms/*"))


def test_the_study_is_open_to_further_measurements(finished):
    study = Run(RunFolder.find(finished[1]), "cpu", Listener())
    assert study.sets.of_arm("mixed@refresh").quota.tolist() == [3, 3]
    assert study.sets.of_arm("mixed").quota is None
