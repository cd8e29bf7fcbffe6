"""What to do after a run: pieces of advice, each with the command for this run.

Every number in an advice comes from ``results.json``. A gain that is only expected is given with what it is
expected from.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, final

from understudy.core.listing import listed
from understudy.evaluation.accuracy import (
    CLASS_BALANCED,
    FEW_VAL,
    TOLD,
    images_to_tell_two_points,
    measured_by,
)
from understudy.evaluation.class_sizes import MEASURES, size_ratio
from understudy.report.accuracy import arm_to_take, deciding, why_real_alone
from understudy.report.balance import measure_of
from understudy.report.checks import FEWEST_SEEDS, most_by_chance
from understudy.report.run_command import ANY_DATA, ANY_FOLDER, RunCommand
from understudy.report.wording import percent, percent_interval, points, points_interval

MOST_STEPS = 3
NOTHING = "Nothing: this run has none of the shortcomings that the report looks for."
"""What the report says where no advice applies."""

_COSTLY = 0.02  # loss with synthetic images alone that is worth explaining
_MANY_MISTAKES = 0.2  # share of all mistakes in one class
_LEAST_GAIN = 0.005  # expected gains below are not worth a run
_LARGEST_TIMES = 10_000
_MUCH_LARGER = 3  # times as many images in the largest class as in the smallest
_TIMES_LONGER = 5  # a generator that still learns is trained for
_ARMS = "real,real+val,synthetic,mixed,bridged"
_NEW = "NEW"  # stands for a folder of further images
_FOR_PHOTOGRAPHS = "stable-diffusion-v1-5/stable-diffusion-v1-5"

_IN_WORDS = {"train": "train", "val": "validation", "test": "test"}
_OF_A_GENERATOR = ("recipe", "arms", "times", "generator", "adapt", "draw", "curate", "visual", "captions")
"""Options, and sections of settings, that another generator need not accept."""

Results = Mapping[str, Any]


@final
class Step(NamedTuple):
    """A piece of advice for a run.

    Attributes:
        name: key of :data:`ADVICE`.
        says: what was found and what to do about it, in one or two sentences.
        command: a line for the shell, with ``DATA`` or ``DIR`` for what the results do not tell, and ``NEW``
            for further images.
    """

    name: str
    says: str
    command: str

    @property
    def is_complete(self) -> bool:
        """Whether the command can be typed as it is."""
        return not re.search(rf"(^|[ =])({ANY_DATA}|{ANY_FOLDER}|{_NEW})\b", self.command)


@final
class Advice(NamedTuple):
    """A row of the table of advice.

    Attributes:
        name: what it is about.
        applies: when it is given, in words.
        find: from results and command of a run, what it says and the command that does it; None if it does
            not apply.
    """

    name: str
    applies: str
    find: Callable[[Results, RunCommand], tuple[str, str] | None]


def next_steps(results: Results, *, most: int = MOST_STEPS) -> list[Step]:
    """Say what to do after a run.

    Args:
        results: content of ``results.json``, also of earlier versions.
        most: steps at most.

    Returns:
        The advice that applies, in the order of :data:`ADVICE`: first what makes the figures wrong, then what
        makes them uncertain, then what may improve them.
    """
    command, steps = RunCommand.of(results), list[Step]()
    for advice in ADVICE:
        if len(steps) < most and (found := advice.find(results, command)) is not None:
            steps.append(Step(advice.name, *found))
    return steps


def _shared_pictures(results: Results, command: RunCommand) -> tuple[str, str] | None:
    shared = (results["data"].get("copies") or {}).get("shared") or ()
    pairs = [
        f"{one['images']:,} of {one['of']:,} {_IN_WORDS[one['split']]} images have a changed copy among the "
        f"{_IN_WORDS[one['in']]} images"
        for one in shared
    ]
    if not pairs:
        return None
    says = (
        f"The splits share pictures: {listed(pairs)}. Accuracy on these is not that on new images. Put all "
        "images together and divide them again, which keeps copies in one split."
    )
    return says, command.again("divided", {"data.split_names": "join"})


def _nothing_compared(results: Results, command: RunCommand) -> tuple[str, str] | None:
    if results["verdict"]["best"] != "real" or not _knows_images(results):
        return None
    if not results.get("curation", {}).get("kept", 1):
        says = "No drawn image was kept, so nothing was compared. Keep what scores like real images."
        return says, command.again("kept", {"curate.threshold": "validation"})
    says = "No arm with synthetic images was compared, so nothing is known of their worth."
    return says, command.again("compared", {"arms": _ARMS})


def _unknown_images(results: Results, command: RunCommand) -> tuple[str, str] | None:
    if _knows_images(results):
        return None
    domain = results["fidelity"]["domain"]
    found = (
        f"The generator does not know these images: a classifier of the real ones recognises "
        f"{domain['agreement']['mean']:.0%} of {domain['images']:,} drawn images, and chance is "
        f"{domain['chance']:.0%}. This run says nothing about better images."
    )
    adaptation, generator = results.get("adaptation", {}), command.value_of("generator")
    if command.data == ANY_DATA or command.has_file:  # whatever generator it was
        says = f"{found} A bake-off tells which generator does."
        words = ["understudy", "bakeoff", command.images, "--generators", "mini,class_conditional"]
        return says, shlex.join(words)
    if "class_conditional" not in (generator, command.value_of("generator.name")):
        says = f"{found} Take another generator: class_conditional learns from your images alone."
        other = {"generator": "class_conditional"}
        return says, command.again("class-conditional", other, leave_out=_OF_A_GENERATOR)
    if (steps := adaptation.get("steps")) and adaptation.get("best_step") == steps:
        says = f"{found} Its loss on validation images still fell after {steps:,} steps: train it for longer."
        longer = {"adapt.steps": str(_TIMES_LONGER * steps)}
        return says, command.again("longer", longer, leave_out=("adapt.max_steps",))
    says = f"{found} Take a pipeline trained on such images; for photographs, with a GPU and a hub:"
    return says, command.again("pipeline", {"generator": _FOR_PHOTOGRAPHS}, leave_out=_OF_A_GENERATOR)


def _copies(results: Results, command: RunCommand) -> tuple[str, str] | None:
    firewall = results.get("memorisation", {}).get("firewall") or {}
    kept, alarms = results.get("curation", {}).get("kept") or 0, firewall.get("false_alarms")
    if firewall.get("setting") != "flag" or not alarms:
        return None
    flagged, exact, allowed = firewall["flagged"], firewall["exact"], alarms["allowed"]
    if not exact and flagged <= most_by_chance(kept, allowed):
        return None
    says = (
        f"Copies found: {flagged:,} of {kept:,} synthetic images are nearly train images, {exact:,} of them "
        f"exactly; of as many new real images, {allowed * kept:,.0f} would be marked. Replace them to see "
        "what is gained without copies."
    )
    return says, command.again("no-copies", {"curate.firewall": "redraw"})


def _small_test(results: Results, command: RunCommand) -> tuple[str, str] | None:
    num_test = results["data"]["test"]
    if results["verdict"]["best"] == "real" or not _knows_images(results):
        return None
    if results["data"].get("groups"):  # the verdict says how many groups it takes; `evaluate` counts images
        return None
    wanted = images_to_tell_two_points(list(deciding(results).values()), num_test)
    if wanted is None:
        return None
    says = (
        f"This test set is too small: to tell a difference of {100 * TOLD:g} points takes about {wanted:,} "
        f"test images, and it has {num_test:,}. Test the same classifiers on {wanted:,} further labelled "
        f"images ({_NEW} stands for their folder)."
    )
    return says, command.on_run("evaluate", "--test", f"more={_NEW}", "--corruptions", "none")


def _few_trainings(results: Results, command: RunCommand) -> tuple[str, str] | None:
    fewest = min(len(arm["accuracy"]["seeds"]) for arm in results["arms"].values())
    if fewest >= FEWEST_SEEDS:
        return None
    says = (
        f"Some arm was trained {'once' if fewest == 1 else f'{fewest} times'}: intervals hold from "
        f"{FEWEST_SEEDS} trainings on."
    )
    return says, command.again("trainings", {"compare.num_seeds": str(FEWEST_SEEDS)})


def _unused_val(results: Results, command: RunCommand) -> tuple[str, str] | None:
    arms, num_val = results["arms"], results["data"]["val"]
    is_used = "real+val" in arms or num_val >= FEW_VAL
    if results["verdict"]["best"] == "real" or is_used or not _knows_images(results):
        return None
    says = (
        f"The {num_val:,} validation images are labelled too, beside {results['data']['train']:,} train "
        "images, and were used for choices alone. The arm real+val tells what they give as train images: "
        "synthetic ones should give more."
    )
    names = dict.fromkeys(["real", "real+val", *arms])
    return says, command.again("val", {"arms": ",".join(names)})


def _rare_classes(results: Results, command: RunCommand) -> tuple[str, str] | None:
    counts = (results["data"].get("per_class") or {}).get("train", [])
    arms, best = results["arms"], results["verdict"]["best"]
    can_tell = CLASS_BALANCED not in arms and arms[best].get("steps") == arms["real"].get("steps")
    if not results["verdict"]["helps"] or not can_tell or size_ratio(counts) < _MUCH_LARGER:
        return None
    says = (
        f"The largest class has {size_ratio(counts):.0f} times as many train images as the smallest. Some of "
        "the gain may come from seeing rare classes more often, which takes no synthetic images: the arm "
        f"{CLASS_BALANCED} tells."
    )
    verdict = results["verdict"]
    asked = [
        name
        for name in results["arms"]
        if name in (verdict["best"], "real+val") or name != verdict.get("against_val")
    ]
    names = dict.fromkeys(["real", CLASS_BALANCED, *asked])
    return says, command.again("class-balanced", {"arms": ",".join(names)})


def _costly_synthetic(results: Results, command: RunCommand) -> tuple[str, str] | None:
    if "synthetic" not in results["arms"] or results.get("gap") or not _knows_images(results):
        return None
    lost = results["arms"]["synthetic"]["minus_real"]
    if lost["high"] >= 0 or lost["mean"] > -_COSTLY:
        return None
    says = (
        f"Synthetic images alone are worse than real ones: {points_interval(lost)} points. This command "
        "tells whether it is their looks, labels, number or content."
    )
    return says, command.on_run("gap")


def _more_images(results: Results, command: RunCommand) -> tuple[str, str] | None:
    scale = results.get("scale") or {}
    following = {
        name: arm["next_doubling"] for name, arm in scale.get("arms", {}).items() if arm.get("next_doubling")
    }
    gains = {name: step["gain"]["low"] for name, step in following.items()}
    if not gains or max(gains.values()) <= 0 or scale.get("stopped"):
        return None
    name = max(gains, key=lambda arm: gains[arm])
    step = following[name]
    says = (
        f"Raise --times to {step['times']:g}: {points_interval(step['gain'])} points for {name} are expected "
        f"from twice as many synthetic images ({step['images']:,}), if the trend of the last sizes goes on."
    )
    sizes = ",".join(f"{times:g}" for times in (*scale["times"], step["times"]))
    return says, command.on_run("run", "--times", sizes)


def _longer_training(results: Results, command: RunCommand) -> tuple[str, str] | None:
    best = results["verdict"]["best"]
    curve = (results.get("plateau") or {}).get(best)
    steps = results["arms"]["real"].get("steps")
    if not curve or curve.get("rising") is not True or not steps or not _knows_images(results):
        return None
    says = (
        f"Train for twice as long: {best} still gained {points_interval(curve['gain'])} points on validation "
        f"images in the second half of its {results['arms'][best].get('steps', steps):,} steps."
    )
    return says, command.again("longer", {"compare.steps": str(2 * steps)})


def _one_choice(results: Results, command: RunCommand) -> tuple[str, str] | None:
    if command.is_one_of_many or results["verdict"]["best"] == "real" or not _knows_images(results):
        return None
    says = (
        f"One choice of {results['data']['train']:,} train images and one generator fitted to them: the "
        "intervals do not cover other choices. --repeats 5 does five such runs with other seeds, and judges "
        "over all."
    )
    # Another seed divides the images anew, so a ready adapter may have seen its test images.
    return says, command.again("repeats", {"repeats": "5"}, leave_out=("time-limit", "adapt.adapter"))


def _weak_class(results: Results, command: RunCommand) -> tuple[str, str] | None:
    best, data = results["verdict"]["best"], results["data"]
    counts = data.get("per_class", {})
    is_set = command.has_file or bool(command.value_of("draw.allocation"))  # a file may set it
    is_idle = is_set or command.value_of("generator") == "folder"
    if best == "real" or "test" not in counts or is_idle or not _knows_images(results):
        return None
    found = _weakest(results["arms"][best]["per_class"], _weights(counts["test"], measure_of(results)))
    if found is None:
        return None
    label, share, gain = found
    measure = MEASURES[measure_of(results)]
    says = (
        f"Class '{data['classes'][label]}' has {counts['train'][label]:,} train images and {share:.0%} of "
        f"the mistakes of {best}: {measure} would rise by {points(gain)[1:]} points if it were recognised "
        "like the others on average. Draw more images of the classes that are confused, or "
        "add real ones."
    )
    return says, command.again("weak-classes", {"draw.allocation": "weak-classes"})


def _unknown_volume(results: Results, command: RunCommand) -> tuple[str, str] | None:
    kept = results.get("curation", {}).get("kept") or 0
    is_measured = bool((results.get("scale") or {}).get("arms"))
    if is_measured or "synthetic" not in results["arms"] or not kept or not _knows_images(results):
        return None
    measured = measured_by(results["arms"][results["verdict"]["best"]], measure_of(results))
    times = _round(kept / results["data"]["train"])
    left = 1 - measured["mean"]
    if left < _LEAST_GAIN or 2 * times > _LARGEST_TIMES:
        return None
    says = (
        f"This run has one number of synthetic images, {times:g} per real one. Three sizes tell what each "
        f"doubling adds; at most {100 * left:.1f} points are left to gain."
    )
    return says, command.on_run(
        "run", "--times", ",".join(f"{size:g}" for size in (times / 2, times, 2 * times))
    )


def _round(times: float) -> float:
    """A multiple that is easy to read: a whole number, or one digit if it is below 1."""
    return float(round(times)) if times >= 1 else float(f"{times:.1g}")


def _take_it(results: Results, command: RunCommand) -> tuple[str, str] | None:
    if len(results["arms"]) == 1:
        return None
    arm, measure = arm_to_take(results), measure_of(results)
    reached = f"{percent_interval(measured_by(results['arms'][arm], measure))}% {MEASURES[measure]}"
    if results["verdict"]["helps"]:
        real = percent(results["arms"]["real"][measure]["mean"])
        says = f"Take the classifier: {arm} reaches {reached}, real images alone {real}%."
    else:
        why = why_real_alone(results)
        says = f"Take the classifier of {arm}, which reaches {reached}{f': {why}' * bool(why)}."
    words = ("--what", "classifier", "--arm", arm, "--to", f"{command.folder.rstrip('/')}-classifier")
    return says, command.on_run("export", *words)


def _knows_images(results: Results) -> bool:
    """Whether the generator knows such images, as far as a judge can tell that knows the real ones itself."""
    domain = (results.get("fidelity") or {}).get("domain")
    if domain is None or domain["knows"] is not False:
        return True
    return bool(results["arms"]["real"]["accuracy"]["low"] <= domain["agreement"]["high"])


def _weights(counts: list[int], measure: str) -> list[float]:
    """What each class contributes to a measure; together 1."""
    parts = [float(count) if measure == "accuracy" else float(count > 0) for count in counts]
    return [part / (sum(parts) or 1.0) for part in parts]


def _weakest(recalls: list[float | None], weights: list[float]) -> tuple[int, float, float] | None:
    """The class with most of the mistakes, if it has many: label, share of them, gain at others' recall."""
    known = [label for label, recall in enumerate(recalls) if recall is not None and weights[label] > 0]
    lost = {label: (1 - (recalls[label] or 0.0)) * weights[label] for label in known}
    if len(known) < 3 or sum(lost.values()) <= 0:
        return None
    label = max(lost, key=lambda one: lost[one])
    share = lost[label] / sum(lost.values())
    others = 1 - (sum(lost.values()) - lost[label]) / (sum(weights[one] for one in known) - weights[label])
    gain = (others - (recalls[label] or 0.0)) * weights[label]
    is_many = share >= max(_MANY_MISTAKES, 1.5 / len(known)) and gain >= _LEAST_GAIN
    return (label, share, gain) if is_many else None


ADVICE = (
    Advice("shared pictures", "splits of the source share pictures", _shared_pictures),
    Advice("unknown images", "the generator does not know such images", _unknown_images),
    Advice("nothing compared", "no arm with synthetic images was trained", _nothing_compared),
    Advice("copies", "more synthetic images are copies than chance explains", _copies),
    Advice("small test set", "no difference is shown, and two points could not be", _small_test),
    Advice("few trainings", "some arm was trained fewer than three times", _few_trainings),
    Advice("validation images", "few validation images, and no arm real+val", _unused_val),
    Advice(
        "rare classes",
        "a gain, classes of very different sizes, and no arm real+class-balanced",
        _rare_classes,
    ),
    Advice("gap", "synthetic images alone are clearly worse, by two points or more", _costly_synthetic),
    Advice("more images", "the last sizes of the synthetic set promise a gain", _more_images),
    Advice("longer training", "the chosen arm clearly still rose on validation images", _longer_training),
    Advice("one choice", "a single run", _one_choice),
    Advice("classifier", "several arms were trained", _take_it),
    Advice("weak class", "one class has a fifth of all mistakes or more", _weak_class),
    Advice("number of images", "one number of synthetic images, and something left to gain", _unknown_volume),
)
"""All advice, the most important first."""
