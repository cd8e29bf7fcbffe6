"""Bridged transfer through the whole job: arms of a user, tuning, curves, features, published baselines."""

import json
import re
import shutil

import pytest
import safetensors.torch
import timm
from tiny_job import BUNDLED, Listener, real_page, times, tiny_settings

from understudy import cli
from understudy.commands.chosen import settings_of
from understudy.commands.options import Options
from understudy.commands.validate import validate
from understudy.core.config import check_effect
from understudy.core.errors import InputError
from understudy.core.files import read_arrays, write_arrays
from understudy.data.labelled_set import LabelledSet
from understudy.pipeline.context import Run
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.recipes import RECIPES
from understudy.settings import build, from_yaml, to_yaml
from understudy.training.arms import with_val
from understudy.training.settings import DEFAULT_ARMS, CompareSettings
from understudy.training.tune import num_trials

pytestmark = pytest.mark.usefixtures("plain_report")

USER_ARMS = {
    "mine": [
        {"data": "synthetic", "steps": 3, "mixup": 0.2},
        {"data": "real", "layers": "late-layer", "head": "fresh"},
    ]
}
COMPARE = BUNDLED | {
    "arms": ["real", "real+val", "real-long", "bridged++", "mine"],
    "own_arms": USER_ARMS,
    "equal_steps": False,
    "transferability": True,
    "curve_points": 2,
    "published": "oxford-pets",
}
TUNE = {"learning_rates": [1e-3, 4e-3], "num_seeds": 1}


@pytest.fixture(scope="module")
def settings(pets, tiny_pipeline_folder):
    return tiny_settings(pets, tiny_pipeline_folder, adapt={"method": "none"}, compare=COMPARE, tune=TUNE)


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    out, listener = tmp_path_factory.mktemp("runs") / "pets", Listener()
    with real_page():
        return run(settings, out, observer=listener), out, listener


@pytest.mark.slow
def test_every_arm_is_tuned_and_the_time_counts(finished, settings):
    results = finished[0]
    refit = with_val(results["verdict"]["best"], settings.compare)
    assert set(results["tuning"]) == set(results["arms"]) - {"real+val", refit}
    assert "tune" in results["cost"]["seconds"]


def test_validation_images_are_train_images_and_choose_nothing_for_the_arm(finished):
    results, out, listener = finished
    data = Run(RunFolder.find(out), "cpu", listener).training_data("real+val").train
    assert data.split == "train"
    assert len(data) == results["data"]["train"] + results["data"]["val"]
    assert "val_accuracy" not in results["arms"]["real+val"]
    assert results["convergence"]["real+val"] == []


def test_lengths_are_stated_and_the_longer_arm_is_held_against_as_many_steps(finished):
    results, _, listener = finished
    lengths = {"real": 4, "real+val": 4, "real-long": 8, "bridged++": 8, "mine": 7}
    best, refit = (results["verdict"][name] for name in ("best", "against_val"))
    assert refit == f"{best}+val"
    assert {name: arm["steps"] for name, arm in results["arms"].items()} == lengths | {refit: lengths[best]}
    assert "minus_real_long" in results["arms"]["bridged++"]
    assert "minus_real_long" not in results["arms"]["mine"]
    assert listener.bars["compare"]["done"] == 3 * (31 + lengths[best])


def test_curves_and_features(finished):
    results, _out, _ = finished
    assert [point["phase"] for point in results["convergence"]["bridged++"]] == [0, 1]
    assert [point["step"] for point in results["convergence"]["real"]] == [2, 4]
    arms = results["transferability"]["arms"]
    assert set(arms) == {"bridged++", "mine", results["verdict"]["against_val"]}
    assert set(arms["mine"][0]) == {"leep", "log_me", "h_score", "linear_probe", "knn"}
    assert arms["mine"][0]["linear_probe"]["low"] <= arms["mine"][0]["linear_probe"]["mean"] <= 1
    source = results["transferability"]["source"]
    assert source["leep"] <= 0
    assert 0 <= source["knn"] <= 1


