"""Strategies: ways to make synthetic images worth more, each a suffix of an arm's name.

An example is ``mixed@soft-labels``. A strategy changes how the images of an arm are drawn and chosen, how the
arm is trained, or both.
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
"""A part of the gap between real and synthetic images; see :mod:`understudy.functional.gaps`."""
Overrides = Callable[[GeneratorSettings, DrawSettings, int], Mapping[str, Mapping[str, Any]]]
"""Returns the settings that an arm changes, from the generator and draw settings of the run and the number of
train images in the smallest class.
"""
ChangePhases = Callable[[tuple[Phase, ...]], tuple[Phase, ...]]
"""Returns the changed phases of an arm."""

_NOISE_SCALE = 1.1  # GaFi searches from 1 to 2; here it is not tuned
_NUM_GENERATORS = 3
_STRENGTH_BY_SHOTS = {1: 0.50, 2: 0.40, 4: 0.35, 8: 0.20, 16: 0.15}
"""The 50, 40, 35, 20 and 15 of 100 steps in He et al. 2023 (arXiv:2210.07574)."""
_NOT_ADAPTED: dict[str, dict[str, Any]] = {
    "adapt": {"method": "none", "adapter": None},
    "visual": {"kind": "none", "draw_kind": None},
}
_THIS_PROJECT = "this project, see docs/methods/content_gap.md"


@final
@dataclass(frozen=True, kw_only=True)
class Strategy:
    """Changes which synthetic images an arm sees, how it is trained on them, or both.

    Attributes:
        summary: one line for ``understudy list``.
        addresses: the parts of the gap that the strategy is meant to close; empty for controls.
        source: the publication or other source of the idea.
        overrides: settings for the arm's images; None if the arm uses the images of the run.
        change_phases: changes to the arm's training; None if the training stays as it is.
    """

    summary: str
    addresses: tuple[Term, ...]
    source: str
    overrides: Overrides | None = None
    change_phases: ChangePhases | None = None

    @property
    def is_control(self) -> bool:
        """Whether it replaces the adapted generator's images, to show what these are worth."""
        return not self.addresses


STRATEGIES: Registry[Strategy] = Registry("strategy")


def split_name(name: str) -> tuple[str, tuple[str, ...]]:
    """Split an arm's name into the plain arm and its strategies.

    Raises:
        InputError: if a strategy is unknown or named twice.

    Example:
        >>> split_name("synthetic@refresh@soft-labels")
        ('synthetic', ('refresh', 'soft-labels'))
    """
    plain, *strategies = name.split("@")
    for strategy in strategies:
        STRATEGIES[strategy]
    if len(set(strategies)) < len(strategies):
        raise InputError(f"each strategy must be named once in an arm, got {name!r}")
    return plain, tuple(strategies)


def strength_by_shots(shots: int) -> float:
    """Strength of real guidance: the share of the reverse process that the generator runs.

    The values are from He et al. 2023 (arXiv:2210.07574). Between the paper's numbers of shots, the strength
    is linear in the logarithm of the shots; beyond them, the first or last value holds.

    Example:
        >>> strength_by_shots(4), strength_by_shots(600)
        (0.35, 0.15)
    """
    known = sorted(_STRENGTH_BY_SHOTS)
    return float(
        np.interp(np.log2(max(shots, 1)), np.log2(known), [_STRENGTH_BY_SHOTS[count] for count in known])
    )


def _fixed(section: str, **values: object) -> Overrides:
    """Override settings with fixed values that do not depend on the run."""
    return lambda generator, draw, shots: {section: values}


def _more_varied(generator: GeneratorSettings, draw: DrawSettings, shots: int) -> dict[str, dict[str, Any]]:
    if generator.is_ready_made:
        raise InputError(
            "the strategy 'diverse' changes the initial noise, but ready-made images have none: leave it out"
        )
    if draw.starts_from_real:
        raise InputError(
            "the strategy 'diverse' changes the initial noise, but here drawing starts from real images: "
            "leave it out"
        )
    return {"draw": {"noise_scale": _NOISE_SCALE, "guidance_scale": 1.0, "negative_prompt": ""}}


def _from_real(generator: GeneratorSettings, draw: DrawSettings, shots: int) -> dict[str, dict[str, Any]]:
    if generator.is_ready_made:
        raise InputError(
            "the strategy 'real-guidance' draws from noised real images, but ready-made images are not "
            "drawn: leave it out"
        )
    strength = max(strength_by_shots(shots), strength_of(1, draw.steps))  # at least one step
    return {"draw": {"strength": strength, "start_snr": None, "noise_scale": 1.0}}


