"""The examples of the documentation run, and are as short as they say.

Each has a function ``main``, whose further arguments are settings that win over its own: here, as small ones
as there are.
"""

import ast
import json
import re
import runpy
import shutil
from pathlib import Path

import pytest
from PIL import Image
from tiny_job import BUNDLED, SECTIONS, write_pets

from understudy.commands.defaults import defaults_for
from understudy.core.config import merge
from understudy.core.registry import Registry
from understudy.curation.scores import SCORES
from understudy.pipeline.folder import RunFolder
from understudy.pipeline.run import STAGES
from understudy.training.strategies import STRATEGIES

EXAMPLES = Path(__file__).parent.parent / "examples"
QUICKSTART = EXAMPLES / "quickstart.py"
PHOTOGRAPHS = EXAMPLES / "photographs.py"
STAGED = EXAMPLES / "stages.py"
PAGE = EXAMPLES.parent / "docs" / "examples.md"


@pytest.fixture(scope="module")
def quickstart():
    return runpy.run_path(str(QUICKSTART))["main"]


@pytest.mark.slow
def test_the_quickstart_runs(quickstart, tmp_path, capsys):
    """As it stands, with the bundled generator and classifier, but for a handful of steps and images."""
    sections = {name: values for name, values in SECTIONS.items() if name != "draw"}
    sections["compare"] = sections["compare"] | BUNDLED
    results = quickstart(
        tmp_path / "run",
        data={"source": str(write_pets(tmp_path / "pets"))},
        draw={"per_class": 3, "steps": 2},
        **sections,
    )
    printed = capsys.readouterr().out
    assert list(results["arms"]) == ["real", "synthetic", "bridged"]
    assert results["data"]["shots"] == 5
    assert results["verdict"]["sentence"] in printed
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
def test_photographs_run_from_a_folder_to_a_report(tiny_pipeline_folder, tmp_path, capsys):
    """As it stands, on a tiny pipeline of the real classes, but for a handful of steps and images."""
    results = runpy.run_path(str(PHOTOGRAPHS))["main"](
        str(write_pets(tmp_path / "pets")), str(tiny_pipeline_folder), tmp_path / "run", **SECTIONS
    )
    assert results["adaptation"]["method"] == "lora"
    assert results["verdict"]["sentence"] in capsys.readouterr().out
    assert (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "run" / "adapter" / "pytorch_lora_weights.safetensors").exists()
    stored = RunFolder.find(tmp_path / "run").settings
    assert stored.generator.precision == "bfloat16"
    assert stored.adapt.augmentation == "affine"  # of the test; without it that of photographs
    chosen = defaults_for(str(tmp_path / "pets"), generator=str(tiny_pipeline_folder))
    assert chosen["adapt"]["augmentation"] == "flip-crop"


@pytest.mark.slow
@pytest.mark.usefixtures("plain_report")
def test_stages_show_what_they_made(tmp_path, capsys):
    """As it stands, but for a handful of steps and images."""
    sections = SECTIONS | {"draw": {"per_class": 3, "steps": 2}, "compare": SECTIONS["compare"] | BUNDLED}
    this = runpy.run_path(str(STAGED))["main"](tmp_path / "run", **sections | {"data": {"shots": 1}})
    printed = capsys.readouterr().out
    assert "draw: 30 images" in printed
    assert "difference to real, points" in printed
    assert str(tmp_path / "run" / "report.html") in printed
    assert repr(this).endswith("compare, report")


FEW_ARMS = {"compare": {"arms": ["real", "synthetic"]}}
"""For examples that do not choose arms."""
SMALL = {
    "few_images": FEW_ARMS,
    "rare_classes": {"draw": {"per_class": 3}},
    "private_images": FEW_ARMS
    | {
        "membership": {"target": "classifier", "shadows": 6, "false_positive_rates": [0.5]},
    },
    "unusual_images": {
        "generator": {"resolution": 16, "channels": [48, 48]},
        "adapt": {"until": "steps"},
        "curate": {"stop_at_chance": False},
    },
    "cluster": FEW_ARMS | {"compute": {"workers": 1}},
    "own_parts": {},
    "ready_made": FEW_ARMS | {"fidelity": {"neighbours": 2, "resamples": 20}},
    "more_questions": FEW_ARMS
    | {
        "tune": {"learning_rates": [1e-3, 3e-3], "num_seeds": 1},
        "scale": {"times": [0.5, 1], "real_shares": [0.5]},
        "gap": {"strengths": [0.5]},
        "shift": {"severities": [1]},
    },
}


def small(name, **sections):
    """The smallest settings of an example."""
    merged = json.loads(json.dumps(SECTIONS))
    for layer in (SMALL[name], sections):
        merge(merged, layer)
    return merged


