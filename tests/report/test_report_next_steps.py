"""What the report says to do next: for real runs, for made-up results, and as commands that can be typed."""

import functools
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
from hypothesis import given, settings
from hypothesis import strategies as st
from report_sample import Sample, before_class_means, make_sample, make_scale, unbalanced

from understudy import cli
from understudy.commands import chosen, printing
from understudy.commands.options import Options
from understudy.commands.say_next import say_next
from understudy.report.accuracy import arm_to_take, why_real_alone
from understudy.report.next_steps import ADVICE, MOST_STEPS, NOTHING, Step, next_steps
from understudy.report.run_command import FLAGS, KEPT, RunCommand

RUNS = Path(__file__).parent / "runs"
"""What next steps read of the results of real runs, in folders of other names: the demo; 500 photographs,
which mini cannot draw; a generator trained for two steps. The last is a job of a bake-off, and its command is
written as that of a run."""


@functools.cache
def commands() -> Any:
    """The commands of the command line by name; Typer makes them anew each time."""
    return typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def parse(line: str) -> None:
    """Parse a printed command as the command line would; an error if an option or a value is wrong."""
    program, name, *words = shlex.split(line)
    assert program == "understudy"
    commands()[name].make_context(name, words)


def started(results: dict[str, Any], command: str) -> dict[str, Any]:
    return results | {"environment": results.get("environment", {}) | {"command": command}}


def of_name(results: dict[str, Any], name: str) -> Step:
    (found,) = [step for step in next_steps(results, most=len(ADVICE)) if step.name == name]
    return found