def test_the_report_shows_all_of_it(finished):
    results, out, _ = finished
    page = (out / "report.html").read_text()
    shown = dict(
        re.findall(r'data-arm="([^"]*)" data-field="tuning.chosen.val_accuracy" data-value="([^"]*)"', page)
    )
    assert {name: float(value) for name, value in shown.items()} == {
        name: arm["chosen"]["val_accuracy"] for name, arm in results["tuning"].items()
    }
    assert "compare arms with equal steps" in page
    assert "for the same number of steps" not in page
    assert "bridged++, after phase 1" in page
    assert "Oxford-IIIT Pets" in page
    assert "92.0" in page
    assert "1 part synthetic images with mixup 0.2, then 1 part real images with a fresh head" in page
    assert (
        "3 steps on synthetic images with mixup 0.2, then 1 part real images with a fresh head, late-layer"
        in page
    )


def test_a_finished_stage_is_not_done_again(finished, settings):
    results, out, _ = finished
    before = times(out)
    assert run(settings, out) == results
    assert times(out) == before


def test_an_arm_is_judged_by_the_choice_of_other_trainings(finished, settings, tmp_path):
    """``bridged++`` has the best mean on validation images because of its first training alone."""
    results, out, _ = finished
    copy = shutil.copytree(out, tmp_path / "run")
    for arm, on_val in {"bridged++": (1.0, 0.2, 0.2), "mine": (0.4, 0.4, 0.4)}.items():
        for index, accuracy in enumerate(on_val):
            path = copy / "arms" / f"{arm}-seed{index}.npz"
            figures = {"val_accuracy": accuracy, "val_balanced_accuracy": accuracy}
            write_arrays(path, read_arrays(path) | figures | {"steps": 8})  # both of one length
    (copy / "stages" / "compare.json").unlink()
    found = run(settings, copy)
    judged, arms = found["verdict"]["judged"], ["mine", "bridged++", "bridged++"]
    assert (found["verdict"]["best"], judged["arms"]) == ("bridged++", arms)
    seeds = [results["arms"][arm]["accuracy"]["seeds"][index] for index, arm in enumerate(arms)]
    assert judged["seeds"] == pytest.approx(seeds)
    real = results["arms"]["real"]["accuracy"]["mean"]
    assert judged["minus_real"]["mean"] == pytest.approx(sum(seeds) / 3 - real)
    assert found["verdict"]["why"].endswith("the choice of the other trainings: mine, bridged++, bridged++.")


def test_trials_that_are_there_are_kept(finished, settings, tmp_path):
    """Without its record a stage runs again and takes up what it finds."""
    _, out, _ = finished
    record = out / "stages" / "tune.json"
    content, trials = record.read_text(), times(out / "arms" / "tuning")
    record.unlink()
    run(settings, out, until="tune")
    assert times(out / "arms" / "tuning") == trials
    assert json.loads(record.read_text())["arms"] == json.loads(content)["arms"]


def test_settings_of_own_arms_survive_yaml(settings):
    assert from_yaml(to_yaml(settings)) == settings
    with pytest.raises(InputError, match=r"tune.num_seeds has no effect while tune.learning_rates is \[\]"):
        check_effect(build({"data": {"source": "digits"}}), ["tune.num_seeds"])


def test_few_shot_subsets_limit_what_is_seen(pets, tiny_pipeline_folder, tmp_path):
    seen = {}
    for subset in (0, 1):
        data = {"source": str(pets), "shots": 2, "subset": subset}
        settings = tiny_settings(pets, tiny_pipeline_folder, adapt={"method": "none"}, data=data)
        run(settings, tmp_path / str(subset), until="load")
        seen[subset] = {
            name: LabelledSet.load(tmp_path / str(subset) / "data" / f"{name}.parquet").ids
            for name in ("train", "test")
        }
    assert seen[0]["test"] == seen[1]["test"]
    assert set(seen[0]["train"]) != set(seen[1]["train"])
    assert len(seen[0]["train"]) == 4


