"""Control arms: what they draw is checked before a run, and a run compares them with the chosen arm."""

import dataclasses

import numpy as np
import pytest
from tiny_job import SECTIONS, Listener, results_of, tiny_settings, write_pets

from understudy.core.errors import InputError
from understudy.data.load import load_splits
from understudy.generators.generator import Generator
from understudy.generators.load import load_generator
from understudy.generators.settings import GeneratorSettings
from understudy.pipeline.checks import check_fits, check_names
from understudy.pipeline.context import Run
from understudy.pipeline.controls import control_settings
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import run
from understudy.recipes import RECIPES
from understudy.sampling.plan import Planner
from understudy.settings import build
from understudy.training.strategies import STRATEGIES

CONTROLS = [name for name in STRATEGIES if STRATEGIES[name].is_control]
REFUSED = {
    ("vanilla", "unadapted"): "has no effect",
    ("bridged-transfer-paper", "unadapted"): "has no effect",
    ("style-inversion", "unadapted"): "draw.prompt contains {token}",
    ("textual-inversion", "unadapted"): "draw.prompt contains {token}",
    ("neutral-token", "unadapted"): "draw.prompt contains {token}",
}
"""Recipes that cannot have a control, and why."""
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]  # whole jobs


@pytest.fixture(scope="module")
def splits():
    settings = build({"data": {"source": "digits", "shots": 2}})
    return load_splits(settings.data, seed=0)


@pytest.fixture(scope="module")
def generators() -> dict[str, Generator]:
    return {name: load_generator(GeneratorSettings(name=name), device="cpu") for name in ("mini", "glyphs")}


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("recipe", list(RECIPES))
def test_a_control_of_a_recipe_can_be_drawn_or_is_refused(recipe, control, splits, generators):
    chosen = {"data": {"source": "digits", "shots": 2}, "generator": {"name": "mini"}}
    arms = {"compare": {"arms": ["real", "bridged", f"bridged@{control}"]}}
    offline = {"captions": {"source": "class-name"}} if "captions" in RECIPES[recipe] else {}
    settings = build(RECIPES[recipe], chosen, arms, offline)
    if (recipe, control) in REFUSED:
        with pytest.raises(InputError, match=REFUSED[recipe, control]):
            check_fits(settings, splits, device="cpu")
        return
    check_names(settings)
    (found,) = control_settings(settings, splits.train).values()
    assert found.adapt.method == found.visual.kind == "none"
    planner = Planner(
        train=splits.train,
        generator=generators[found.generator.name],
        settings=found.draw,
        prompt_names=splits.prompt_names,
        seed=0,
    )
    rows = list(planner.rows(np.zeros(10, np.int64), np.full(10, 3)))
    assert len(rows) == 30
    assert not any("{" in row.prompt for row in rows)


def test_a_prompt_that_a_control_cannot_draw_is_found_before_a_run(splits, tmp_path):
    """A file of templates has no token in its name."""
    (tmp_path / "prompts.txt").write_text("a {class} in the style of {token}\n")
    chosen = {"data": {"source": "digits", "shots": 2}, "compare": {"arms": ["real", "bridged@unadapted"]}}
    prompt = {"prompt": str(tmp_path / "prompts.txt")}
    settings = build({"adapt": {"method": "neutral-token", **prompt}, "draw": prompt}, chosen)
    with pytest.raises(
        InputError, match="images of the arm 'bridged@unadapted' cannot be drawn: {token} may occur only"
    ):
        check_fits(settings, splits, device="cpu")


@pytest.fixture(scope="module")
def with_controls(tmp_path_factory, plain_report):
    """A finished run of the bundled generator with a token in its prompts."""
    out = tmp_path_factory.mktemp("controls") / "run"
    pets = write_pets(out.parent / "letters")
    for pet, letter in (("cat", "letter a"), ("dog", "letter b")):
        (pets / pet).rename(pets / letter)
    few = {
        "data": {"source": str(pets)},
        "draw": {"per_class": 3, "guidance_scale": 2.0},
        "curate": {"score": "none"},
        "fidelity": {"measure": False},
        "compare": {"arms": ["real", "mixed", "bridged", "mixed@retrieved", "bridged@retrieved"]},
    }
    return out, run(build(SECTIONS, RECIPES["neutral-token"], few), out, observer=Listener())


def test_a_run_says_how_the_chosen_arm_did_against_its_control(with_controls):
    out, results = with_controls
    verdict = results_of(out)["verdict"]
    assert verdict == results["verdict"]
    control = f"{verdict['best']}@retrieved"
    assert list(verdict["controls"]) == [control]
    found, minus = verdict["controls"][control], results["arms"][control]["minus_plain"]
    assert found["minus_control"] == {"mean": -minus["mean"], "low": -minus["high"], "high": -minus["low"]}
    assert found["beats"] == (found["minus_control"]["low"] > 0)
    assert found["sentence"] in verdict["sentence"]


def test_both_arms_learn_from_the_same_ready_made_images(with_controls):
    out, _ = with_controls
    found = Run(RunFolder.find(out), "cpu", Listener())
    sets = [found.sets.of_arm(f"{arm}@retrieved").images for arm in ("mixed", "bridged")]
    assert sets[0].ids == sets[1].ids
    assert len(sets[0]) == 6
    assert [path.name for path in (out / "synthetic" / "supplies").iterdir()] == ["ready-made=glyphs"]


def test_a_control_notices_a_generator_that_has_changed(finished, pets, tiny_pipeline_folder):
    """The adapter knows the weights that it was made for, and a control must draw with these."""
    settings = tiny_settings(pets, tiny_pipeline_folder)
    generators = Run(RunFolder.find(finished[0]), "cpu", Listener()).generators
    unadapted = build(settings.model_dump(), {"adapt": {"method": "none"}})
    of_control = generators.of_control(unadapted)
    assert of_control.fingerprint(0) == ""
    base = of_control.main
    assert base.fingerprint == of_control.drew != generators.main.fingerprint
    again = dataclasses.replace(of_control, drew="another")
    with pytest.raises(InputError, match="has changed since this run drew its images"):
        _ = again.main