def _several(generator: GeneratorSettings, draw: DrawSettings, shots: int) -> dict[str, dict[str, Any]]:
    if generator.is_ready_made:
        raise InputError(
            "the strategy 'several-generators' adapts generators, but ready-made images have none: leave it "
            "out, or use the generator 'folder' with one set of each generator as generator.images"
        )
    return {"draw": {"members": _NUM_GENERATORS}}


def _without_adapter(
    generator: GeneratorSettings, draw: DrawSettings, shots: int
) -> dict[str, dict[str, Any]]:
    if generator.is_ready_made or generator.name == "class_conditional":
        raise InputError(
            f"the strategy 'unadapted' draws with the weights that a run starts from, which the generator "
            f"{generator.name!r} does not have: leave it out"
        )
    if "{token}" in draw.prompt:
        raise InputError(
            "the strategy 'unadapted' draws without a learned token, but draw.prompt contains {token}: "
            "compare with a run of the recipe neutral-token instead"
        )
    return {"draw": {"members": 1, "adapter_scale": 1.0}, **_NOT_ADAPTED}


def _from_pretraining(
    generator: GeneratorSettings, draw: DrawSettings, shots: int
) -> dict[str, dict[str, Any]]:
    if generator.is_ready_made or generator.name == "class_conditional":
        raise InputError(
            "the strategy 'retrieved' takes images from the set that the generator was pretrained on, but "
            f"{generator.name!r} was not pretrained: leave it out"
        )
    if generator.retrieved:
        source: dict[str, Any] = {"name": "folder", "images": generator.retrieved}
    elif generator.name == "mini":
        source = {"name": "glyphs"}
    else:
        raise InputError(
            "the strategy 'retrieved' needs images of your classes from the set that the generator "
            f"{generator.name!r} was pretrained on: give them as "
            '--set "generator.retrieved=[PATH]", or leave it out'
        )
    return {
        "generator": {**GeneratorSettings().model_dump(), **source},
        "draw": DrawSettings.idle_for_ready_made(),
        **_NOT_ADAPTED,
    }


def _on_synthetic(**changes: object) -> ChangePhases:
    """Change every phase that sees synthetic images."""
    return lambda phases: tuple(
        phase if phase.data == "real" else phase.changed(**changes) for phase in phases
    )


