"""The recipes that are as in a paper, through every stage with tiny networks."""

import pyarrow.parquet as pq
import pytest
from tiny_job import BUNDLED, tiny_settings

from understudy.generators.prompts import REAL_FAKE_NEGATIVE, TEMPLATES
from understudy.pipeline.run import run
from understudy.recipes import RECIPES
from understudy.settings import build

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plain_report")]


def plan(folder):
    return pq.read_table(folder / "synthetic" / "plan" / "round-00").to_pylist()


def test_bridged_transfer(pets, tiny_pipeline_folder, tmp_path):
    recipe = RECIPES["bridged-transfer-paper"]
    as_given = build(recipe, {"data": {"source": str(pets)}})
    assert (as_given.draw.per_class, as_given.draw.steps) == (1000, 50)
    assert as_given.compare.arms == ("real", "mixed", "bridged", "bridged+reinit", "bridged++")
    assert not as_given.compare.equal_steps
    small = tiny_settings(pets, tiny_pipeline_folder).model_dump(mode="json", exclude_unset=True)
    unadapted = {"adapt": {"method": "none"}, "compare": {**BUNDLED, "augmentation": "random-resized-crop"}}
    # the tiny text encoder takes few words
    short = [each for each in TEMPLATES[recipe["draw"]["prompt"]] if len(each) < 23]
    (tmp_path / "short.txt").write_text("\n".join(short))
    shortened = {"draw": {"prompt": str(tmp_path / "short.txt")}}
    results = run(build(recipe, small, unadapted, shortened), tmp_path / "run")
    assert tuple(results["arms"]) == as_given.compare.arms
    rows = plan(tmp_path / "run")
    assert {(row["sampler"], row["guidance_scale"]) for row in rows} == {("ddpm", 3.5)}
    prompts = {row["prompt"] for row in rows}
    assert prompts <= {each.replace("{class}", pet) for each in short for pet in ("cat", "dog")}
    assert len(prompts) > 3


def test_real_fake(pets, tiny_pipeline_folder, tmp_path):
    """Every stage with the recipe, except where a setting of tiny jobs makes it small."""
    recipe = RECIPES["real-fake-paper"]
    small = tiny_settings(pets, tiny_pipeline_folder).model_dump(mode="json", exclude_unset=True)
    kept = {"compare": {"augmentation": recipe["compare"]["augmentation"], "arms": ["real", "synthetic"]}}
    offline = {"captions": {"source": "class-name"}, "generator": {"image_encoder": None}}
    settings = build(recipe, small, kept, offline, {"draw": {"steps": 4}})
    assert (settings.adapt.method, settings.adapt.keep, settings.adapt.latents) == ("lora", "last", "sample")
    assert (settings.compare.optimiser, settings.compare.schedule) == ("sgd", "quarters")
    results = run(settings, tmp_path / "run")
    assert results["adaptation"]["best_step"] == settings.adapt.steps
    assert set(results["arms"]) == {"real", "synthetic"}
    rows = plan(tmp_path / "run")
    assert {row["prompt"] for row in rows} == {
        f"photo of {name}, {name}, best quality" for name in ("cat", "dog")
    }
    assert {row["negative_prompt"] for row in rows} == {REAL_FAKE_NEGATIVE}
