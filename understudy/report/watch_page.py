"""The page of ``understudy watch``: a run while it grows, or the runs of a study."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, final

from markupsafe import Markup

from understudy.data.labelled_set import LabelledSet
from understudy.report.figures import (
    ACCENT,
    INK,
    MUTED,
    REAL,
    WIDTH,
    label_axes,
    new_figure,
    rows_figure,
    to_svg,
)
from understudy.report.gallery import PER_CLASS, tiles_uri
from understudy.report.html import environment
from understudy.report.making import loss_curve

State = Literal["done", "running", "stopped", "to come", "damaged"]
_LARGEST_PIXELATED = 64  # tiles below this width are shown with sharp pixels
_MOST_ARMS = 12  # in the figure; the table has all


Tone = Literal["running", "done", "stopped", "waiting"]
"""The state of a run, or of several."""


@final
@dataclass(frozen=True, kw_only=True)
class ShownStage:
    """A stage of the watched run.

    Attributes:
        name, summary: as in the table of stages.
        state: how far it is.
        note: time taken, or how far it is, in words.
    """

    name: str
    summary: str
    state: State
    note: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class ShownBar:
    """A loop that runs.

    Attributes:
        text, unit: what it does, and in which units.
        done, total: how far it is.
        note: speed and time left, in words; may be empty.
    """

    text: str
    unit: str
    done: int
    total: int
    note: str


@final
@dataclass(frozen=True, kw_only=True)
class ClassImages:
    """Images of a class as strips of tiles: data URIs, and how many tiles each has."""

    name: str
    real: str
    num_real: int
    synthetic: str
    num_synthetic: int
    tile: int


@final
@dataclass(frozen=True, kw_only=True)
class ShownArm:
    """The trainings of an arm.

    Attributes:
        name: of the arm.
        wanted: number of trainings.
        accuracies: of the finished ones on validation images, in [0, 1].
        learns_val: whether it learns from these images, so that their accuracy says nothing.
    """

    name: str
    wanted: int
    accuracies: tuple[float, ...]
    learns_val: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class ShownRun:
    """What the page of a run shows.

    Attributes:
        folder: its path.
        headline: its state in a sentence; ``tone`` is what colours it.
        stages: those that the run has, in order.
        bars: loops that run now, or ran when it was stopped.
        facts: pairs of a number and what it counts.
        images: the newest images by class.
        losses: pairs of adaptation step and loss on validation images.
        drawn: pairs of time in seconds since 1970 and number of images drawn until then.
        arms: the trainings.
        messages: the last lines that the run said.
        problems: files that cannot be read.
        hint: how to go on, in words; may be empty.
        report: address of the report; empty before there is one.
        up: address of the list of runs; empty for a single run.
    """

    folder: str
    headline: str
    tone: Tone
    stages: Sequence[ShownStage] = ()
    bars: Sequence[ShownBar] = ()
    facts: Sequence[tuple[str, str]] = ()
    images: Sequence[ClassImages] = ()
    losses: Sequence[tuple[int, float]] = ()
    drawn: Sequence[tuple[float, int]] = ()
    arms: Sequence[ShownArm] = ()
    messages: Sequence[str] = ()
    problems: Sequence[str] = ()
    hint: str = ""
    report: str = ""
    up: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run in the list of runs: its page, state and progress."""

    name: str
    address: str
    headline: str
    tone: Tone
    report: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class ShownRuns:
    """What the page of a folder of runs shows."""

    folder: str
    headline: str
    tone: Tone
    runs: Sequence[RunRow]
    problems: Sequence[str] = ()
    report: str = ""


def run_page(shown: ShownRun) -> str:
    """The page of a run, as HTML."""
    return _page(
        "watch_run.html",
        shown=shown,
        per_class=PER_CLASS,
        pixelated=any(row.tile < _LARGEST_PIXELATED for row in shown.images),
        loss_figure=_loss_figure(tuple(shown.losses)),
        drawn_figure=_drawn_figure(tuple(shown.drawn)),
        arms_figure=_arms_figure(tuple(arm for arm in shown.arms if not arm.learns_val)[:_MOST_ARMS]),
    )


def runs_page(shown: ShownRuns) -> str:
    """The page of a folder with several runs, as HTML."""
    return _page("watch_runs.html", shown=shown)


