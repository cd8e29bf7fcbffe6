"""The report's panel on how the images were made: the loss of the adaptation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from understudy.report.figures import ACCENT, INK, WIDTH, label_axes, new_figure, to_svg


def loss_figure(adaptation: Mapping[str, Any]) -> Markup:
    """Return the loss curve of the section ``adaptation`` as SVG; empty if no loss was measured."""
    if not adaptation.get("curve"):
        return Markup("")
    return Markup(loss_curve(adaptation["curve"], kept_step=adaptation["best_step"]))  # noqa: S704 - our own markup


def loss_curve(curve: Sequence[tuple[int, float]], *, kept_step: int, mark: str = "kept") -> str:
    """Denoising loss on held-out real images over adaptation steps; the step that was kept is marked.

    Args:
        curve: pairs of step and loss.
        kept_step: the step whose weights were kept.
        mark: the word beside it.

    Returns:
        SVG markup.
    """
    figure, axes = new_figure(WIDTH, 240)
    steps, losses = [point[0] for point in curve], [point[1] for point in curve]
    axes.plot(steps, losses, "-o", color=ACCENT, linewidth=2, markersize=4, markeredgewidth=0)
    for step, loss in zip(steps, losses, strict=True):
        if step == kept_step:
            axes.plot([step], [loss], "o", color=INK, markersize=8, markeredgewidth=0)
            axes.annotate(
                mark,
                (step, loss),
                xytext=(0, 9),
                textcoords="offset points",
                ha="right" if step == max(steps) else "center",
                color=INK,
                fontsize=12,
            )
    axes.margins(y=0.18)
    label_axes(axes, "adaptation step", "validation loss")
    return to_svg(figure, title="Validation loss over adaptation steps")
