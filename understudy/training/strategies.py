"""Strategies: ways to make synthetic images worth more, each a suffix of an arm's name, as in ``mixed@soft-labels``.

A strategy overrides how an arm's images are drawn and chosen, changes how the arm is trained, or both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from understudy.core.errors import InputError
from understudy.core.registry import Registry
from understudy.functional.denoising import strength_of
from understudy.generators.settings import GeneratorSettings
from understudy.sampling.settings import DrawSettings
from understudy.training.settings import Phase

Term = Literal["appearance", "content", "quality", "quantity"]
"""A part of the gap, see :mod:`understudy.functional.gaps`."""
Overrides = Callable[[GeneratorSettings, DrawSettings, int], Mapping[str, Mapping[str, Any]]]
"""Generator, how the run draws, and train images of the smallest class, to the settings that an arm's images have instead."""
ChangePhases = Callable[[tuple[Phase, ...]], tuple[Phase, ...]]
"""The phases of an arm to those that are trained instead."""

_NOISE_SCALE = 1.1  # within the 1 to 2 that GaFi searches; not tuned
_NUM_GENERATORS = 3
_STRENGTH_BY_SHOTS = {1: 0.50, 2: 0.40, 4: 0.35, 8: 0.20, 16: 0.15}
"""The 50, 40, 35, 20 and 15 of 100 steps of He et al. 2023 (arXiv:2210.07574)."""
_OWN = "the project's own, see docs/methods/content_gap.md"


@final
@dataclass(frozen=True, kw_only=True)
class Strategy:
    """Changes which synthetic images an arm sees, how it is trained on them, or both.

    Attributes:
        addresses: parts of the gap that it is meant to close.
        source: where it comes from.
        overrides: settings of its images; None if they are those of the run.
        change_phases: of its training; None if it stays as it is.
    """

    addresses: tuple[Term, ...]
    source: str
    overrides: Overrides | None = None
    change_phases: ChangePhases | None = None


STRATEGIES: Registry[Strategy] = Registry("strategy")


def split_name(name: str) -> tuple[str, tuple[str, ...]]:
    """An arm's name to that of the plain arm and its strategies.

    Raises:
        InputError: for an unknown strategy, or one named twice.

    Example:
        >>> split_name("synthetic@refresh@soft-labels")
        ('synthetic', ('refresh', 'soft-labels'))
    """
    plain, *strategies = name.split("@")
    for strategy in strategies:
        STRATEGIES[strategy]
    if len(set(strategies)) < len(strategies):
        raise InputError(f"a strategy must be named once in an arm, got {name!r}")
    return plain, tuple(strategies)


def strength_by_shots(shots: int) -> float:
    """Strength of real guidance: the share of the reverse process that is left to the generator.

    He et al. 2023 (arXiv:2210.07574); between the paper's numbers of shots, linear in the logarithm; outside, the nearest.

    Example:
        >>> strength_by_shots(4), strength_by_shots(600)
        (0.35, 0.15)
    """
    known = sorted(_STRENGTH_BY_SHOTS)
    return float(
        np.interp(np.log2(max(shots, 1)), np.log2(known), [_STRENGTH_BY_SHOTS[count] for count in known])
    )


def _fixed(section: str, **values: object) -> Overrides:
    """The same values whatever the run's settings are."""
    return lambda generator, draw, shots: {section: values}


def _more_varied(generator: GeneratorSettings, draw: DrawSettings, shots: int) -> dict[str, dict[str, Any]]:
    if generator.name == "folder":
        raise InputError(
            "the strategy 'diverse' changes the noise at the start, and ready-made images have none: leave it out"
        )
    if draw.starts_from_real:
        raise InputError(
            "the strategy 'diverse' changes the noise at the start, and drawing starts from real images here: leave it out"
        )
    return {"draw": {"noise_scale": _NOISE_SCALE, "guidance_scale": 1.0, "negative_prompt": ""}}


def _from_real(generator: GeneratorSettings, draw: DrawSettings, shots: int) -> dict[str, dict[str, Any]]:
    strength = max(strength_by_shots(shots), strength_of(1, draw.steps))  # one step at least
    return {"draw": {"strength": strength, "start_snr": None, "noise_scale": 1.0}}


def _several(generator: GeneratorSettings, draw: DrawSettings, shots: int) -> dict[str, dict[str, Any]]:
    if generator.name == "folder":
        raise InputError(
            "the strategy 'several-generators' adapts generators: give ready-made sets of several as generator.images"
        )
    return {"draw": {"members": _NUM_GENERATORS}}


def _on_synthetic(**changes: object) -> ChangePhases:
    """Change every phase that sees synthetic images."""
    return lambda phases: tuple(
        phase if phase.data == "real" else phase.changed(**changes) for phase in phases
    )