def main_of(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


@pytest.fixture
def names_as_before(monkeypatch):
    """What an example registers is gone after its test."""
    for registry in (SCORES, STRATEGIES):
        monkeypatch.setattr(registry, "_things", dict(registry._things))
    monkeypatch.setattr(Registry, "has_outsiders", False)


@pytest.fixture
def tiny(tiny_pipeline_folder):
    return {"generator": {"name": str(tiny_pipeline_folder)}}


@pytest.mark.slow
@pytest.mark.usefixtures("plain_report")
def test_few_images_are_judged_over_several_runs(pets, tiny, tmp_path, capsys):
    study = main_of("few_images")(str(pets), tmp_path / "runs", repeats=2, **small("few_images", **tiny))
    printed = capsys.readouterr().out
    assert study["points"][0]["runs"] == 2
    assert study["sentence"] in printed
    assert re.search(r"^synthetic +[+-]", printed, flags=re.MULTILINE)


@pytest.mark.slow
@pytest.mark.usefixtures("plain_report")
def test_rare_classes_come_first(pets, tiny, tmp_path, capsys):
    rare = shutil.copytree(pets, tmp_path / "pets")
    for path in sorted((rare / "dog").iterdir())[8:]:
        path.unlink()
    results = main_of("rare_classes")(str(rare), tmp_path / "run", **small("rare_classes", **tiny))
    lines = capsys.readouterr().out.splitlines()
    assert list(results["arms"]) == ["real", "real+class-balanced", "mixed"]
    assert "real+class-balanced" in results["verdict"]["sentence"]
    assert results["verdict"]["measure"] == "balanced_accuracy"
    assert [line.partition(":")[0] for line in lines[-2:]] == ["dog", "cat"]


@pytest.mark.slow
@pytest.mark.usefixtures("plain_report")
def test_private_images_are_attacked(pets, tiny, tmp_path, capsys):
    results = main_of("private_images")(str(pets), tmp_path / "run", **small("private_images", **tiny))
    printed = capsys.readouterr().out
    assert results["memorisation"]["firewall"]["setting"] == "redraw"
    assert re.search(r"copies: \d+ replaced, \d+ left", printed)
    assert "attack on real: " in printed
    assert list(results["membership"]["skipped"]) == ["synthetic"]  # with the target of this test alone


@pytest.mark.slow
@pytest.mark.usefixtures("plain_report")
def test_unusual_images_are_learned_from_alone(pets, tmp_path, capsys):
    grey = tmp_path / "grey"
    for path in pets.rglob("*.png"):
        to = grey / path.relative_to(pets)
        to.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("L").save(to)
    results = main_of("unusual_images")(str(grey), tmp_path / "run", **small("unusual_images"))
    printed = capsys.readouterr().out
    assert (tmp_path / "run" / "adapter" / "class_conditional").is_dir()
    assert "(chance: 50%)" in printed
    assert results["verdict"]["sentence"] in printed


@pytest.mark.slow
@pytest.mark.usefixtures("plain_report")
def test_a_cluster_is_a_choice_of_the_executor(pets, tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Registry, "has_outsiders", False)
    results = main_of("cluster")(str(pets), "processes", tmp_path / "run", **small("cluster", **tiny))
    assert results["verdict"]["sentence"] in capsys.readouterr().out
    assert RunFolder.find(tmp_path / "run").settings.compute.executor == "processes"


@pytest.mark.slow
@pytest.mark.usefixtures("plain_report", "names_as_before")
def test_own_parts_are_used(pets, tiny, tmp_path, capsys):
    results = main_of("own_parts")(str(pets), tmp_path / "run", **small("own_parts", **tiny))
    assert "drawn images are kept" in capsys.readouterr().out
    assert list(results["arms"]) == ["real", "mixed", "mixed@smoothed"]
    assert "minus_plain" in results["arms"]["mixed@smoothed"]


@pytest.mark.slow
@pytest.mark.usefixtures("plain_report")
def test_ready_made_images_are_judged(tmp_path, capsys):
    more, drawn = (write_pets(tmp_path / name, per_class=24, seed=seed) for seed, name in enumerate("ab"))
    job = {"draw": {"per_class": 12}, "curate": {"threshold": 0.0}, "compare": dict(SECTIONS["compare"])}
    merge(job, SMALL["ready_made"])
    results = main_of("ready_made")(str(more), str(drawn), tmp_path / "run", **job)
    printed = capsys.readouterr().out
    assert results["verdict"]["sentence"] in printed
    assert "other real images" in printed


@pytest.mark.slow
@pytest.mark.usefixtures("plain_report")
def test_stages_that_are_asked_for_and_what_comes_after_a_run(pets, tiny, tmp_path, capsys):
    """One run serves both examples."""
    job = small("more_questions", data={"shots": 3}, **tiny)
    results = main_of("more_questions")(str(pets), tmp_path / "run", **job)
    assert {"tuning", "scale", "gap", "shift"} <= results.keys()
    assert results["gap"]["hypothesis"]["sentence"] in capsys.readouterr().out
    main_of("after_a_run")(str(tmp_path / "run"), str(tmp_path / "images"), compare=SECTIONS["compare"])
    assert re.search(r"mixed, trained here: [01]\.\d{3}$", capsys.readouterr().out, flags=re.MULTILINE)
    assert len(list((tmp_path / "images").rglob("*.png"))) == results["curation"]["kept"]


def test_every_stage_has_an_example():
    """The page says which; a stage that not every run has is named in the code of one."""
    page = PAGE.read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.py"))
    assert [stage.name for stage in STAGES if f"`{stage.name}`" not in page] == []
    assert [stage.name for stage in STAGES if stage.wanted and f'"{stage.name}"' not in code] == []


def test_the_page_has_every_example():
    linked = re.findall(r"\(\.\./examples/(\w+\.py)\)", PAGE.read_text(encoding="utf-8"))
    assert sorted(linked) == sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_are_short_and_say_how_to_run_them(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    code = ast.unparse(ast.Module([part for part in tree.body[1:] if not is_import(part)], []))
    assert f"python examples/{path.name}" in (ast.get_docstring(tree) or "")
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    assert len(text.splitlines()) <= 60


def is_import(node):
    return isinstance(node, (ast.Import, ast.ImportFrom))
