"""How classifiers are trained, tuned and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from understudy.core.config import NAME_PATTERN, Need, Section, setting

_MAX_STEPS = 10**9

_LENGTHS = ("share", "steps", "epochs")
"""The three ways to give the length of a phase."""


class Phase(Section):
    """A stretch of training on one kind of data, with a fresh optimiser and learning-rate schedule."""

    data: Literal["real", "synthetic", "mixed"]
    """Images of the phase; `mixed` joins real and synthetic images into one set."""
    share: float | None = setting(None, gt=0, le=1e6)
    """Length relative to the arm's other phases; with `compare.equal_steps=false`, in multiples of
    `compare.steps`. 1 if no length is set."""
    steps: int | None = setting(None, ge=1, le=_MAX_STEPS)
    """Length in optimisation steps, instead of `share`."""
    epochs: float | None = setting(None, gt=0, le=1e6)
    """Length in passes over the phase's images, instead of `share`."""
    real_share: float | None = setting(None, gt=0, lt=1)
    """Share of real images in every batch of `mixed` data; if not set, every image is seen equally often."""
    class_balanced: bool = setting(False)
    """Whether every class is seen equally often, so that images of rare classes repeat: class-balanced
    sampling."""
    order: Literal["random", "descending-strength"] = setting("random")
    """Order of the synthetic images: `random`, or by their `draw.strength`, the highest first. Then each
    strength gets an equal share of the phase's steps; real images are seen throughout."""
    head: Literal["kept", "fresh", "class-means"] = setting("kept")
    """Classification layer that the phase begins with: that of the phase before (`kept`), a random one
    (`fresh`), or the nearest-class-mean classifier of the phase's images (`class-means`)."""
    head_warmup: float = setting(0.0, ge=0, lt=1)
    """Share of the phase's steps, at its beginning, in which only the head learns, on a frozen backbone. Both
    parts have their own optimiser and schedule."""
    layers: Literal["full", "late-layer", "last-layer", "linear-probe"] = setting("full")
    """What is trained: everything (`full`), the last stage and the head (`late-layer`), only the head
    (`last-layer`), or only the head on a backbone in evaluation mode, without batch statistics and dropout
    (`linear-probe`)."""
    batch_norm: Literal["train", "frozen"] = setting("train")
    """Whether batch normalisation follows the batches (`train`) or keeps the running statistics it starts
    with."""
    auxiliary_batch_norm: Literal["none", "statistics", "affine", "both"] = setting("none")
    """What batch normalisation keeps separately for synthetic images: `statistics`, `affine` (scale and
    shift) or `both`; at test time, the part for real images is used. A phase without real images can separate
    only `statistics`; those for real images are then estimated from the real train images, without their
    labels."""
    synthetic_weight: float | None = setting(None, gt=0, le=1000)
    """Weight of the mean loss of synthetic images, relative to that of real images; if not set, all images of
    a batch count equally."""
    discrepancy: float = setting(0.0, ge=0, le=1000)
    """Weight of the squared difference between the logits of synthetic and real images of one region; regions
    are K-means cells of the phase's images, two per class."""
    robustness: float = setting(0.0, ge=0, le=1000)
    """Weight of the squared difference between the logits of synthetic images of one region. Neither loss
    can be combined with `mixup` or `cutmix`: a mixed image has two regions."""
    soft_labels: float = setting(0.0, ge=0, le=1)
    """Share of the teacher's probabilities in the targets of synthetic images; see `compare.teacher`."""
    temperature: float = setting(2.0, gt=0, le=100)
    """Temperature of teacher and classifier for soft labels."""
    feature_distillation: float = setting(0.0, ge=0, le=1000)
    """Weight of the distance between the classifier's features of synthetic images and those of a frozen
    network; see `compare.extractor`."""
    refresh_every: float | None = setting(None, ge=0.01, le=1e6)
    """Epochs after which synthetic images are replaced by newly drawn ones; never if not set."""
    refresh_share: float = setting(1.0, gt=0, le=1)
    """Share of the images of each class that a refresh replaces."""
    mixup: float = setting(0.0, ge=0, le=100)
    """Alpha of Mixup; 0 turns it off."""
    cutmix: float = setting(0.0, ge=0, le=100)
    """Alpha of CutMix; 0 turns it off. With both, one of them is chosen at random for each batch."""
    optimiser: str | None = setting(None)
    """As `compare.optimiser`, for this phase."""
    schedule: str | None = setting(None, registry="training.schedules:SCHEDULES")
    """As `compare.schedule`, for this phase."""
    learning_rate: float | None = setting(None, gt=0)
    """As `compare.learning_rate`, for this phase."""
    weight_decay: float | None = setting(None, ge=0)
    """As `compare.weight_decay`, for this phase."""
    label_smoothing: float | None = setting(None, ge=0, lt=1)
    """As `compare.label_smoothing`, for this phase."""
    augmentation: str | None = setting(None, registry="training.augmentations:AUGMENTATIONS")
    """As `compare.augmentation`, for this phase."""

    @model_validator(mode="before")
    @classmethod
    def _reads_reset_head(cls, values: Any) -> Any:
        """Read `reset_head: true`, which earlier versions had for `head: fresh`."""
        if not (isinstance(values, dict) and isinstance(values.get("reset_head"), bool)) or "head" in values:
            return values
        rest = {name: value for name, value in values.items() if name != "reset_head"}
        return rest | {"head": "fresh" if values["reset_head"] else "kept"}

    @model_validator(mode="after")
    def _warmup_has_effect(self) -> Self:
        if self.head_warmup and self.layers in ("last-layer", "linear-probe"):
            raise ValueError(
                f"head_warmup has no effect with layers {self.layers!r}, which trains only the head anyway: "
                "leave one of them out"
            )
        if self.head_warmup and self.auxiliary_batch_norm != "none":
            raise ValueError(
                "head_warmup leaves batch normalisation as it is, so it cannot be combined with "
                "auxiliary_batch_norm: leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        lengths = [name for name in _LENGTHS if getattr(self, name) is not None]
        if len(lengths) > 1:
            raise ValueError(
                f"the length of a phase must be given once, got {' and '.join(lengths)}: leave out all but "
                "one"
            )
        if self.real_share is not None and self.data != "mixed":
            raise ValueError(f"real_share needs mixed data, got data {self.data!r}: leave it out")
        used = {
            "auxiliary_batch_norm": self.auxiliary_batch_norm != "none",
            "order": self.order != "random",
            "synthetic_weight": self.synthetic_weight is not None,
            "soft_labels": self.soft_labels > 0,
            "feature_distillation": self.feature_distillation > 0,
            "refresh_every": self.refresh_every is not None,
        }
        if self.data == "real" and any(used.values()):
            names = ", ".join(name for name, is_used in used.items() if is_used)
            raise ValueError(f"{names} has no effect on real data: leave it out of this phase")
        if self.temperature != type(self).model_fields["temperature"].default and not self.soft_labels:
            raise ValueError(
                "temperature has no effect without soft_labels: leave one of them out, or set both"
            )
        if self.refresh_share != 1 and self.refresh_every is None:
            raise ValueError(
                "refresh_share has no effect without refresh_every: leave one of them out, or set both"
            )
        if self.auxiliary_batch_norm not in ("none", "statistics") and self.data == "synthetic":
            raise ValueError(
                f"auxiliary_batch_norm {self.auxiliary_batch_norm!r} needs real images in the phase, since "
                "only real images train the scale and shift that tests use: use 'statistics'"
            )
        if self.auxiliary_batch_norm != "none" and (
            self.batch_norm == "frozen" or self.layers == "linear-probe"
        ):
            raise ValueError(
                "auxiliary_batch_norm has no effect with batch_norm 'frozen': leave one of them out"
            )
        if self.layers == "linear-probe" and self.batch_norm == "frozen":
            raise ValueError(
                "batch_norm 'frozen' has no effect with layers 'linear-probe', which always freezes it: "
                "leave it out"
            )
        return self

    @model_validator(mode="after")
    def _compares_real_with_synthetic(self) -> Self:
        for name in ("synthetic_weight", "discrepancy", "robustness"):
            if getattr(self, name) and self.data != "mixed":
                raise ValueError(f"{name} needs mixed data, got data {self.data!r}: leave it out")
        return self

    @model_validator(mode="after")
    def _classes_or_kinds_are_balanced(self) -> Self:
        others = {
            "real_share": self.real_share is not None,
            "order": self.order != "random",
            "refresh_every": self.refresh_every is not None,
        }
        if self.class_balanced and any(others.values()):
            names = ", ".join(name for name, is_used in others.items() if is_used)
            raise ValueError(f"class_balanced decides which images a batch has; leave it out, or {names}")
        return self

    @model_validator(mode="after")
    def _ordered_images_stay(self) -> Self:
        if self.order != "random" and self.refresh_every is not None:
            raise ValueError(
                f"order {self.order!r} needs images that stay the same, but refresh_every replaces them by "
                "images of any strength: leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _regions_are_of_single_images(self) -> Self:
        loss = "discrepancy" if self.discrepancy else "robustness"
        mixing = "mixup" if self.mixup else "cutmix"
        if getattr(self, loss) and getattr(self, mixing):
            raise ValueError(
                f"{loss} compares images of one region, but {mixing} mixes images of different regions: "
                "leave one of them out"
            )
        return self


DEFAULT_ARMS = ("real", "real+val", "synthetic", "mixed", "bridged")
_EARLIER_DEFAULT_ARMS = ("real", "synthetic", "mixed", "bridged")  # of 0.1.0


class CompareSettings(Section):
    """How classifiers are trained and compared."""

    arms: tuple[str, ...] = setting(DEFAULT_ARMS)
    """Ways to use the data; see `understudy list arms`. `real` is always included. `real+val` learns from the
    validation images too: what a user without synthetic images would do with them."""
    own_arms: dict[Annotated[str, Field(pattern=NAME_PATTERN)], tuple[Phase, ...]] = setting({})
    """Further arms by name, each a list of phases. Names have up to 64 letters, digits and `._+-`, since
    files are named after them."""
    backbone: str = setting("mini")
    """Network: `mini` (the bundled ResNet, pretrained on letters), a timm name, or a folder with a timm
    model."""
    pretrained: bool = setting(True)
    """Start from pretrained weights: the bundled ones, or timm's from the Hugging Face hub."""
    weights: Path | None = setting(None)
    """File with weights for a timm backbone, used instead of those from the hub."""
    keep_head: bool = setting(False)
    """Keep the pretrained classification layer too; it must have been trained for these classes."""
    teacher: str = setting(
        "real",
        needs=Need(
            "compare.arms",
            "an arm uses soft labels, or the gap is measured",
            lambda settings: (
                settings.gap.measure or settings.compare.has_arm_with("soft-labels", "soft_labels")
            ),
        ),
    )
    """Where soft labels come from: `real` (a classifier of the real train images, trained once), or the
    folder of a classifier with the same classes."""
    extractor: str = setting(
        "pretrained",
        needs=Need(
            "compare.arms",
            "an arm uses feature distillation, or the gap is measured",
            lambda settings: (
                settings.gap.measure
                or settings.compare.has_arm_with("feature-distillation", "feature_distillation")
            ),
        ),
    )
    """Frozen network for feature distillation: `pretrained` (the network that every arm starts from), or a
    folder with a timm model."""
    resolution: int | None = setting(None, ge=8)
    """Width and height of the classifier's input in pixels; the backbone's default if not set."""
    steps: int = setting(300, ge=2, le=_MAX_STEPS)
    """Optimisation steps of every arm, all phases together."""
    equal_steps: bool = setting(True)
    """Give every arm the same number of steps, `compare.steps`. If false, each phase takes its share of
    `compare.steps`, so arms differ in length."""
    batch_size: int = setting(64, ge=2)
    """Images per step."""
    micro_batch: int | None = setting(None, ge=1)
    """Images computed at once; the gradients of a step are added up, so fewer need less memory. Batch
    normalisation takes its statistics from these images, and needs at least 2; networks without it change by
    rounding only. If not set, the whole batch, and half as many each time a GPU runs out of memory."""
    optimiser: str = setting("adamw")
    """Any optimiser of timm, such as `adamw` or `sgd` (with Nesterov momentum 0.9)."""
    schedule: str = setting("cosine", registry="training.schedules:SCHEDULES")
    """Learning rate over each phase, warm-up included; see `understudy list schedules`."""
    learning_rate: float = setting(2e-3, gt=0)
    """Peak learning rate."""
    weight_decay: float = setting(0.05, ge=0)
    """Weight decay; biases and normalisation layers have none."""
    label_smoothing: float = setting(0.1, ge=0, lt=1)
    """Label smoothing of the cross entropy."""
    augmentation: str = setting("affine", registry="training.augmentations:AUGMENTATIONS")
    """Augmentation of every image at every step; see `understudy list augmentations`."""
    num_seeds: int = setting(3, ge=3)
    """Trainings per arm, each with a different seed."""
    curve_points: int = setting(10, ge=0)
    """How often loss and validation accuracy are measured during each training."""
    transferability: bool = setting(False)
    """Measure features of real images before and after each phase but the last."""
    bootstrap: int = setting(2000, ge=100)
    """Bootstrap resamples behind intervals of figures that are not means: the number of real images that a
    synthetic set is worth, and memorisation."""
    verdict: Literal["auto", "accuracy", "balanced_accuracy"] = setting("auto")
    """Measure that the verdict is about. `balanced_accuracy` is the mean over classes of the share of images
    that is classified correctly, so that every class counts equally. `auto` takes it if the largest class of
    the test set has more than 3 times as many images as the smallest, and `accuracy` otherwise."""
    refit: bool = setting(
        True,
        needs=Need(
            "compare.arms",
            "`real+val` is compared",
            lambda settings: "real+val" in settings.compare.all_arms,
        ),
    )
    """Train the chosen arm again on train and validation images, as `real+val` is, and compare the two. So
    both sides learn from every labelled image."""
    published: str | None = setting(None, registry="evaluation.published:PUBLISHED")
    """Data set whose published accuracies are shown for comparison; see `understudy list published`."""

    @model_validator(mode="after")
    def _arms_differ(self) -> Self:
        if len(set(self.arms)) < len(self.arms):
            raise ValueError(f"compare.arms must differ, got {', '.join(self.arms)}: name each arm once")
        empty = [name for name, phases in self.own_arms.items() if not phases]
        if empty:
            raise ValueError(
                f"every arm in compare.own_arms needs at least one phase, but {empty[0]!r} has none"
            )
        unused = [name for name in self.own_arms if name not in {arm.split("@")[0] for arm in self.arms}]
        if unused:
            raise ValueError(
                f"compare.own_arms has no effect for {', '.join(unused)}: name it in compare.arms as well, "
                "or leave it out"
            )
        return self

    def has_arm_with(self, strategy: str, field: str | None = None) -> bool:
        """Whether an arm has the strategy, or a phase in ``own_arms`` sets the strategy's field, if any."""
        phases = [phase for phases in self.own_arms.values() for phase in phases]
        named = any(strategy in name.split("@")[1:] for name in self.arms)
        return named or (field is not None and any(getattr(phase, field) for phase in phases))

    def keeps_earlier_default(self, stored: CompareSettings) -> bool:
        """Whether the arms differ from those of a stored run only because the default arms have changed.

        Arms that the user gave are no default; those of ``own_arms`` are compared beside the default ones.
        """
        today, earlier = (
            tuple(dict.fromkeys([*arms, *self.own_arms])) for arms in (DEFAULT_ARMS, _EARLIER_DEFAULT_ARMS)
        )
        is_default = self.arms == today and (bool(self.own_arms) or "arms" not in self.model_fields_set)
        return is_default and stored.arms == earlier

    @property
    def all_arms(self) -> tuple[str, ...]:
        """The arms to compare, ``real`` first."""
        return tuple(dict.fromkeys(["real", *self.arms]))

    @property
    def does_refit(self) -> bool:
        """Whether the chosen arm is trained again on train and validation images."""
        return self.refit and "real+val" in self.all_arms

    def in_phase(self, phase: Phase) -> CompareSettings:
        """These settings, replaced by the values that the phase sets."""
        shared = [
            name for name in Phase.model_fields if name in type(self).model_fields and name not in _LENGTHS
        ]
        given = {name: value for name in shared if (value := getattr(phase, name)) is not None}
        return self.model_copy(update=given)


class TuneSettings(Section):
    """Learning rate and weight decay of every arm, chosen on validation images before the comparison.

    Every arm is tried with every pair of values, so that none is tuned more carefully than another.
    """

    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = setting(())
    """Learning rates to try; if empty, `compare.learning_rate` is used."""
    weight_decays: tuple[Annotated[float, Field(ge=0)], ...] = setting(())
    """Weight decays to try; if empty, `compare.weight_decay` is used."""
    num_seeds: int = setting(
        1,
        ge=1,
        needs=Need(
            "tune.learning_rates",
            "`tune.learning_rates` or `tune.weight_decays` has values",
            lambda settings: settings.tune.is_on,
        ),
    )
    """Trainings per trial; their mean accuracy decides."""

    @model_validator(mode="after")
    def _values_differ(self) -> Self:
        for name in ("learning_rates", "weight_decays"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                got = ", ".join(f"{value:g}" for value in values)
                raise ValueError(f"the values of {name} must differ, got {got}: give each value once")
        return self

    @property
    def is_on(self) -> bool:
        """Whether there are values to try."""
        return bool(self.learning_rates or self.weight_decays)