def test_the_recipe_names_every_arm_of_the_paper():
    settings = build(RECIPES["bridged-transfer"], {"data": {"source": "digits"}})
    assert len(settings.compare.arms) == 12
    assert not settings.compare.equal_steps
    assert num_trials(settings.compare, settings.tune) == 4
    assert settings.tune.learning_rates == (0.001, 0.003, 0.01, 0.03)


def test_earlier_default_arms_are_kept_beside_those_of_a_file():
    own = {"own_arms": {"mine": [{"data": "real"}]}}
    now = CompareSettings(**own, arms=[*DEFAULT_ARMS, "mine"])
    assert now.keeps_earlier_default(
        CompareSettings(**own, arms=["real", "synthetic", "mixed", "bridged", "mine"])
    )
    assert not now.keeps_earlier_default(CompareSettings(**own, arms=["real", "mixed", "mine"]))


def test_arms_file(tmp_path, capsys):
    def options(text, **given):
        path = tmp_path / "arms.yaml"
        path.write_text(text)
        return settings_of(Options(data="digits", arms_file=path, **given))

    text = "mine:\n  - {data: synthetic, share: 2}\n  - {data: real}\n"
    assert options(text).compare.arms == ("real", "real+val", "synthetic", "mixed", "bridged", "mine")
    assert options(text, arms="real,mine").compare.arms == ("real", "mine")
    assert options(text).compare.own_arms["mine"][0].share == 2
    assert options(text, recipe="bridged-transfer").compare.arms == (
        *RECIPES["bridged-transfer"]["compare"]["arms"],
        "mine",
    )
    for bad, message in (
        ("mine: [", "must be readable YAML"),
        ("- real", "must map each arm's name to a list of phases"),
        ("mine: real", "must map each arm's name to a list of phases"),
        ("mine: [{data: real, shares: 2}]", "unknown setting 'compare.own_arms.mine.0.shares'"),
        ("mine: []", "needs at least one phase"),
        ("mine: [{steps: 3}]", "'compare.own_arms.mine.0.data' is required"),
        (
            "'../mine': [{data: real}]",
            "names of compare.own_arms must have up to 64 letters, digits .* got '../mine'",
        ),
        ("'': [{data: real}]", "names of compare.own_arms must have"),
        ("mine: 2001-13-45", "must be readable YAML"),
        ("mine: [{data: real, share: 1.0e+308}]", "less than or equal to 1000000"),
        (
            "mine: [{data: real}]\nyours: [{data: real}]\nmine: [{data: synthetic}]",
            "the key 'mine' occurs twice, in lines 1 and 3: keep one of them",
        ),
        ("1: [{data: real}]\n'1': [{data: synthetic}]", "the key '1' occurs twice, in lines 1 and 2"),
        ("mine: [{data: real, share: 1, data: synthetic}]", "the key 'data' occurs twice, in line 1"),
    ):
        with pytest.raises(InputError, match=message):
            options(bad)
    with pytest.raises(InputError, match="there is no arms file"):
        settings_of(Options(data="digits", arms_file=tmp_path / "missing.yaml"))
    merged = options("mine: [&first {data: synthetic, share: 2}, {<<: *first, data: real}]").compare.own_arms[
        "mine"
    ]
    assert [(phase.data, phase.share) for phase in merged] == [("synthetic", 2), ("real", 2)]


def test_arms_are_listed_with_their_phases(capsys):
    cli.app(["list", "arms"], standalone_mode=False)
    text = " ".join(capsys.readouterr().out.split())
    assert "bridged-neutral" in text
    assert "phases" in text