def _with_auxiliary_batch_norm(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """Separate batch normalisation for synthetic images.

    Mixed phases separate scale, shift and statistics, and half of every batch is real. Phases with synthetic
    images alone separate only the statistics.
    """

    def change(phase: Phase) -> Phase:
        if phase.data == "mixed":
            return phase.changed(auxiliary_batch_norm="both", real_share=phase.real_share or 0.5)
        return phase.changed(auxiliary_batch_norm="statistics") if phase.data == "synthetic" else phase

    return tuple(map(change, phases))


def _then_late_layers(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    if phases[-1].data == "real":
        return (*phases[:-1], phases[-1].changed(layers="late-layer"))
    return (*phases, Phase(data="real", layers="late-layer"))


def _two_losses(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """Losses within regions, with the weights of the authors' code divided by that of the real loss, 4.

    As in their lightweight code, four synthetic images meet one real image.
    """
    if not any(phase.data == "mixed" for phase in phases):
        raise InputError(
            "the strategy 'protoaug' needs real and synthetic images in one phase, such as mixed@protoaug"
        )
    weights = {"synthetic_weight": 1 / 4, "discrepancy": 0.1 / 4, "robustness": 1 / 4}
    return tuple(
        phase.changed(**weights, real_share=phase.real_share or 0.2) if phase.data == "mixed" else phase
        for phase in phases
    )


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


_TABLE = {
    "agreement-filter": Strategy(
        summary="redraw images that a real-trained classifier clearly assigns to another class",
        addresses=("quality",),
        source="understudy's own curation; the argmax test of GaFi (arXiv:2305.10118) in a softer form",
        overrides=_fixed("curate", score="agreement", threshold=None),
    ),
    "aux-batch-norm": Strategy(
        summary="separate batch normalisation for synthetic images; tests use the one for real images",
        addresses=("appearance",),
        source="Diversify, Don't Fine-Tune (arXiv:2312.02253), after AdvProp (arXiv:1911.09665)",
        change_phases=_with_auxiliary_batch_norm,
    ),
    "clip-filter": Strategy(
        summary="redraw images to whose class zero-shot CLIP gives at most the probability of chance",
        addresses=("quality",),
        source="CLIP filter of He et al. 2023 (arXiv:2210.07574)",
        overrides=_fixed("curate", score="clip", threshold=None),
    ),
    "confidence-filter": Strategy(
        summary="redraw images that a real-trained classifier is less sure of than of real validation images",
        addresses=("quality",),
        source="dynamic sample filtering of GaFi (arXiv:2305.10118), with a threshold from validation "
        "images instead of test images",
        overrides=_fixed("curate", score="confidence", threshold=None),
    ),
    "coverage": Strategy(
        summary="draw three times as many images; keep those distributed like the real ones (kernel herding)",
        addresses=("content",),
        source="kernel herding, Chen et al. 2010 (arXiv:1203.3472)",
        overrides=_fixed("curate", select="coverage"),
    ),
    "covariance": Strategy(
        summary="draw three times as many images; keep those whose covariance is that of the real ones",
        addresses=("content",),
        source="Rezaei et al. 2026 (arXiv:2510.08123)",
        overrides=_fixed("curate", select="covariance"),
    ),
    "deliberate": Strategy(
        summary="draw three times as many images; in rounds, keep those of which a classifier is most unsure",
        addresses=("quantity", "content"),
        source="deliberate practice, Askari-Hemmat et al. 2025 (arXiv:2502.15588)",
        overrides=_fixed("curate", select="deliberate"),
    ),
    "diverse": Strategy(
        summary="draw without guidance, from noise with a 10% larger standard deviation",
        addresses=("content",),
        source="expansion trick of GaFi (arXiv:2305.10118), inverse truncation",
        overrides=_more_varied,
    ),
    "feature-distillation": Strategy(
        summary="keep the features of synthetic images near the features of the frozen pretrained network",
        addresses=("appearance",),
        source="FitNets, Romero et al. 2015 (arXiv:1412.6550)",
        change_phases=_on_synthetic(feature_distillation=1.0),
    ),
    "herding": Strategy(
        summary="draw three times as many images; keep those whose mean is that of the real ones (herding)",
        addresses=("content",),
        source="herding, Welling 2009 (ICML)",
        overrides=_fixed("curate", select="herding"),
    ),
    "late-layer": Strategy(
        summary="add a phase that trains the last stage and the head on the real images",
        addresses=("appearance",),
        source="Hennicke et al. 2024 (arXiv:2405.03243)",
        change_phases=_then_late_layers,
    ),
    "matched": Strategy(
        summary="draw three times as many images; keep the nearest one to each real image",
        addresses=("content",),
        source=_THIS_PROJECT,
        overrides=_fixed("curate", select="matched"),
    ),
    "protoaug": Strategy(
        summary="hold the logits of real and synthetic images of one K-means cell together, as ProtoAug",
        addresses=("appearance", "quality"),
        source="Nguyen et al. 2025 (arXiv:2505.24190), the losses of the authors' code",
        change_phases=_two_losses,
    ),
    "real-guidance": Strategy(
        summary="start from noised real images of the class; with more images per class, less noise is added",
        addresses=("appearance", "quality"),
        source="real guidance of He et al. 2023 (arXiv:2210.07574)",
        overrides=_from_real,
    ),
    "refresh": Strategy(
        summary="replace the synthetic images by newly drawn ones after every pass over them",
        addresses=("quantity",),
        source="dynamic dataset recycle of GaFi (arXiv:2305.10118), every epoch, all images",
        change_phases=_on_synthetic(refresh_every=1.0),
    ),
    "several-generators": Strategy(
        summary="draw a third of the images with each of three generators, adapted with different seeds",
        addresses=("content",),
        source="multi-GAN of GaFi (arXiv:2305.10118)",
        overrides=_several,
    ),
    "retrieved": Strategy(
        summary="control: images from the set that the generator was pretrained on, instead of drawn ones",
        addresses=(),
        source="retrieval baseline of Geng et al. 2024 (arXiv:2406.05184)",
        overrides=_from_pretraining,
    ),
    "soft-labels": Strategy(
        summary="average each synthetic image's label with the prediction of a real-trained classifier",
        addresses=("quality",),
        source="soft cross entropy of He et al. 2023 (arXiv:2210.07574); Hinton et al. 2015 "
        "(arXiv:1503.02531)",
        change_phases=_on_synthetic(soft_labels=0.5),
    ),
    "two-stream": Strategy(
        summary="make half of every batch real; the losses of real and synthetic images count equally",
        addresses=("content", "quantity"),
        source="mix loss of He et al. 2023 (arXiv:2210.07574)",
        change_phases=_two_streams,
    ),
    "unadapted": Strategy(
        summary="control: images drawn with the generator as it was before adaptation",
        addresses=(),
        source=_THIS_PROJECT,
        overrides=_without_adapter,
    ),
    "weak-classes": Strategy(
        summary="draw more images of the classes that a classifier trained on synthetic images confuses",
        addresses=("quantity", "content"),
        source=_THIS_PROJECT,
        overrides=_fixed("draw", allocation="weak-classes"),
    ),
}
for _name, _strategy in _TABLE.items():
    STRATEGIES.register(_name)(_strategy)
