"""Arms: ways to use real and synthetic images, each a short list of phases."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import final

from understudy.core.errors import InputError
from understudy.core.registry import Registry
from understudy.training.settings import CompareSettings, Phase
from understudy.training.strategies import STRATEGIES, ChangePhases, split_name


@final
@dataclass(frozen=True, kw_only=True)
class Arm:
    """A named way to use the data. Arms share everything else: backbone, steps, optimiser, seeds and so on.

    Attributes:
        name: how users call it.
        phases: in order, at least one.
        summary: one line for ``understudy list``.
        uses_val: whether the validation images are train images too. Nothing can then be chosen on them, so
            such an arm is measured but never chosen, and it is trained with the settings of the same arm
            without them.
    """

    name: str
    phases: tuple[Phase, ...]
    summary: str
    uses_val: bool = False

    @property
    def uses_synthetic(self) -> bool:
        """Whether any phase sees synthetic images."""
        return any(phase.data != "real" for phase in self.phases)

    @property
    def can_be_chosen(self) -> bool:
        """Whether the verdict may choose it: it sees synthetic images and is neither a control nor `+val`."""
        strategies = split_name(self.name)[1]
        is_control = any(STRATEGIES[name].is_control for name in strategies)
        return self.uses_synthetic and not self.uses_val and not is_control

    @property
    def without_val(self) -> str:
        """The name of the same arm that learns from train images alone.

        Example:
            >>> find_arm("mixed+val", CompareSettings()).without_val
            'mixed'
        """
        if not self.uses_val:
            return self.name
        plain, *strategies = self.name.split("@")
        return "@".join([plain.removesuffix(_VAL), *strategies])

    def phase_steps(self, settings: CompareSettings, *, num_real: int, num_synthetic: int) -> tuple[int, ...]:
        """Optimisation steps of each phase.

        A phase whose length is given in steps or epochs has exactly that length. With
        ``settings.equal_steps`` the other phases divide the remaining steps in proportion to their shares, so
        the sum is ``settings.steps``. Otherwise, a share is a multiple of ``settings.steps``.

        Args:
            settings: ``steps``, ``equal_steps`` and ``batch_size`` are used.
            num_real: real images, for lengths in epochs.
            num_synthetic: synthetic images in use at once, for lengths in epochs.

        Raises:
            InputError: if a phase would get no step, or with ``settings.equal_steps`` the sum is not
                ``settings.steps``.

        Example:
            >>> bridged = ARMS["bridged"]
            >>> bridged.phase_steps(CompareSettings(steps=301), num_real=10, num_synthetic=100)
            (150, 151)
            >>> settings = CompareSettings(steps=301, equal_steps=False)
            >>> bridged.phase_steps(settings, num_real=10, num_synthetic=100)
            (301, 301)
        """
        images = {"real": num_real, "synthetic": num_synthetic, "mixed": num_real + num_synthetic}
        given = [
            math.ceil(phase.epochs * images[phase.data] / settings.batch_size)
            if phase.epochs
            else phase.steps or 0
            for phase in self.phases
        ]
        if settings.equal_steps:
            counts = self._divide(settings.steps, given)
        else:
            shares = [round(settings.steps * _share(phase)) for phase in self.phases]
            counts = [count or share for count, share in zip(given, shares, strict=True)]
        if min(counts) < 1:
            raise InputError(
                f"compare.steps={settings.steps} leaves a phase of the arm {self.name!r} ({self.describe()}) "
                "without a step: use more steps"
            )
        if settings.equal_steps and sum(counts) != settings.steps:
            raise InputError(
                f"every arm must take compare.steps={settings.steps} steps, but the phases of {self.name!r} "
                f"take {sum(counts)}: give one of them a share, or set compare.equal_steps=false"
            )
        return tuple(counts)

    def _divide(self, steps: int, given: list[int]) -> list[int]:
        """Let phases without a given length divide the remaining steps by their shares."""
        shares = [0.0 if count else _share(phase) for phase, count in zip(self.phases, given, strict=True)]
        left, total = max(0, steps - sum(given)), sum(shares)
        ends = [
            round(left * sum(shares[: index + 1]) / total) if total else 0 for index in range(len(shares))
        ]
        return [count or end - start for count, start, end in zip(given, [0, *ends], ends, strict=False)]

    def describe(self) -> str:
        """Describe the phases on one line; parts are the shares of the phases in the steps.

        Example:
            >>> ARMS["bridged++"].describe()
            '1 part synthetic images with mixup 0.2, then 1 part real images with a fresh head'
        """
        if len(self.phases) == 1 and _length(self.phases[0]) == "1 part":
            phases = _describe(self.phases[0])
        else:
            phases = ", then ".join(f"{_length(phase)} {_describe(phase)}" for phase in self.phases)
        return f"{phases}; validation images count as real images" if self.uses_val else phases


def _share(phase: Phase) -> float:
    return 1.0 if phase.share is None else phase.share


def _length(phase: Phase) -> str:
    if phase.steps or phase.epochs:
        return f"{phase.steps} steps on" if phase.steps else f"{phase.epochs:g} epochs of"
    return f"{_share(phase):g} part{'s' if _share(phase) != 1 else ''}"


_HEADS = {"kept": "", "fresh": "a fresh head", "class-means": "a head of class means"}


def _describe(phase: Phase) -> str:
    data = "real and synthetic" if phase.data == "mixed" else phase.data
    changed = ("optimiser", "schedule", "learning_rate", "weight_decay", "label_smoothing", "augmentation")
    details = [
        _HEADS[phase.head],
        f"the head alone for the first {phase.head_warmup:.0%}" if phase.head_warmup else "",
        f"{phase.real_share:.0%} real per batch" if phase.real_share is not None else "",
        "every class equally often" if phase.class_balanced else "",
        "the highest strength first" if phase.order == "descending-strength" else "",
        *(f"{name} {value:g}" for name in ("mixup", "cutmix") if (value := getattr(phase, name))),
        phase.layers if phase.layers != "full" else "",
        "batch norm frozen" if phase.batch_norm == "frozen" else "",
        *_describe_synthetic(phase),
        *(
            f"{name.replace('_', ' ')} {getattr(phase, name)}"
            for name in changed
            if getattr(phase, name) is not None
        ),
    ]
    text = ", ".join(filter(None, details))
    return f"{data} images{f' with {text}' if text else ''}"


def _describe_synthetic(phase: Phase) -> list[str]:
    """How a phase treats synthetic images differently from real ones."""
    parts = {
        "statistics": "batch norm statistics",
        "affine": "batch norm scale and shift",
        "both": "batch norm",
    }
    details = []
    if phase.auxiliary_batch_norm != "none":
        details.append(f"separate {parts[phase.auxiliary_batch_norm]} for synthetic images")
    if phase.synthetic_weight is not None:
        details.append(f"synthetic loss weighted {phase.synthetic_weight:g}")
    details += [
        f"{name} {value:g} within regions"
        for name in ("discrepancy", "robustness")
        if (value := getattr(phase, name))
    ]
    if phase.soft_labels:
        details.append(f"{phase.soft_labels:.0%} soft labels at temperature {phase.temperature:g}")
    if phase.feature_distillation:
        details.append(f"feature distillation {phase.feature_distillation:g}")
    if phase.refresh_every:
        share, every = phase.refresh_share, phase.refresh_every
        details.append(f"{share:.0%} of the synthetic images fresh every {every:g} epochs")
    return details


ARMS: Registry[Arm] = Registry("arm")
_VAL = "+val"


def find_arm(name: str, settings: CompareSettings) -> Arm:
    """Find an arm by name, with the changes of the strategies in its name, as in ``mixed@soft-labels``.

    Args:
        name: of a built-in arm, or of one in ``settings.own_arms``, or one of these with ``+val``, which
            learns from the validation images too; followed by strategies.
        settings: ``own_arms`` is used.

    Raises:
        InputError: for an unknown name, an arm in ``own_arms`` with the name of a built-in one, ``+val`` with
            an arm that cannot learn from validation images or already does, or strategies that do not fit.
    """
    plain, strategies = split_name(name)
    arm = _plain_arm(plain, settings)
    if not strategies:
        return arm
    if not arm.uses_synthetic:
        raise InputError(
            f"strategies need an arm that uses synthetic images, got {name!r}: choose another arm than "
            f"{plain!r}"
        )
    phases = arm.phases
    for change in _changes(arm, name, strategies):
        phases = change(phases)
    summaries = [STRATEGIES[strategy].summary for strategy in strategies]
    return replace(arm, name=name, phases=phases, summary="; ".join([arm.summary, *summaries]))


def _changes(arm: Arm, name: str, strategies: Sequence[str]) -> list[ChangePhases]:
    """Changes of the strategies to the phases, which must not set the same field to different values."""
    changes = {key: change for key in strategies if (change := STRATEGIES[key].change_phases) is not None}
    set_by: dict[tuple[int, str], str] = {}  # strategy by number of the phase and field
    changed = {strategy: _changed(change, strategy, arm, name) for strategy, change in changes.items()}
    for strategy, phases in changed.items():
        for number, (before, after) in enumerate(zip(arm.phases, phases, strict=False)):
            for field in Phase.model_fields:
                value = getattr(after, field)
                if value == getattr(before, field):
                    continue
                other = set_by.setdefault((number, field), strategy)
                if value != getattr(changed[other][number], field):
                    raise InputError(
                        f"the strategies {other!r} and {strategy!r} of the arm {name!r} both set {field} of "
                        "a phase: use only one of them"
                    )
    return list(changes.values())


def _changed(change: ChangePhases, strategy: str, arm: Arm, name: str) -> tuple[Phase, ...]:
    """The phases of an arm as one strategy changes them."""
    try:
        return change(arm.phases)
    except InputError as error:
        raise InputError(
            f"the strategy {strategy!r} of the arm {name!r} does not fit its phases ({arm.describe()}): "
            f"{error}"
        ) from None


def _plain_arm(name: str, settings: CompareSettings) -> Arm:
    """An arm without strategies."""
    if name in settings.own_arms and name in ARMS:
        raise InputError(
            f"compare.own_arms must have new names, got {name!r}, which is built in: choose another name"
        )
    if name in settings.own_arms:
        return Arm(name=name, phases=settings.own_arms[name], summary="an arm of your own")
    without = name.removesuffix(_VAL)
    if name in ARMS or without not in {*ARMS, *settings.own_arms}:
        return ARMS[name]
    arm = _plain_arm(without, settings)
    if arm.uses_val:
        raise InputError(f"{without!r} already learns from validation images, got {name!r}: leave {_VAL} out")
    if not _can_learn_from_val(arm):
        raise InputError(
            f"{name!r} must be an arm that can learn from validation images as from train images, but "
            f"{without!r} ({arm.describe()}) learns from no real images, or for a number of epochs: leave "
            f"{_VAL} out"
        )
    return replace(arm, name=name, summary=f"{without}, validation images included", uses_val=True)


def _can_learn_from_val(arm: Arm) -> bool:
    """Whether a phase has real images that more images can join without making the training longer."""
    return any(phase.data != "synthetic" for phase in arm.phases) and not any(
        phase.epochs for phase in arm.phases
    )


def with_val(name: str, settings: CompareSettings) -> str | None:
    """The arm that learns as ``name`` does and from the validation images too; None if there is none.

    Every arm with a phase on real images has one, unless a phase has a length in epochs, which more images
    would make longer, or an arm in ``settings.own_arms`` has its name.

    Example:
        >>> settings = CompareSettings()
        >>> with_val("bridged++@refresh", settings), with_val("synthetic", settings)
        ('bridged+++val@refresh', None)
    """
    plain, *strategies = name.split("@")
    arm, taken = _plain_arm(plain, settings), plain + _VAL in settings.own_arms
    if taken or arm.uses_val or not _can_learn_from_val(arm):
        return None
    return "@".join([plain + _VAL, *strategies])


def refittable_arms(names: Iterable[str], settings: CompareSettings) -> list[str]:
    """The arms with synthetic images among ``names`` that can be trained again on validation images too."""
    return [
        name
        for name in names
        if find_arm(name, settings).uses_synthetic and with_val(name, settings) is not None
    ]


def check_arm(arm: Arm, settings: CompareSettings) -> None:
    """Check that everything an arm sets has an effect.

    Raises:
        InputError: for a fresh head in the first phase, which always has one; for changes to the features in
            a phase that trains only the head; and for a share in a single phase if all arms have equal steps.
    """
    if arm.phases[0].head == "fresh" and not settings.keep_head:
        raise InputError(
            f"head 'fresh' has no effect in the first phase of the arm {arm.name!r}: every arm begins with a "
            "fresh head"
        )
    for phase in arm.phases:
        if phase.layers in ("last-layer", "linear-probe") and (idle := _feature_setting(phase)):
            raise InputError(
                f"{idle} has no effect in the arm {arm.name!r}, because {phase.layers} trains only the head: "
                "leave one of the two out"
            )
    if settings.equal_steps and len(arm.phases) == 1 and _share(arm.phases[0]) != 1:
        raise InputError(
            f"the arm {arm.name!r} ({arm.describe()}) needs compare.equal_steps=false: with equal steps, the "
            "share of its only phase has no effect"
        )


def _feature_setting(phase: Phase) -> str:
    """The setting of a phase that changes only weights below the head; empty if there is none."""
    if phase.auxiliary_batch_norm in ("affine", "both"):
        return f"auxiliary_batch_norm {phase.auxiliary_batch_norm!r}"
    return "feature_distillation" if phase.feature_distillation else ""


def _add(name: str, summary: str, *phases: Phase, uses_val: bool = False) -> None:
    arm = Arm(name=name, phases=phases, summary=summary, uses_val=uses_val)
    ARMS.register(name, summary=summary)(arm)


_MIXUP = 0.2  # alpha; not given in the paper. Zhang et al. 2018 (arXiv:1710.09412) use 0.1 to 0.4 on ImageNet
_WARMUP = 0.3  # share; Kumar et al. 2022 (arXiv:2202.10054) train the head until it has converged
_REAL, _SYNTHETIC = Phase(data="real"), Phase(data="synthetic")
_SYNTHETIC_MIXUP = Phase(data="synthetic", mixup=_MIXUP)
_NEW_HEAD = Phase(data="real", head="fresh")
_MEANS = Phase(data="real", head="class-means")
_LP_FT = Phase(data="real", head="fresh", head_warmup=_WARMUP)
_AUGMENTED = Phase(data="real", mixup=_MIXUP, augmentation="randaugment")
_BALANCED = Phase(data="mixed", real_share=0.5)

_add("real", "real images alone: the baseline of the other arms", _REAL)
_add(
    "real+val",
    "control: real and validation images; NAME+val is the same for any arm with real images",
    _REAL,
    uses_val=True,
)
_add("synthetic", "synthetic images alone", _SYNTHETIC)
_add("mixed", "real and synthetic images in one set", Phase(data="mixed"))
_add("mixed-balanced", "real and synthetic images, half of every batch each", _BALANCED)
_add("bridged", "first synthetic, then real images", _SYNTHETIC, _REAL)
_add(
    "curriculum",
    "bridged, with the synthetic images in descending order of their strength",
    Phase(data="synthetic", order="descending-strength"),
    _REAL,
)
_add("bridged+reinit", "bridged, with a fresh head before the real images", _SYNTHETIC, _NEW_HEAD)
_add("bridged+mixup", "bridged, with Mixup of the synthetic images", _SYNTHETIC_MIXUP, _REAL)
_add("bridged++", "bridged, with Mixup and a fresh head: Bridged Transfer++", _SYNTHETIC_MIXUP, _NEW_HEAD)
_add("bridged+class-means", "bridged, with a head of class means before the real images", _SYNTHETIC, _MEANS)
_add("bridged+lp-ft", "bridged, with a fresh head that first learns alone: LP-FT", _SYNTHETIC, _LP_FT)
_add(
    "real+class-balanced",
    "control: real images, every class equally often: class-balanced sampling",
    Phase(data="real", class_balanced=True),
)
_add("real+mixup", "control: real images with Mixup", Phase(data="real", mixup=_MIXUP))
_add(
    "real-long",
    "control: real images alone, with the steps of both phases of a bridged arm",
    Phase(data="real", share=2),
)
_add("real+reinit", "control: real images, then a fresh head and real images again", _REAL, _NEW_HEAD)
_add("real+class-means", "control: real images, starting with a head of class means", _MEANS)
_add(
    "real+lp-ft",
    "control: real images, of which the head first learns alone",
    Phase(data="real", head_warmup=_WARMUP),
)
_add(
    "bridged-neutral",
    "control: bridged++, with strongly augmented real images in place of synthetic ones",
    _AUGMENTED,
    _NEW_HEAD,
)
