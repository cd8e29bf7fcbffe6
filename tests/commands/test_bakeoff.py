"""`understudy bakeoff`: a small job with tiny generators of every kind, ranked on validation images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_job import OPTIONS, SECTIONS, Listener, results_of, times, tree, write_pets

from understudy.commands import study as studies
from understudy.commands.bakeoff import run_bakeoff, small_job
from understudy.commands.study_folder import StudyFolder
from understudy.commands.study_generators import both_ways, generator_layer, read_generator
from understudy.commands.whole_run import WholeRuns, whole_settings
from understudy.core.config import check_effect
from understudy.core.errors import InputError
from understudy.core.files import read_arrays
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.settings import build

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]

SMALL = {
    "generator": {"channels": [16, 16], "resolution": 16},
    "compare": {"steps": 2},
    "fidelity": {"neighbours": 1},
}
MISSING = "nowhere/at/all"


@pytest.fixture(scope="module")
def ready_made(tmp_path_factory):
    """Pets that another tool has drawn."""
    return write_pets(tmp_path_factory.mktemp("drawn") / "pets", per_class=3, seed=5)


@pytest.fixture(scope="module")
def job(pets):
    """Settings of the whole run that the small jobs stand for."""
    sections = {**SECTIONS, "draw": {**SECTIONS["draw"], "per_class": None}}
    return lambda **more: build(sections, {"data": {"source": str(pets)}}, SMALL, more)


@pytest.fixture(scope="module")
def contest(job, tiny_pipeline_folder, ready_made, tmp_path_factory):
    """A bake-off of generators of every kind; and who listened. Tests only read or copy it."""
    out, listener = tmp_path_factory.mktemp("contest") / "pets", Listener()
    names = [str(tiny_pipeline_folder), "class_conditional", str(ready_made), MISSING]
    run_bakeoff(job(), out, generators=names, per_class=3, observer=listener)
    return out, listener


def study_of(folder):
    return json.loads((folder / "study.json").read_text())


def points_of(contest):
    return {Path(point["label"]).name: point for point in study_of(contest[0])["points"]}


def test_every_generator_does_the_same_small_job(contest, job, tiny_pipeline_folder, ready_made):
    out, _ = contest
    folders = [RunFolder.find(path) for path in sorted((out / "runs").iterdir())]
    made = {
        (str(folder.settings.generator.name), folder.settings.adapt.method, folder.settings.generator.images)
        for folder in folders
    }
    pipeline = str(tiny_pipeline_folder)
    assert made == {
        (pipeline, "full", ()),
        (pipeline, "none", ()),
        ("class_conditional", "full", ()),
        ("folder", "none", (ready_made,)),
    }
    for folder in folders:
        settings = folder.settings
        assert (settings.draw.per_class, settings.compare.arms, settings.seed) == (
            3,
            ("real", "mixed", "synthetic"),
            0,
        )
        assert settings.fidelity.encoder == "photo", "one network for all, which knows photographs"
        assert set(LabelledSet.load(folder.path / "synthetic" / "curated.parquet").counts) == {3}


@pytest.mark.parametrize(
    ("compare", "characters", "has_photo", "fidelity"),
    [
        ({"backbone": "mini", "pretrained": True}, False, True, {"encoder": "photo"}),
        ({"backbone": "mini", "pretrained": True}, False, False, {"measure": False}),
        ({"pretrained": False}, False, True, {"encoder": "photo"}),
        ({"backbone": "test_resnet", "pretrained": True}, False, False, {"encoder": "backbone"}),
        ({"backbone": "mini", "pretrained": True}, True, True, {"encoder": "backbone"}),
        ({"backbone": "mini", "pretrained": False}, True, True, {"encoder": "mini"}),
    ],
)
def test_the_bundled_networks_never_judge_photographs(
    compare, characters, has_photo, fidelity, job, monkeypatch
):
    if not has_photo:
        monkeypatch.setattr("understudy.training.photo_network.photo_weights", lambda: None)
    more = {"data": {"source": "digits"}} if characters else {}
    small = small_job(job(compare={**compare, "resolution": None}, **more), per_class=3, arms=("real",))
    assert small["fidelity"] == fidelity


def test_a_bakeoff_goes_on_with_the_encoder_that_it_began_with(job):
    """Earlier versions chose the bundled networks for photographs too."""
    begun = job(fidelity={"encoder": "mini"})
    assert small_job(job(), per_class=3, arms=("real",), begun=begun)["fidelity"]["encoder"] == "mini"
    other = job(fidelity={"encoder": "photo"})
    assert small_job(other, per_class=3, arms=("real",), begun=begun)["fidelity"] == {"encoder": "photo"}


def test_points_are_the_runs_of_their_generator(contest, job):
    """Defaults depend on the generator: the small job is that of `understudy run` with it."""
    out, _ = contest
    (folder,) = (RunFolder.find(path) for path in (out / "runs").glob("class_conditional-*"))
    sections = {**SECTIONS, "draw": {**SECTIONS["draw"]}}
    alone = build(
        sections, {"data": {"source": job().data.source}}, SMALL, {"generator": {"name": "class_conditional"}}
    )
    assert folder.settings.draw == alone.draw
    assert folder.settings.adapt == alone.adapt
    assert folder.settings.draw.sampler == "edm"


def test_a_large_pipeline_is_adapted_as_a_run_adapts_it(tmp_path):
    """By LoRA: full fine-tuning takes seven times the memory of its weights. What the user gives wins."""

    def point(name, **given):
        settings = build({"data": {"source": "digits"}}, given)
        study = StudyFolder("bakeoff", settings, (), tmp_path, settings)
        small, whole = study.run_of(name, 0).settings, whole_settings(study, name)
        assert (small.adapt, small.draw) == (whole.adapt, whole.draw)
        return small.adapt.method, small.adapt.batch_size, small.draw.guidance_scale

    assert point("org/large:adapted") == ("lora", 8, 2)
    assert point("org/large:vanilla") == ("none", 8, 2)
    assert point("org/large", adapt={"method": "full"}, draw={"guidance_scale": 1.5}) == ("full", 8, 1.5)
    assert point("mini") == ("full", 32, 1)


def test_a_large_pipeline_goes_on_as_an_earlier_version_adapted_it(tmp_path):
    """Fully fine-tuned and without guidance, in all repeats; added generators have the defaults of today."""
    base, names = build({"data": {"source": "digits"}}), ("org/large:adapted", "org/large:vanilla")
    study = StudyFolder("bakeoff", base, (), tmp_path, base)
    begun = {name: build(base.model_dump(exclude_unset=True), generator_layer(name)) for name in names}
    for name, settings in begun.items():
        RunFolder.open(study.run_of(name, 0).path, settings)
        study.note(name)
    asked = [study.run_of(name, 0) for name in (*names, "org/added:adapted")]
    study.check(asked)
    assert [one.settings for one in asked[:2]] == list(begun.values())
    assert asked[2].settings.adapt.method == "lora"
    again, whole = study.run_of(names[0], 1).settings, whole_settings(study, names[0])
    for settings in (again, whole):
        assert (settings.adapt, settings.draw) == (begun[names[0]].adapt, begun[names[0]].draw)


def test_the_ranking_is_about_validation_images(contest):
    out, _ = contest
    study = study_of(out)
    assert study["ranking"]["arm"] == "mixed"
    for point in study["points"]:
        (row,) = (row for row in study["runs"] if row["point"] == point["point"])
        results = results_of(out / row["folder"])
        for arm in ("mixed", "synthetic"):
            assert point["arms"][arm]["mean"] == pytest.approx(results["arms"][arm]["val_accuracy"])
        difference = results["arms"]["mixed"]["val_accuracy"] - results["arms"]["real"]["val_accuracy"]
        assert point["minus_real"]["mean"] == pytest.approx(difference)
        record = read_arrays(out / row["folder"] / "arms" / "mixed-seed1.npz")
        labels = LabelledSet.load(out / row["folder"] / "data" / "val.parquet").labels
        assert np.mean(record["val_predicted"] == labels) == record["val_accuracy"]
    means = [point["arms"]["mixed"]["mean"] for point in study["points"]]
    assert means == sorted(means, reverse=True)
    assert study["ranking"]["images"] == len(labels)
    assert not any("arms" in row or "test_accuracy" in row for row in study["runs"]), (
        "no figure of test images"
    )


def test_what_each_generator_costs_is_beside_its_accuracy(contest, tiny_pipeline_folder, ready_made):
    points = points_of(contest)
    assert len(points) == 4
    for point in points.values():
        assert point["seconds_per_image"] > 0
        assert point["memory_gb"] is None or point["memory_gb"] > 0
        assert point["whole_run_seconds"] > 0
        assert 0 <= point["agreement"] <= 1
        assert (point["drawn"], point["kept"]) == (6, 6)
        assert isinstance(point["mmd"], float)
        assert point["mmd_floor"] == next(iter(points.values()))["mmd_floor"]
    name = Path(tiny_pipeline_folder).name
    adapted, vanilla = points[f"{name}:adapted"], points[f"{name}:vanilla"]
    assert (adapted["generator"]["adapt"], vanilla["generator"]["adapt"]) == ("full", "none")


def test_a_generator_that_fails_is_a_line_and_the_others_go_on(contest):
    out, listener = contest
    study = study_of(out)
    reason = f"generator.images must be folders, or .zip, .parquet or .tar files, but nothing is at {MISSING}"
    assert study["failed"] == [{"point": MISSING, "label": MISSING, "reason": reason}]
    assert listener.lines.count(f"study: {MISSING} is left out: {reason}") == 1
    assert len(study["points"]) == 4
    page = (out / "study.html").read_text()
    assert reason in page
    assert "Test images have no part in it" in page


def test_trainings_on_real_images_are_made_once(contest):
    out, _ = contest
    records = {(path / "arms" / "real-seed0.npz").read_bytes() for path in (out / "runs").iterdir()}
    assert len(records) == 1


def test_the_same_again_does_nothing_and_a_mended_generator_joins(
    contest, job, tiny_pipeline_folder, ready_made, tmp_path, monkeypatch
):
    out = shutil.copytree(contest[0], tmp_path / "contest")
    names = [str(tiny_pipeline_folder), "class_conditional", str(ready_made)]
    before = times(out / "runs")
    study = run_bakeoff(job(), out, generators=names, per_class=3)
    assert times(out / "runs") == before
    assert study["failed"] == []
    monkeypatch.chdir(tmp_path)
    write_pets(tmp_path / MISSING, per_class=3, seed=6)
    study = run_bakeoff(job(), out, generators=[*names, MISSING], per_class=3)
    assert len(study["points"]) == 5
    assert {path: when for path, when in times(out / "runs").items() if path in before} == before


def test_a_stop_changes_nothing(contest, job, ready_made, tmp_path):
    class Stop(Listener):
        def say(self, text):
            super().say(text)
            if text.startswith("curate:"):
                raise KeyboardInterrupt

    names = [str(ready_made), "glyphs:none-such"]
    with pytest.raises(KeyboardInterrupt):
        run_bakeoff(job(), tmp_path / "study", generators=names, per_class=3, observer=Stop())
    study = run_bakeoff(job(), tmp_path / "study", generators=names, per_class=3)
    (point,) = study["points"]
    (whole,) = (one for one in study_of(contest[0])["points"] if one["label"] == str(ready_made))
    assert {name: point[name] for name in ("arms", "mmd", "agreement")} == {
        name: whole[name] for name in ("arms", "mmd", "agreement")
    }


def test_memory_that_runs_out_is_a_reason_and_a_fault_is_none(job, ready_made, tmp_path, monkeypatch):
    do = studies.run

    def run_out(error):
        def running(settings, path, *, until, **options):
            if settings.generator.name == "glyphs" and until == "report":
                raise error
            return do(settings, path, until=until, **options)

        return running

    pets = write_pets(tmp_path / "source")
    letters = tmp_path / "letters"
    for old, new in (("cat", "A"), ("dog", "B")):
        shutil.copytree(pets / old, letters / new)
        shutil.copytree(ready_made / old, tmp_path / "drawn" / new)
    settings = job(data={"source": str(letters)})
    names = [str(tmp_path / "drawn"), "glyphs"]
    monkeypatch.setattr(studies, "run", run_out(MemoryError()))
    study = run_bakeoff(settings, tmp_path / "study", generators=names, per_class=3)
    assert study["failed"] == [
        {"point": "glyphs", "label": "glyphs", "reason": "memory ran out (MemoryError)"}
    ]
    assert [point["place"] for point in study["points"]] == [[1, 1]]
    monkeypatch.setattr(studies, "run", run_out(RuntimeError("CUDA out of memory. Tried to allocate")))
    study = run_bakeoff(settings, tmp_path / "study", generators=names, per_class=3)
    assert study["failed"][0]["reason"].startswith("memory ran out (CUDA out of memory.")
    monkeypatch.setattr(studies, "run", run_out(RuntimeError("a fault")))
    with pytest.raises(RuntimeError, match="a fault"):
        run_bakeoff(settings, tmp_path / "study", generators=names, per_class=3)
    monkeypatch.setattr(studies, "run", do)
    study = run_bakeoff(settings, tmp_path / "study", generators=names, per_class=3)
    assert (study["failed"], len(study["points"])) == ([], 2)


def test_nothing_is_written_if_no_generator_can_be_used(job, tmp_path):
    with pytest.raises(
        InputError, match=r"no generator can be used:\n  minni:adapted: .*\n  nowhere/at/all: "
    ) as caught:
        run_bakeoff(job(), tmp_path / "study", generators=["minni:adapted", MISSING], per_class=3)
    assert "minni:adapted: unknown generator 'minni'" in str(caught.value)
    with pytest.raises(InputError, match="^no file or folder at 'elsewhere'"):
        run_bakeoff(job(data={"source": "elsewhere"}), tmp_path / "study", generators=["mini", "glyphs"])
    assert tree(tmp_path) == {}


def test_repeats_rank_over_runs(job, ready_made, tmp_path):
    other = write_pets(tmp_path / "other", per_class=3, seed=9)
    settings = job(data={"shots": 2})
    study = run_bakeoff(
        settings, tmp_path / "study", generators=[str(ready_made), str(other)], per_class=2, repeats=2
    )
    assert (study["ranking"]["interval"], study["repeats_differ_in"]) == ("runs and images", "subset")
    assert [point["runs"] for point in study["points"]] == [2, 2]
    assert len(study["points"][0]["arms"]["mixed"]["runs"]) == 2


def images_of(path, split):
    return set(LabelledSet.load(path / "data" / f"{split}.parquet").ids)


def test_no_image_that_ranks_in_a_repeat_tests_the_whole_run(job, tmp_path):
    """Although the source has no test split, so that every seed by itself would divide off another one."""
    study = StudyFolder("bakeoff", job(), (), tmp_path / "study", job()).with_fixed_test_images()
    for repeat in range(3):
        one = study.run_of("class_conditional", repeat)
        run(one.settings, one.path, until="load")
    whole = tmp_path / "whole"
    run(whole_settings(study, "class_conditional"), whole, until="load")
    paths = [whole, *(tmp_path / "study" / "runs").iterdir()]
    (tested,) = {frozenset(images_of(path, "test")) for path in paths}
    assert len({frozenset(images_of(path, "train")) for path in paths}) == 3
    assert not any(images_of(path, split) & tested for path in paths for split in ("train", "val"))
    assert RunFolder.find(whole).settings.data == study.run_of("class_conditional", 0).settings.data


def test_a_whole_run_whose_pace_small_jobs_do_not_show_has_no_time(contest, job):
    def seconds(**more):
        study = StudyFolder("bakeoff", job(), (), contest[0], job(**more))
        runs = {"class_conditional": [study.run_of("class_conditional", 0)]}
        return WholeRuns(study, runs, "cpu").seconds("class_conditional")

    assert seconds() > 0
    assert seconds(shift={"measure": True}) is None
    assert seconds(membership={"measure": True}) > seconds()
    assert seconds(membership={"measure": True, "private_epsilon": 8.0}) is None


def test_bakeoffs_of_earlier_versions_go_on_with_other_test_images_in_each_repeat(job, tmp_path):
    before = StudyFolder("bakeoff", job(), (), tmp_path, job())
    before.note("class_conditional")
    after = before.with_fixed_test_images()
    for repeat in range(2):
        settings = after.run_of("class_conditional", repeat).settings
        assert settings == before.run_of("class_conditional", repeat).settings


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"generator": {"name": "mini"}},
            "sets generator.name itself, so it must not be given: leave it out, and",
        ),
        ({"draw": {"per_class": 5}}, "as --per-class says: leave draw.per_class out"),
        ({"draw": {"of_classes": {"cat": 5}}}, "as --per-class says: leave draw.of_classes out"),
        (
            {"adapt": {"method": "none"}},
            "so adapt.method must not be none: leave it or the recipe out, and write NAME",
        ),
        ({"adapt": {"adapter": "a"}}, "adapt.adapter fits one generator only"),
        ({"fidelity": {"encoder": "generator"}}, "fidelity.encoder must be the same for all generators"),
    ],
)
def test_contradictions_are_refused(sections, message, job, tmp_path):
    with pytest.raises(InputError, match=message):
        run_bakeoff(job(**sections), tmp_path / "study", generators=["mini"])
    assert tree(tmp_path) == {}


def test_a_ranking_needs_an_arm_with_synthetic_images(job, tmp_path):
    with pytest.raises(InputError, match=r"got the arms real, real\+val: add one, such as mixed"):
        run_bakeoff(job(), tmp_path / "study", arms=["real", "real+val"])


def test_other_settings_are_refused(contest, job, ready_made):
    with pytest.raises(InputError, match="draw.per_class: 3 in the folder, 2 now"):
        run_bakeoff(job(), contest[0], generators=[str(ready_made)], per_class=2)


def test_names_of_generators(tiny_pipeline_folder, ready_made, tmp_path):
    pipeline, images = str(tiny_pipeline_folder), str(ready_made)
    assert both_ways(pipeline) == (f"{pipeline}:adapted", f"{pipeline}:vanilla")
    assert both_ways("owner/model") == ("owner/model:adapted", "owner/model:vanilla")
    assert [both_ways(name) for name in ("glyphs", images)] == [("glyphs",), (images,)]
    assert read_generator(" mini ") == "mini:adapted"
    weights = tmp_path / "weights.safetensors"
    weights.touch()
    assert generator_layer(read_generator(str(weights)))["generator"]["name"] == str(weights)
    layer = generator_layer(images)
    assert layer["generator"]["images"] == [images]
    precise = build({"data": {"source": "digits"}, "generator": {"precision": "float16"}}, layer)
    assert precise.generator.precision == "float32", "no effect on ready-made images, which refuse it"
    for name, message in (
        ("folder", "give the path"),
        ("stable-diffusion", "hub name"),
        ("real", "./real"),
        (":vanilla", "empty"),
    ):
        with pytest.raises(ValueError, match=message):
            read_generator(name)


def test_settings_of_pipelines_reach_pipelines_alone(tiny_pipeline_folder, ready_made, tmp_path):
    """Other points would refuse them, or be read as another family; revisions are those of the hub."""
    single, lora = tmp_path / "model.safetensors", tmp_path / "lora.safetensors"
    single.touch()
    given = {"variant": "fp16", "revision": "main", "config": "org/base", "adapters": [str(lora)]}
    base = build({"data": {"source": "digits"}}, {"generator": given})
    study = StudyFolder("bakeoff", base, (), tmp_path, base)

    def reached(name):
        settings = study.run_of(read_generator(str(name)), 0).settings
        used = [key for key in given if getattr(settings.generator, key)]
        check_effect(settings, [f"generator.{key}" for key in used])
        return used

    for name in ("mini", "mini:vanilla", "glyphs", ready_made, "class_conditional"):
        assert reached(name) == []
    assert reached(tiny_pipeline_folder) == ["variant", "adapters"]
    assert reached("org/pipeline") == ["variant", "revision", "adapters"]
    assert reached(single) == ["variant", "config", "adapters"]


@pytest.mark.usefixtures("study_figures")
def test_the_command_line_ends_with_a_table_the_reason_and_the_path(understudy, pets, ready_made, tmp_path):
    options = [word for text in OPTIONS[1::2] if not text.startswith("draw.per") for word in ("--set", text)]
    words = ("bakeoff", pets, "--generators", f"{ready_made},{MISSING}", "--per-class", "3", *options)
    code, out, err = understudy(*words, "--set", "generator.channels=[16,16]")
    assert (code, err) == (0, "")
    folder = tmp_path / "runs" / "pets-bakeoff"
    study = study_of(folder)
    (point,) = study["points"]
    assert f"{100 * point['arms']['mixed']['mean']:.1f} [" in out
    assert "real images alone" in out
    assert "<svg" in (folder / "study.html").read_text()
    assert f"{MISSING} failed: generator.images must be folders" in " ".join(out.split())
    assert study["sentence"] in " ".join(out.split())
    assert out.splitlines()[-1] == "runs/pets-bakeoff/study.html  runs/pets-bakeoff/study.json"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("bakeoff digits --generator mini", "a bake-off sets generator.name itself"),
        ("bakeoff digits --set draw.per_class=5", "as --per-class says"),
        ("bakeoff digits --recipe vanilla", "adapt.method must not be none"),
        ("bakeoff digits --arms real", "got the arms real: add one"),
        ("bakeoff digits --generators mini,mini", "points of a study must differ, got mini:adapted twice"),
        ("bakeoff digits --generators folder", "give the path of the images"),
        ("bakeoff digits --per-class 0", "draw.per_class"),
        ("bakeoff digits --repeats 0", "repeats of a study must be from 1 to 1,000"),
        ("study bakeoff digits", "a bake-off has its own command: understudy bakeoff DATA"),
    ],
)
def test_wrong_words_are_refused_and_nothing_written(words, message, understudy, tmp_path):
    code, _, err = understudy(*words.split())
    assert code == 2
    assert message in " ".join(err.split())
    assert tree(tmp_path) == {}
