"""Curation as a stage: which drawn images stay, and what happens where none does."""

from functools import partial

import pyarrow.parquet as pq
import pytest
import torch
from tiny_job import BUNDLED, Listener, results_of, tiny_settings

from understudy.commands.export import export_dataset as export_run
from understudy.core.errors import InputError
from understudy.curation.scores import SCORES, Score
from understudy.data.labelled_set import LabelledSet
from understudy.generators.stable_diffusion import StableDiffusionGenerator
from understudy.pipeline.domain import what_else
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.settings import build, with_section

pytestmark = pytest.mark.usefixtures("plain_report")


def test_the_curated_set_is_what_the_results_say(finished):
    out, _ = finished
    curated, results = LabelledSet.load(out / "synthetic" / "curated.parquet"), results_of(out)
    decisions = pq.read_table(out / "synthetic" / "decisions.parquet").to_pylist()
    assert curated.split == "synthetic"
    assert curated.ids == [row["id"] for row in decisions if row["kept"]]
    assert len(curated) == results["curation"]["kept"] > 0
    assert len(decisions) == results["curation"]["drawn"]
    assert set(curated.provenance("adapter")) == {results["adaptation"]["fingerprint"]}
    assert set(curated.provenance("nearest_id")) <= set(LabelledSet.load(out / "data" / "train.parquet").ids)


@pytest.mark.slow
def test_a_generator_that_draws_nothing_useful(pets, tiny_pipeline_folder, tmp_path, real_report):
    """Every image is one grey: nothing is kept, the run ends all the same, and its page says so."""
    grey = StableDiffusionGenerator.load(str(tiny_pipeline_folder)).pipeline
    with torch.no_grad():
        for parameter in grey.vae.decoder.conv_out.parameters():
            parameter.zero_()
    grey.save_pretrained(tmp_path / "grey")
    listener, out = Listener(), tmp_path / "run"
    results = run(
        tiny_settings(pets, tmp_path / "grey", adapt={"method": "none"}, curate={"max_refills": 2}),
        out,
        observer=listener,
    )
    # The first round asks for 3 per class, each refill for 4 times what is missing.
    problem = results["curation"]["problem"]
    assert problem.startswith(
        "after 2 refills, 2 of 2 classes have no image, and 0 of the 6 wanted images were kept:\n"
        "  'cat': 27 drawn (27 constant)"
    )
    expected = {
        "drawn": 54,
        "kept": 0,
        "rejected": {"constant": 54},
        "threshold": 0.0,
        "rounds": 3,
        "missing": {"cat": 3, "dog": 3},
    }
    assert results["curation"] == expected | {"problem": problem}
    assert list(results["arms"]) == ["real", "real+val"]
    assert results["verdict"]["helps"] is False
    assert results["verdict"]["sentence"].startswith(
        "None of the 54 drawn images passed curation. No arm used synthetic images"
    )
    assert "curate: kept 0 of 54 drawn, 6 fewer than wanted" in listener.lines
    assert "None of the 54 drawn images passed curation" in (out / "report.html").read_text()
    assert results["fidelity"]["warnings"][0].startswith("Fidelity was not measured:")
    assert results["memorisation"]["spaces"] == {}
    with pytest.raises(InputError, match="has no images to export, because no drawn image passed curation"):
        export_run(RunFolder.find(out), tmp_path / "to", form="folder")
    assert run(RunFolder.find(out).settings, out) == results


@pytest.mark.slow
def test_a_class_that_cannot_be_filled_is_reported(pets, tiny_pipeline_folder, tmp_path, monkeypatch):
    """All dogs are rejected; training goes on with the cats."""
    monkeypatch.setitem(
        SCORES._things,
        "agreement",
        Score(lambda drawn, judge: (drawn.labels == 0).astype(float), "none", 0.5),
    )
    results = run(
        tiny_settings(
            pets,
            tiny_pipeline_folder,
            adapt={"method": "none"},
            curate={"threshold": 0.5},
            compare={"arms": ["real", "synthetic"]},
        ),
        tmp_path / "run",
    )
    assert results["curation"]["missing"] == {"dog": 3}
    assert results["curation"]["rejected"] == {"low score": 15}
    assert results["fidelity"]["agreement"]["per_class"] == [1.0, 0.0]
    assert LabelledSet.load(tmp_path / "run" / "synthetic" / "curated.parquet").counts.tolist() == [3, 0]
    assert set(results["arms"]) == {"real", "synthetic"}


STOPPED = r"does not know such images: .* of 60 drawn images \(chance: 10%\).*look at .*samples.png"


def of_noise(pipeline, *, per_class, **curate):
    """A run that draws digits with random weights."""
    return tiny_settings(
        "digits",
        pipeline,
        data={"source": "digits", "shots": 10},
        adapt={"method": "none"},
        draw={"per_class": per_class, "part_size": 64, "batch_size": 64},
        curate={"threshold": None, **curate},
        compare=BUNDLED | {"steps": 40, "batch_size": 16, "augmentation": "affine", "learning_rate": 3e-3},
    )