def _with_batch_norm_apart(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """Scale, shift and statistics, with half of every batch each; without real images in the phase, the statistics alone."""

    def change(phase: Phase) -> Phase:
        if phase.data == "mixed":
            return phase.changed(auxiliary_batch_norm="both", real_share=phase.real_share or 0.5)
        return phase.changed(auxiliary_batch_norm="statistics") if phase.data == "synthetic" else phase

    return tuple(map(change, phases))


def _then_late_layers(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    if phases[-1].data == "real":
        return (*phases[:-1], phases[-1].changed(layers="late-layer"))
    return (*phases, Phase(data="real", layers="late-layer"))


def _two_streams(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    if not any(phase.data == "mixed" for phase in phases):
        raise InputError(
            "the strategy 'two-stream' needs real and synthetic images in one phase, such as mixed@two-stream"
        )
    return tuple(
        phase.changed(synthetic_weight=1.0, real_share=phase.real_share or 0.5)
        if phase.data == "mixed"
        else phase
        for phase in phases
    )


_TABLE: dict[str, tuple[str, tuple[Term, ...], str, Overrides | None, ChangePhases | None]] = {
    "agreement-filter": (
        "draw anew what a classifier of the real images does not take for its class",
        ("quality",),
        "understudy's own curation; the argmax test of GaFi (arXiv:2305.10118) in a softer form",
        _fixed("curate", score="agreement", threshold=None),
        None,
    ),
    "aux-batch-norm": (
        "batch normalisation of its own for synthetic images; at test that of the real ones is used",
        ("appearance",),
        "Diversify, Don't Fine-Tune (arXiv:2312.02253), after AdvProp (arXiv:1911.09665)",
        None,
        _with_batch_norm_apart,
    ),
    "clip-filter": (
        "draw anew what CLIP gives its class no more than an even chance",
        ("quality",),
        "CLIP filter of He et al. 2023 (arXiv:2210.07574)",
        _fixed("curate", score="clip", threshold=None),
        None,
    ),
    "confidence-filter": (
        "draw anew what that classifier is less sure of than of real validation images",
        ("quality",),
        "dynamic sample filtering of GaFi (arXiv:2305.10118), with a threshold from validation images instead of test images",
        _fixed("curate", score="confidence", threshold=None),
        None,
    ),
    "coverage": (
        "of three times as many images, take those whose features lie as the real ones do (kernel herding)",
        ("content",),
        "kernel herding, Chen et al. 2010 (arXiv:1203.3472)",
        _fixed("curate", select="coverage"),
        None,
    ),
    "diverse": (
        "start from noise that is a tenth wider, and leave guidance out",
        ("content",),
        "expansion trick of GaFi (arXiv:2305.10118), inverse truncation",
        _more_varied,
        None,
    ),
    "feature-distillation": (
        "features of synthetic images stay near those of the frozen pretrained network",
        ("appearance",),
        "FitNets, Romero et al. 2015 (arXiv:1412.6550)",
        None,
        _on_synthetic(feature_distillation=1.0),
    ),
    "late-layer": (
        "afterwards, train the last stage and the head on the real images",
        ("appearance",),
        "Hennicke et al. 2024 (arXiv:2405.03243)",
        None,
        _then_late_layers,
    ),
    "matched": (
        "of three times as many images, take for each real image the nearest one",
        ("content",),
        _OWN,
        _fixed("curate", select="matched"),
        None,
    ),
    "real-guidance": (
        "start from noised real images of the class, the less noised the more there are",
        ("appearance", "quality"),
        "real guidance of He et al. 2023 (arXiv:2210.07574)",
        _from_real,
        None,
    ),
    "refresh": (
        "after every pass over the synthetic images, train on freshly drawn ones",
        ("quantity",),
        "dynamic dataset recycle of GaFi (arXiv:2305.10118), every epoch, all images",
        None,
        _on_synthetic(refresh_every=1.0),
    ),
    "several-generators": (
        "three generators, adapted with different seeds, draw a third each",
        ("content",),
        "multi-GAN of GaFi (arXiv:2305.10118)",
        _several,
        None,
    ),
    "soft-labels": (
        "half of the loss of synthetic images asks for what a classifier of the real images sees in them",
        ("quality",),
        "soft cross entropy of He et al. 2023 (arXiv:2210.07574); Hinton et al. 2015 (arXiv:1503.02531)",
        None,
        _on_synthetic(soft_labels=0.5),
    ),
    "two-stream": (
        "half of every batch each; the losses of real and of synthetic images count alike",
        ("content", "quantity"),
        "mix loss of He et al. 2023 (arXiv:2210.07574)",
        None,
        _two_streams,
    ),
    "weak-classes": (
        "the same number of images, more of them for classes that a classifier of synthetic images confuses",
        ("quantity", "content"),
        _OWN,
        _fixed("draw", allocation="weak-classes"),
        None,
    ),
}
for _name, (_summary, _addresses, _source, _overrides, _change) in _TABLE.items():
    STRATEGIES.register(_name, summary=_summary)(
        Strategy(addresses=_addresses, source=_source, overrides=_overrides, change_phases=_change)
    )