def test_unknown_names_are_refused_before_anything_is_read(tmp_path):
    for section, message in (
        ({"compare": {"arms": ["real", "bridge"]}}, "unknown arm 'bridge'"),
        ({"compare": {"published": "pets"}}, "published baselines 'pets'"),
        ({"compare": {"optimiser": "adamm"}}, "optimiser must be one that timm knows"),
        ({"compare": {"optimiser": "adahessian"}}, "optimiser 'adahessian' cannot be used here"),
        ({"compare": {"arms": ["real", "real-long"]}}, "'real-long' .* needs compare.equal_steps=false"),
    ):
        with pytest.raises(InputError, match=message):
            run(build({"data": {"source": "nowhere"}}, section), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("compare", "message"),
    [
        (
            {"backbone": "test_resnet", "pretrained": True, "weights": "other.safetensors"},
            r"\d+ missing: .*\d+ unexpected",
        ),
        (
            {**BUNDLED, "keep_head": True},
            "needs a pretrained head for the 2 classes of the data, got a head for 26",
        ),
        ({"arms": ["real", "mine"], "own_arms": {"mine": [{"data": "real", "steps": 3}]}}, "take 3"),
        (
            {"arms": ["real", "mine"], "own_arms": {"mine": [{"data": "mixed", "real_share": 0.01}]}},
            "must leave real and synthetic images",
        ),
        ({"arms": ["real", "curriculum"]}, "at least two strengths, got only 1: set draw.strength to a list"),
    ],
)
def test_what_does_not_fit_shows_before_the_run_folder_is_made(
    compare, message, pets, tiny_pipeline_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    safetensors.torch.save_file(
        timm.create_model("test_vit", num_classes=2).state_dict(), "other.safetensors"
    )
    settings = tiny_settings(pets, tiny_pipeline_folder, compare=compare)
    for check in (lambda: run(settings, tmp_path / "out"), lambda: validate(settings)):
        with pytest.raises(InputError, match=message):
            check()
    assert not (tmp_path / "out").exists()


def test_trials_without_effect_are_refused(tmp_path):
    own = {"mine": [{"data": "synthetic", "learning_rate": 0.01}, {"data": "real", "learning_rate": 0.001}]}
    settings = build(
        {
            "data": {"source": "nowhere"},
            "compare": {"arms": ["real", "mine"], "own_arms": own},
            "tune": {"learning_rates": [0.1]},
        }
    )
    with pytest.raises(
        InputError,
        match="tune.learning_rates has no effect on the arm 'mine', because all its phases set learning_rate",
    ):
        run(settings, tmp_path / "out")


def test_an_adapter_must_not_know_more_than_the_run(pets, tiny_pipeline_folder, tmp_path):
    """An adapter made from all images is no help that a few-shot run may have, and none that knows test
    images is one for any run.
    """

    def settings(**data):
        return tiny_settings(pets, tiny_pipeline_folder, data={"source": str(pets)} | data)

    def using(adapter, **changes):
        own = settings(**changes.pop("data", {})).model_dump(mode="json")
        return build(own, {"adapt": {"adapter": str(adapter)}}, changes)

    run(settings(), tmp_path / "all", until="adapt")
    run(settings(shots=2, subset=0), tmp_path / "few", until="adapt")
    few = tmp_path / "few" / "adapter"
    run(using(few, data={"shots": 2, "subset": 0}), tmp_path / "again", until="adapt")
    run(using(few), tmp_path / "more", until="adapt")  # fewer images than the run has: nothing leaks
    with pytest.raises(InputError, match="images that are not among the data.shots of this run"):
        run(
            using(tmp_path / "all" / "adapter", data={"shots": 2, "subset": 0}),
            tmp_path / "leak",
            until="adapt",
        )
    with pytest.raises(InputError, match="was fitted to .* test images of this run"):
        run(using(tmp_path / "all" / "adapter", seed=1), tmp_path / "leak", until="adapt")
    assert not (tmp_path / "leak").exists()