@pytest.mark.slow
def test_a_generator_that_does_not_know_the_images_stops_the_run(tiny_pipeline_folder, tmp_path):
    """Random weights and handwritten digits: nothing more is drawn, and no arm is trained."""
    settings = partial(of_noise, tiny_pipeline_folder, per_class=6)
    out = tmp_path / "run"
    with pytest.raises(InputError, match=STOPPED):
        run(settings(max_refills=1), out)
    assert not (out / "stages" / "curate.json").exists()
    assert [path.name for path in (out / "synthetic" / "images").iterdir()] == ["round-00"]
    assert (out / "synthetic" / "samples.png").is_file()
    told = Listener()
    accepting = tmp_path / "accepting"
    run(settings(threshold=0.0, max_refills=0), accepting, until="curate", observer=told)
    assert not [line for line in told.lines if "tell whether" in line], "the user accepts all images"
    records = run(settings(max_refills=1, stop_at_chance=False), out, until="curate")
    domain = records["curate"]["fidelity"]["domain"]
    assert (domain["knows"], domain["chance"]) == (False, pytest.approx(0.1, abs=0.05))
    assert domain["images"] > 60, "rejected images were replaced"


@pytest.mark.slow
def test_a_run_also_stops_when_images_in_place_of_rejected_ones_show_it(tiny_pipeline_folder, tmp_path):
    """Thirty images are too few to tell."""
    out = tmp_path / "run"
    with pytest.raises(InputError, match=r"does not know such images: .* of \d{2,} drawn images"):
        run(of_noise(tiny_pipeline_folder, per_class=3, max_refills=3), out)
    rounds = [path.name for path in (out / "synthetic" / "images").iterdir()]
    assert 2 <= len(rounds) <= 4
    assert not (out / "stages" / "curate.json").exists()


@pytest.mark.slow
def test_the_first_images_of_a_large_pipeline_are_judged_before_the_others_are_drawn(
    tiny_pipeline_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr("understudy.pipeline.draw.is_large", lambda name: name == str(tiny_pipeline_folder))
    monkeypatch.setattr("understudy.pipeline.draw.ENOUGH", 55)
    settings = of_noise(tiny_pipeline_folder, per_class=30, max_refills=0)
    out = tmp_path / "run"
    with pytest.raises(InputError, match=STOPPED):
        run(settings, out)
    assert not (out / "stages" / "draw.json").exists()
    assert (out / "synthetic" / "samples.png").is_file()
    drawn = LabelledSet.load(next((out / "synthetic" / "images" / "round-00").glob("part-*.parquet")))
    assert drawn.counts.tolist() == [6] * 10
    going_on = with_section(settings, "curate", stop_at_chance=False)
    assert run(going_on, out, until="draw")["draw"]["images"] == 300


def test_a_run_on_images_that_the_generator_knows_records_it(finished):
    found = results_of(finished[0])["fidelity"]["domain"]
    assert found["images"] == results_of(finished[0])["curation"]["drawn"]
    assert found["knows"] is None, "fewer than 50 images cannot tell"


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({}, "class_conditional, which learns from your images alone, or images made elsewhere"),
        ({"name": "class_conditional"}, "on the hub), or images made elsewhere"),
        (
            {"name": "folder", "images": ["made"]},
            "check that the images of generator.images lie in the folders",
        ),
    ],
)
def test_the_advice_never_names_what_is_in_use(changes, advice):
    told = what_else(build({"data": {"source": "digits"}, "generator": changes}))
    assert advice in told
    assert f"--generator {changes.get('name')}" not in told


def test_a_judge_that_does_not_know_real_images_either_stops_nothing(tiny_pipeline_folder, tmp_path):
    settings = tiny_settings(
        "digits",
        tiny_pipeline_folder,
        data={"source": "digits", "shots": 5},
        adapt={"method": "none"},
        draw={"per_class": 6, "part_size": 64, "batch_size": 64},
        curate={"threshold": None, "max_refills": 0},
        compare={"steps": 2},
    )
    told = Listener()
    domain = run(settings, tmp_path / "run", until="curate", observer=told)["curate"]["fidelity"]["domain"]
    assert domain["knows"] is False
    assert [line for line in told.lines if "validation images: it knows too little to tell whether" in line]


@pytest.mark.parametrize("allocation", ["as-real", "weak-classes"])
def test_a_run_says_once_that_few_images_do_not_tell(allocation, pets, tiny_pipeline_folder, tmp_path):
    settings = tiny_settings(
        pets,
        tiny_pipeline_folder,
        adapt={"method": "none"},
        draw={"allocation": allocation},
        curate={"threshold": None},
    )
    told = Listener()
    run(settings, tmp_path / "run", until="curate", observer=told)
    assert len([line for line in told.lines if "too few, or too close to chance, to tell" in line]) == 1