def watch_policy() -> str:
    """The content security policy: the page asks this server alone, and runs its own script alone."""
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    return f"; script-src 'sha256-{digest}'; connect-src 'self'"


def class_images(real: LabelledSet, synthetic: LabelledSet, *, name: str, tile: int) -> ClassImages:
    """Strips of the images of a class.

    Args:
        real: real images, in the order to show; there may be none.
        synthetic: likewise.
        name: of the class.
        tile: width and height of a tile in pixels.
    """

    def strip(images: LabelledSet) -> str:
        return tiles_uri(images, list(range(len(images))), tile) if len(images) else ""

    return ClassImages(
        name=name,
        real=strip(real),
        num_real=len(real),
        synthetic=strip(synthetic),
        num_synthetic=len(synthetic),
        tile=tile,
    )


def _page(template: str, **values: object) -> str:
    script = Markup(_script())  # noqa: S704 - our own
    return environment().get_template(template).render(script=script, policy=watch_policy(), **values)


@lru_cache(maxsize=1)
def _script() -> str:
    return environment().get_template("watch.js").render()


@lru_cache(maxsize=4)
def _loss_figure(losses: tuple[tuple[int, float], ...]) -> Markup:
    """The loss on validation images over the steps of the adaptation, from two points on."""
    if len(losses) < 2:
        return Markup("")
    kept = min(losses, key=lambda point: point[1])[0]
    return Markup(loss_curve(losses, kept_step=kept, mark="lowest"))  # noqa: S704 - our own markup


@lru_cache(maxsize=4)
def _drawn_figure(drawn: tuple[tuple[float, int], ...]) -> Markup:
    """The number of images drawn over time, from two moments on."""
    if len(drawn) < 2 or drawn[-1][0] - drawn[0][0] < 1:
        return Markup("")
    seconds = [time - drawn[0][0] for time, _ in drawn]
    divisor, unit = next(
        (divisor, unit)
        for least, divisor, unit in ((10_800, 3600, "hours"), (180, 60, "minutes"), (0, 1, "seconds"))
        if seconds[-1] >= least
    )
    figure, axes = new_figure(WIDTH, 240)
    places, counts = [second / divisor for second in seconds], [count for _, count in drawn]
    marker = "o" if len(drawn) <= 30 else ""
    axes.plot(places, counts, "-", marker=marker, color=ACCENT, linewidth=2, markersize=4, markeredgewidth=0)
    axes.set_ylim(bottom=0)
    label_axes(axes, f"{unit} since drawing began", "images drawn")
    return Markup(to_svg(figure, title=f"Images drawn over time: {counts[-1]:,} so far"))  # noqa: S704 - our own markup


@lru_cache(maxsize=4)
def _arms_figure(arms: tuple[ShownArm, ...]) -> Markup:
    """A row for each arm, with a dot for the accuracy of each training and a line at their mean."""
    measured = [arm for arm in arms if arm.accuracies]
    if not measured:
        return Markup("")
    figure, axes = rows_figure([arm.name for arm in measured])
    for row, arm in enumerate(measured):
        shares = [100 * accuracy for accuracy in arm.accuracies]
        mean = sum(shares) / len(shares)
        colour = REAL if arm.name == "real" else ACCENT
        axes.plot(shares, [row] * len(shares), "o", color=colour, markersize=8, alpha=0.6, markeredgewidth=0)
        axes.plot([mean, mean], [row - 0.22, row + 0.22], color=INK, linewidth=2)
        beside = axes.get_yaxis_transform()
        axes.text(
            1.04, row, f"{mean:.1f}", transform=beside, va="center", ha="left", color=MUTED, fontsize=13
        )
    axes.margins(x=0.1)
    axes.set_xlabel("accuracy on validation images, %")
    return Markup(to_svg(figure, title="Accuracy of every finished training on validation images"))  # noqa: S704 - our own markup


def states_in_words(states: Mapping[str, int]) -> str:
    """Say how many runs are in each state.

    Example:
        >>> states_in_words({"done": 3, "running": 1, "stopped": 0, "waiting": 0})
        '3 finished, 1 running'
    """
    words = {"done": "finished", "running": "running", "stopped": "stopped", "waiting": "waiting"}
    return ", ".join(f"{states[name]} {word}" for name, word in words.items() if states.get(name))