def names(results: dict[str, Any]) -> list[str]:
    return [step.name for step in next_steps(results, most=len(ADVICE))]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Settings of the runs and studies that commands would do."""
    found: list[Any] = []
    monkeypatch.setattr(cli, "_do", lambda settings, *_, **__: found.append(settings) or {})
    monkeypatch.setattr(cli, "_do_study", lambda _, settings, *__, **___: found.append(settings))
    return found


@pytest.mark.parametrize("run", ["helps", "small-test", "unknown-images"])
def test_what_a_real_run_is_told(run: str, calls: list[Any], tmp_path: Path, monkeypatch: Any) -> None:
    """The page says these words; settings are built from every command that does a run, which checks them."""
    monkeypatch.chdir(tmp_path)
    steps = next_steps(json.loads((RUNS / f"{run}.json").read_text(encoding="utf-8")))
    lines = [line for step in steps for line in (step.says, f"$ {step.command}", "")]
    assert "\n".join(lines) == (RUNS / f"{run}.txt").read_text(encoding="utf-8")
    for step in steps:
        parse(step.command)
        words = shlex.split(step.command)[1:]
        if words[:2] == ["run", "digits"]:
            cli.app(words, standalone_mode=False)
            assert calls.pop().data.source == "digits"


_INTERVAL = st.tuples(*[st.floats(-1, 1)] * 3).map(
    lambda ends: dict(zip(("low", "mean", "high"), sorted(ends), strict=True))
)
_SHARE = st.floats(0, 1)


@st.composite
def made_up(draw: st.DrawFn) -> dict[str, Any]:
    """Results as a run might have them, of today or of an earlier version."""
    num_classes = draw(st.integers(2, 5))
    counts = st.lists(st.integers(0, 300), min_size=num_classes, max_size=num_classes)
    shares = st.lists(st.none() | _SHARE, min_size=num_classes, max_size=num_classes)

    def arm() -> dict[str, Any]:
        accuracy = draw(_INTERVAL) | {"seeds": draw(st.lists(_SHARE, min_size=1, max_size=4))}
        differences = {"minus_real": draw(_INTERVAL)}
        differences |= draw(st.fixed_dictionaries({}, optional={"minus_real_val": _INTERVAL}))
        balanced = accuracy | differences
        return {"accuracy": accuracy, "balanced_accuracy": balanced, "per_class": draw(shares)} | differences

    arms = ["real", *draw(st.lists(st.sampled_from(["synthetic", "mixed", "real+val"]), unique=True))]
    candidates = [name for name in arms if "real" not in name] or ["real"]
    results: dict[str, Any] = {
        "data": {
            "source": draw(st.sampled_from(["digits", "my pictures", "-odd", ".", "a/b.zip"])),
            "classes": [f"class {label}" for label in range(num_classes)],
            **{split: draw(st.integers(1, 3000)) for split in ("train", "val", "test")},
        },
        "arms": {name: arm() for name in arms},
        "verdict": {"best": draw(st.sampled_from(candidates)), "helps": draw(st.booleans())},
    }
    if draw(st.booleans()):
        results["data"]["per_class"] = {split: draw(counts) for split in ("train", "val", "test")}
    if draw(st.booleans()):
        results["verdict"]["measure"] = draw(st.sampled_from(["accuracy", "balanced_accuracy"]))
    if draw(st.booleans()):
        results["curation"] = {"kept": draw(st.integers(0, 5000))}
    knows = st.sampled_from([True, False, None])
    domain = {"images": 80, "chance": 1 / num_classes, "agreement": draw(_INTERVAL), "knows": draw(knows)}
    results["fidelity"] = draw(st.sampled_from([{}, {"domain": domain}]))
    firewall = {
        "setting": draw(st.sampled_from(["off", "flag", "redraw"])),
        "false_alarms": {"allowed": 0.01},
    }
    firewall |= {"flagged": draw(st.integers(0, 50)), "exact": draw(st.integers(0, 3)), "removed": 0}
    results |= draw(st.sampled_from([{}, {"memorisation": {"firewall": firewall}}]))
    results |= draw(st.sampled_from([{}, {"scale": make_scale()}, {"gap": {"best": "plain"}}]))
    rising = {"rising": draw(st.sampled_from([True, False, None])), "gain": draw(_INTERVAL)}
    results |= draw(
        st.sampled_from([{}, {"plateau": dict.fromkeys(arms)}, {"plateau": dict.fromkeys(arms, rising)}])
    )
    lines = [
        shlex.join(["understudy", "run", "--shots=5", "--out", "my runs/a", "--", results["data"]["source"]]),
        "understudy gap runs/a --strengths 0.05",
        "understudy study volume digits --repeats 2",
        "understudy run digits --repeats 3 --set draw.times=2",
        "understudy run 'open",
        "understudy",
        "python script.py",
        "",
    ]
    return draw(st.sampled_from([results, *(started(results, command) for command in lines)]))


@settings(deadline=None)  # the first call imports scipy
@given(made_up())
def test_any_results_give_at_most_three_steps_that_can_be_typed(results: dict[str, Any]) -> None:
    steps = next_steps(results)
    assert len(steps) <= MOST_STEPS
    everything = next_steps(results, most=len(ADVICE))
    assert everything[: len(steps)] == steps
    order = [advice.name for advice in ADVICE]
    assert [step.name for step in everything] == sorted((step.name for step in everything), key=order.index)
    for step in everything:
        assert step.says.endswith((".", ":"))
        parse(step.command)


def test_the_table_names_every_advice_once_and_says_when_it_is_given() -> None:
    assert len({advice.name for advice in ADVICE}) == len(ADVICE)
    assert all(advice.applies for advice in ADVICE)
    page = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z -]+)` \|", page, flags=re.MULTILINE) == [advice.name for advice in ADVICE]


@pytest.mark.usefixtures("without_figures")
def test_the_page_has_the_steps_of_its_results_before_everything_else(sample: Sample, tmp_path: Path) -> None:
    text = sample.write(tmp_path / "report.html")
    places = [text.index(step.says.replace("'", "&#39;")) for step in next_steps(sample.results)]
    assert len(places) == MOST_STEPS
    assert places == sorted(places)
    assert text.index("What to do next") < places[0] < places[-1] < text.index('id="checks"')


@pytest.mark.usefixtures("without_figures")
def test_a_run_without_shortcomings_is_told_so(sample: Sample, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("understudy.report.next_steps.ADVICE", ())
    assert NOTHING in sample.write(tmp_path / "report.html")


@pytest.mark.usefixtures("without_figures")
def test_the_page_says_what_stands_for_the_folder(sample: Sample, tmp_path: Path) -> None:
    note = "DIR stands for the folder of this run"
    assert note not in sample.write(tmp_path / "report.html")
    results = started(sample.results, "python job.py")
    assert {step.is_complete for step in next_steps(results)} == {False}
    other = Sample(**vars(sample) | {"results": results})
    assert note in other.write(tmp_path / "report.html")


def test_results_of_earlier_versions_and_unbalanced_classes(sample: Sample) -> None:
    for results in (before_class_means(sample.results), unbalanced(sample.results)):
        for step in next_steps(results, most=len(ADVICE)):
            parse(step.command)


def test_the_terminal_prints_the_first_step_and_its_command_in_one_line(
    sample: Sample, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(printing.console, "_width", 80)
    results = started(sample.results, f"understudy run digits --shots 5 --out {'long' * 20}")
    say_next(results)
    *words, last = capsys.readouterr().out.splitlines()
    (step,) = next_steps(results, most=1)
    assert " ".join(" ".join(words).split()) == step.says
    assert last == f"next: {step.command}"
    say_next(started(sample.results, "python job.py"))
    assert "next: " not in capsys.readouterr().out
    say_next({})
    assert capsys.readouterr().out == ""


# One test per advice: a figure of the results that it names, and the figure at which it is no longer given.


def test_shared_pictures(sample: Sample) -> None:
    shared = [{"split": "train", "in": "test", "images": 12, "of": 90, "examples": []}]
    data = sample.results["data"]
    step = of_name(sample.results | {"data": data | {"copies": {"shared": shared}}}, "shared pictures")
    assert "12 of 90 train images have a changed copy among the test images" in step.says
    assert "--set data.split_names=join" in step.command
    assert "shared pictures" not in names(sample.results | {"data": data | {"copies": {"shared": []}}})


def test_unknown_images(sample: Sample) -> None:
    domain = {
        "images": 200,
        "chance": 0.1,
        "agreement": {"mean": 0.12, "low": 0.08, "high": 0.17},
        "knows": False,
    }
    unknown = sample.results | {"fidelity": {"domain": domain}}
    typed = "understudy run digits --generator mini --recipe real-fake --arms real,mixed@refresh --times 1,2 "
    typed += "--set draw.steps=5 --set compare.steps=9 --shots 3"
    step = of_name(started(unknown, typed), "unknown images")
    assert "12% of 200 drawn images" in step.says
    words = (
        "--set compare.steps=9 --shots 3 --generator class_conditional --out runs/digits-class-conditional"
    )
    assert step.command == f"understudy run digits {words}"
    of_class_conditional = started(unknown, "understudy run digits --set generator.name=class_conditional")
    of_class_conditional["adaptation"] = {"steps": 100, "best_step": 60}
    assert "--generator stable-diffusion" in of_name(of_class_conditional, "unknown images").command
    of_class_conditional["adaptation"] = {"steps": 100, "best_step": 100}
    longer = "--set generator.name=class_conditional --set adapt.steps=500 --out runs/digits-longer"
    assert of_name(of_class_conditional, "unknown images").command == f"understudy run digits {longer}"
    of_file = of_name(started(unknown, "understudy run job.yaml"), "unknown images").command
    assert of_file.startswith("understudy bakeoff digits "), "the file may name any generator"
    assert "bakeoff DATA" in of_name(started(unknown, "python job.py"), "unknown images").command
    known = sample.results | {"fidelity": {"domain": domain | {"knows": None}}}
    assert "unknown images" not in names(known)


def test_a_judge_that_knows_no_more_than_the_generator_tells_nothing(sample: Sample) -> None:
    low = sample.results["arms"]["real"]["accuracy"]["low"]
    domain = {
        "images": 200,
        "chance": 0.1,
        "agreement": {"mean": low, "low": low, "high": low},
        "knows": False,
    }
    assert "unknown images" not in names(sample.results | {"fidelity": {"domain": domain}})


def test_nothing_compared(sample: Sample) -> None:
    results = sample.results | {
        "arms": {"real": sample.results["arms"]["real"]},
        "verdict": {"best": "real", "helps": False, "sentence": ""},
    }
    step = of_name(started(results, "understudy run digits --arms real"), "nothing compared")
    assert "--arms real,real+val,synthetic,mixed,bridged" in step.command
    assert step.command.count("--arms") == 1
    empty = results | {"curation": sample.results["curation"] | {"kept": 0}}
    assert "--set curate.threshold=validation" in of_name(empty, "nothing compared").command


@pytest.mark.parametrize(
    ("flagged", "exact", "is_told"), [(0, 0, False), (2, 0, False), (1, 1, True), (40, 0, True)]
)
def test_copies(sample: Sample, flagged: int, exact: int, is_told: bool) -> None:
    """Two of a hundred real images would be marked by chance."""
    firewall = {"setting": "flag", "false_alarms": {"allowed": 0.01}, "flagged": flagged, "exact": exact}
    results = sample.results | {
        "memorisation": sample.results["memorisation"] | {"firewall": firewall},
        "curation": sample.results["curation"] | {"kept": 100},
    }
    assert ("copies" in names(results)) == is_told
    if is_told:
        step = of_name(results, "copies")
        assert f"{flagged} of 100 synthetic images" in step.says
        assert "--set curate.firewall=redraw" in step.command
    firewall["setting"] = "redraw"
    assert "copies" not in names(results)


def test_small_test_set(sample: Sample) -> None:
    def with_difference(low: float, high: float) -> dict[str, Any]:
        found = {"mean": (low + high) / 2, "low": low, "high": high}
        best = sample.results["verdict"]["best"]
        arms = sample.results["arms"]
        return sample.results | {"arms": arms | {best: arms[best] | {"minus_real": found}}}

    step = of_name(with_difference(-0.04, 0.04), "small test set")
    assert sample.results["data"]["test"] == 997
    assert "takes about 4,000 test images, and it has 997" in step.says
    assert step.command.endswith("--test more=NEW --corruptions none")
    for told in (with_difference(-0.02, 0.02), with_difference(0.01, 0.3), with_difference(-0.3, -0.01)):
        assert "small test set" not in names(told)


def test_few_trainings(sample: Sample) -> None:
    arms = sample.results["arms"]
    once = arms["mixed"] | {"accuracy": arms["mixed"]["accuracy"] | {"seeds": [0.9]}}
    step = of_name(sample.results | {"arms": arms | {"mixed": once}}, "few trainings")
    assert "trained once" in step.says
    assert "few trainings" not in names(sample.results)


def test_validation_images(sample: Sample) -> None:
    results = started(sample.results, "understudy run digits --set compare.arms=[real,mixed]")
    step = of_name(results, "validation images")
    assert f"The {results['data']['val']} validation images" in step.says
    assert "--arms real,real+val," in step.command
    assert "compare.arms" not in step.command
    assert "validation images" not in names(results | {"data": results["data"] | {"val": 300}})
    fair = results["arms"] | {"real+val": results["arms"]["real"]}
    assert "validation images" not in names(results | {"arms": fair})


def test_rare_classes(sample: Sample) -> None:
    def with_classes(*sizes: int) -> dict[str, Any]:
        return sample.results | {"data": sample.results["data"] | {"per_class": {"train": list(sizes)}}}

    results = started(with_classes(60, 30, 20), "understudy run digits --out demo")
    step = of_name(results, "rare classes")
    assert "has 3 times as many train images as the smallest" in step.says
    assert "--arms real,real+class-balanced," in step.command
    assert "rare classes" not in names(with_classes(60, 30, 21))
    assert "rare classes" not in names(sample.results)
    refitted = results["arms"] | {"bridged+val": results["arms"]["bridged"]}
    verdict = results["verdict"] | {"best": "bridged", "against_val": "bridged+val"}
    assert (
        "bridged+val" not in of_name(results | {"arms": refitted, "verdict": verdict}, "rare classes").command
    )
    compared = results["arms"] | {"real+class-balanced": results["arms"]["real"]}
    assert "rare classes" not in names(results | {"arms": compared})
    assert "rare classes" not in names(results | {"verdict": results["verdict"] | {"helps": False}})


def test_gap() -> None:
    results = make_sample(helps=False).results
    lost = {"mean": -0.459, "low": -0.5, "high": -0.42}
    arms = results["arms"] | {"synthetic": results["arms"]["synthetic"] | {"minus_real": lost}}
    results |= {"arms": arms}
    assert "-45.9 [-50.0, -42.0] points" in of_name(results, "gap").says
    assert "gap" not in names(results | {"gap": {"best": "plain"}})


def test_more_images(sample: Sample) -> None:
    scale = make_scale()
    scale["arms"]["mixed"]["next_doubling"]["gain"] = {"mean": 0.008, "low": 0.002, "high": 0.014}
    results = started(sample.results | {"scale": scale}, "understudy run digits --times 1,2,4,10 --out big")
    step = of_name(results, "more images")
    assert "Raise --times to 20: +0.8 [+0.2, +1.4] points for mixed" in step.says
    assert step.command == "understudy run big --times 1,2,4,10,20"
    assert "number of images" not in names(results)
    scale["arms"]["mixed"]["next_doubling"]["gain"]["low"] = -0.001
    assert "more images" not in names(results)


def test_longer_training(sample: Sample) -> None:
    best, gain = sample.results["verdict"]["best"], {"mean": 0.02, "low": 0.01, "high": 0.03}
    arms = {name: arm | {"steps": 300} for name, arm in sample.results["arms"].items()}
    results = sample.results | {"arms": arms, "plateau": {best: {"rising": True, "gain": gain}}}
    step = of_name(started(results, "understudy run digits --set compare.steps=300"), "longer training")
    assert "+2.0 [+1.0, +3.0] points" in step.says
    assert step.command == "understudy run digits --set compare.steps=600 --out runs/digits-longer"
    unclear = {best: {"rising": None, "gain": gain}}
    assert "longer training" not in names(results | {"plateau": unclear})


def test_one_choice(sample: Sample) -> None:
    results = started(sample.results, "understudy run digits --time-limit 30m")
    assert of_name(results, "one choice").command == (
        "understudy run digits --repeats 5 --out runs/digits-repeats"
    )
    for many in ("run digits --repeats 3", "run digits --preset thorough", "study volume digits"):
        assert "one choice" not in names(started(sample.results, f"understudy {many}"))


def test_weak_class(sample: Sample) -> None:
    best = sample.results["verdict"]["best"]
    recalls, counts = [0.95] * 9 + [0.5], {split: [100] * 10 for split in ("train", "val", "test")}
    arms, data = sample.results["arms"], sample.results["data"]
    weak = {"arms": arms | {best: arms[best] | {"per_class": recalls}}, "data": data | {"per_class": counts}}
    step = of_name(sample.results | weak, "weak class")
    assert "Class '9' has 100 train images and 53% of the mistakes" in step.says
    assert "would rise by 4.5 points" in step.says
    even = {
        "arms": arms | {best: arms[best] | {"per_class": [0.9] * 10}},
        "data": data | {"per_class": counts},
    }
    assert "weak class" not in names(sample.results | even)
    ready_made = started(sample.results | weak, "understudy run digits --generator folder")
    assert "weak class" not in names(ready_made)


def test_number_of_images(sample: Sample) -> None:
    train = sample.results["data"]["train"]
    curation = sample.results["curation"] | {"kept": 8 * train}
    results = started(sample.results | {"curation": curation}, "understudy run digits --out demo")
    assert of_name(results, "number of images").command == "understudy run demo --times 4,8,16"


def test_classifier(sample: Sample) -> None:
    step = of_name(started(sample.results, "understudy run digits --out demo"), "classifier")
    best = sample.results["verdict"]["best"]
    assert step.command == f"understudy export demo --what classifier --arm {best} --to demo-classifier"
    unsure = of_name(
        started(make_sample(helps=False).results, "understudy run digits --out demo"), "classifier"
    )
    assert "the arm of the verdict, bridged, is not surely better than real" in unsure.says
    assert unsure.command == "understudy export demo --what classifier --arm real --to demo-classifier"


def test_why_the_classifier_is_one_of_real_images(sample: Sample) -> None:
    results = make_sample(helps=False).results
    arms, best = results["arms"], results["verdict"]["best"]
    assert why_real_alone(sample.results) == "", "the arm of the verdict helps"
    assert why_real_alone(results | {"verdict": results["verdict"] | {"best": "real"}}) == ""
    gains = {"minus_real": {"mean": 0.03, "low": 0.01, "high": 0.05}}
    gains["minus_real_val"] = {"mean": 0.0, "low": -0.02, "high": 0.02}
    of_best = arms[best] | gains | {"balanced_accuracy": arms[best]["balanced_accuracy"] | gains}
    beaten = results | {"arms": arms | {"real+val": arms["real"], best: of_best}}
    assert why_real_alone(beaten).endswith("is not surely better than real+val")
    assert arm_to_take(beaten) == "real+val"


@pytest.mark.parametrize(
    ("on_val", "with_val", "taken"),
    [
        (0.9, (), "real+class-balanced"),
        (0.9, ("real+val",), "real+val"),
        (0.9, ("real+val", "real+class-balanced+val"), "real+class-balanced+val"),
        (0.5, (), "real"),
        (0.51, (), "real"),
        (0.1, ("real+val", "real+class-balanced+val"), "real+val"),
    ],
)
def test_classes_are_seen_equally_often_if_that_is_better_on_validation_images(
    on_val: float, with_val: tuple[str, ...], taken: str
) -> None:
    results = make_sample(helps=False).results
    real, best = results["arms"]["real"], results["verdict"]["best"]
    real = real | {name: 0.5 for name in real if name.startswith("val_")}
    figures = {name: on_val for name in real if name.startswith("val_")}
    gains = {"minus_real": {"mean": 0.03, "low": 0.01, "high": 0.05}}
    gains["minus_class_balanced"] = {"mean": 0.0, "low": -0.02, "high": 0.02}
    of_best = results["arms"][best]
    of_best = of_best | gains | {"balanced_accuracy": of_best["balanced_accuracy"] | gains}
    further = dict.fromkeys(with_val, real) | {"real+class-balanced": real | figures}
    compared = results | {"arms": results["arms"] | further | {"real": real, best: of_best}}
    assert arm_to_take(compared) == taken
    assert why_real_alone(compared).endswith("is not surely better than real+class-balanced")


# The command that a run was started with.


def test_every_option_of_a_run_is_kept() -> None:
    others = {"data", "given", "override", "sections", "settings_file"}
    options = {name.replace("_", "-") for name in Options.__annotations__ if name not in others}
    assert options | {"set", "device", "time-limit", "repeats"} == set(KEPT)
    assert [name for name, kind in Options.__annotations__.items() if "skip-bad" in str(kind)] == ["skip_bad"]
    assert FLAGS == ("skip-bad",)


def test_options_keep_their_values_and_order_and_what_is_changed_comes_last() -> None:
    line = "understudy run 'my pets' --skip-bad --set a.b=1 --shots=3 --set 'c.d=x y' --out 'my runs/pets/'"
    command = RunCommand.of({"environment": {"command": line}, "data": {"source": "my pets"}})
    assert command.folder == "my runs/pets"
    assert command.again("more", {"a.b": "2"}) == (
        "understudy run 'my pets' --skip-bad --shots 3 --set 'c.d=x y' --set a.b=2 --out 'my runs/pets-more'"
    )
    assert command.on_run("gap") == "understudy gap 'my runs/pets'"
    assert (command.value_of("a.b"), command.value_of("shots"), command.value_of("seed")) == ("1", "3", "")


@pytest.mark.parametrize("file", ["understudy.yaml", "jobs/pets.YML"])
def test_a_settings_file_stands_for_the_images(file: str) -> None:
    line = f"understudy run {file} --shots 3"
    command = RunCommand.of({"environment": {"command": line}, "data": {"source": "my/pets"}})
    assert command.folder == "runs/pets"
    assert command.again("more", {}) == f"understudy run {file} --shots 3 --out runs/pets-more"
    without_file = command.again("more", {"generator": "mini"}, leave_out=("draw",))
    assert without_file == "understudy run my/pets --shots 3 --generator mini --out runs/pets-more"


@pytest.mark.parametrize(
    "command", ["run DATA", "gap DIR", "run x --out DIR-more", "evaluate x --test more=NEW"]
)
def test_a_command_with_a_placeholder_is_not_complete(command: str) -> None:
    assert not Step("", "", f"understudy {command}").is_complete
    assert Step("", "", "understudy run DATASET --out NEWS").is_complete


def test_a_name_that_begins_with_a_dash_comes_last() -> None:
    line = "understudy run --shots 3 -- -pets"
    command = RunCommand.of({"environment": {"command": line}, "data": {"source": "-pets"}})
    assert command.again("more", {}) == "understudy run --shots 3 --out runs/-pets-more -- -pets"


@pytest.mark.parametrize(
    ("line", "data", "folder"),
    [
        ("understudy run pets", "pets", "runs/pets"),
        ("understudy run pets --repeats 1", "pets", "runs/pets"),
        ("understudy gap pets --strengths 0.1 --out a", "pets", "a"),
        ("understudy evaluate runs/a --test b=c", "DATA", "runs/a"),
        ("understudy run pets --repeats 2 --out a", "pets", "DIR"),
        ("understudy study volume pets", "DATA", "DIR"),
        ("understudy run pets more", "DATA", "DIR"),
        ("python -m job", "DATA", "DIR"),
        ("understudy run 'pets", "DATA", "DIR"),
        ("", "DATA", "DIR"),
    ],
)
def test_what_a_command_tells_of_its_run(line: str, data: str, folder: str) -> None:
    command = RunCommand.of({"environment": {"command": line}, "data": {"source": "pets"}})
    assert (command.data, command.folder) == (data, folder)


@pytest.mark.parametrize(
    "source", [".", "..", "pets", "linked", ".hidden", "pets.v2", "all.zip", "a/b/", "org/set"]
)
def test_the_folder_of_a_run_is_the_one_that_the_command_chose(source, tmp_path, monkeypatch) -> None:
    (tmp_path / "here" / "pets").mkdir(parents=True)
    (tmp_path / "here" / "linked").symlink_to("pets")
    monkeypatch.chdir(tmp_path / "here")
    results = {"environment": {"command": f"understudy run {source}"}, "data": {"source": source}}
    assert RunCommand.of(results).folder == chosen.run_folder(Options(source), None)[0].as_posix()


def test_a_run_of_a_study_is_one_of_many_whatever_its_command_says() -> None:
    """The number of runs can stand in a settings file."""
    results = {"environment": {"command": "understudy run pets.yaml"}, "data": {"source": "pets"}}
    assert RunCommand.of(results).folder == "runs/pets"
    assert RunCommand.of(results | {"in_study": True}).folder == "DIR"
