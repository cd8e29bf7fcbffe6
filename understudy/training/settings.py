"""How classifiers are trained, tuned and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from understudy.core.config import NAME_PATTERN, Section

_MAX_STEPS = 10**9


class Phase(Section):
    """A stretch of training on one kind of data, with an optimiser and a learning-rate schedule of its own.

    What is not set is taken from :class:`CompareSettings`.

    Attributes:
        data: ``real``, ``synthetic`` or ``mixed`` (both in one set).
        share: length, relative to the arm's other phases; with ``compare.equal_steps=false``, in multiples of ``compare.steps``; 1 if
            no length is set.
        steps: length in optimisation steps, instead of ``share``.
        epochs: length in passes over the phase's images, instead of ``share``.
        real_share: share of real images in every batch of ``mixed``; if not set, every image comes equally often.
        reset_head: begin with a fresh classification layer.
        layers: what is trained: ``full``, ``late-layer`` (last stage and head), ``last-layer`` (the head) or ``linear-probe`` (the
            head, on a backbone that is also otherwise left as it is: no batch statistics, no dropout).
        batch_norm: ``train`` follows the batches; ``frozen`` keeps the running statistics that the phase began with.
        auxiliary_batch_norm: what batch normalisation keeps apart for synthetic images: ``none``, ``statistics``, ``affine`` (scale and
            shift) or ``both``; at test, what belongs to the real images is used. In a phase without real images only ``statistics``
            is possible, and the real ones are then estimated from the real train images, without their labels.
        synthetic_weight: loss of the synthetic images over that of the real ones, each a mean over its images; if not set, all
            images of a batch count alike.
        soft_labels: share of a teacher's probabilities in the loss of synthetic images, see ``compare.teacher``.
        temperature: of teacher and classifier in that share.
        feature_distillation: weight of the distance between the features of synthetic images and those that a frozen network has
            of them, see ``compare.extractor``.
        refresh_every: epochs after which synthetic images are replaced by freshly drawn ones; never if not set.
        refresh_share: share of each class that is then replaced.
        mixup: alpha of Mixup; 0 is none.
        cutmix: alpha of CutMix; 0 is none. With both, each batch gets either, at random.
        optimiser, schedule, learning_rate, weight_decay, label_smoothing, augmentation: as in ``compare``.
    """

    data: Literal["real", "synthetic", "mixed"]
    share: float | None = Field(default=None, gt=0, le=1e6)
    steps: int | None = Field(default=None, ge=1, le=_MAX_STEPS)
    epochs: float | None = Field(default=None, gt=0, le=1e6)
    real_share: float | None = Field(default=None, gt=0, lt=1)
    reset_head: bool = False
    layers: Literal["full", "late-layer", "last-layer", "linear-probe"] = "full"
    batch_norm: Literal["train", "frozen"] = "train"
    auxiliary_batch_norm: Literal["none", "statistics", "affine", "both"] = "none"
    synthetic_weight: float | None = Field(default=None, gt=0, le=1000)
    soft_labels: float = Field(default=0.0, ge=0, le=1)
    temperature: float = Field(default=2.0, gt=0, le=100)
    feature_distillation: float = Field(default=0.0, ge=0, le=1000)
    refresh_every: float | None = Field(default=None, ge=0.01, le=1e6)
    refresh_share: float = Field(default=1.0, gt=0, le=1)
    mixup: float = Field(default=0.0, ge=0, le=100)
    cutmix: float = Field(default=0.0, ge=0, le=100)
    optimiser: str | None = None
    schedule: str | None = None
    learning_rate: float | None = Field(default=None, gt=0)
    weight_decay: float | None = Field(default=None, ge=0)
    label_smoothing: float | None = Field(default=None, ge=0, lt=1)
    augmentation: str | None = None

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        lengths = [name for name in ("share", "steps", "epochs") if getattr(self, name) is not None]
        if len(lengths) > 1:
            raise ValueError(f"the length of a phase must be given once, got {' and '.join(lengths)}")
        if self.real_share is not None and self.data != "mixed":
            raise ValueError(f"real_share belongs to mixed data, got data {self.data!r}")
        of_synthetic = [
            name for name, used in (
                ("auxiliary_batch_norm", self.auxiliary_batch_norm != "none"), ("synthetic_weight", self.synthetic_weight is not None),
                ("soft_labels", self.soft_labels > 0), ("feature_distillation", self.feature_distillation > 0),
                ("refresh_every", self.refresh_every is not None),
            ) if used
        ]  # fmt: skip
        if of_synthetic and self.data == "real":
            raise ValueError(f"{', '.join(of_synthetic)} has no effect on real data: leave it out of this phase")
        if self.synthetic_weight is not None and self.data != "mixed":
            raise ValueError(f"synthetic_weight belongs to mixed data, got data {self.data!r}")
        if self.temperature != type(self).model_fields["temperature"].default and not self.soft_labels:
            raise ValueError("temperature has no effect without soft_labels: leave one of them out, or set both")
        if self.refresh_share != 1 and self.refresh_every is None:
            raise ValueError("refresh_share has no effect without refresh_every: set it as well")
        if self.auxiliary_batch_norm not in ("none", "statistics") and self.data == "synthetic":
            raise ValueError(
                f"auxiliary_batch_norm {self.auxiliary_batch_norm!r} needs real images in the phase, which alone would train the scale and "
                "shift used at test: use 'statistics'"
            )
        if self.auxiliary_batch_norm != "none" and (self.batch_norm == "frozen" or self.layers == "linear-probe"):
            raise ValueError("auxiliary_batch_norm has no effect where batch normalisation is frozen: leave one of them out")
        if self.layers == "linear-probe" and self.batch_norm == "frozen":
            raise ValueError("batch_norm 'frozen' has no effect on a linear-probe: its backbone is left as it is in any case")
        return self


DEFAULT_ARMS = ("real", "synthetic", "mixed", "bridged")


class CompareSettings(Section):
    """How classifiers are trained and compared.

    Attributes:
        arms: ways to use the data; see ``understudy list arms``; ``real`` is always among them.
        own_arms: further arms by name, each a list of phases; names are of up to 64 letters, digits and ``._+-``, since files have them.
        backbone: ``mini`` (the bundled letters-pretrained ResNet), a timm name, or a folder with a timm model.
        pretrained: start from pretrained weights (bundled, or timm's from the hub).
        weights: local file with weights for a timm backbone instead of the hub's.
        teacher: what gives soft labels: ``real`` (a classifier of the real train images, trained once) or a classifier's folder.
        extractor: the frozen network of ``feature_distillation``: ``pretrained`` (what every arm starts from) or a folder with a
            timm model.
        keep_head: start from the pretrained classification layer as well; the classes must be those it was trained for.
        resolution: classifier input in pixels; the backbone's own if not set.
        steps: optimisation steps of every arm, all phases together.
        equal_steps: give every arm ``steps`` steps. If false, each phase has its share of ``steps``, so arms differ in length.
        batch_size: images per step.
        optimiser: any that timm knows, such as ``adamw`` or ``sgd`` (momentum 0.9).
        schedule: of the learning rate in each phase; see ``understudy list schedules``.
        learning_rate: peak.
        weight_decay: of weights; biases and normalisation layers have none.
        label_smoothing: of the cross entropy.
        augmentation: of every image at every step; see ``understudy list augmentations``.
        num_seeds: trainings per arm.
        curve_points: measurements of loss and validation accuracy along each training.
        transferability: measure features before and after each phase but the last, on real images.
        bootstrap: resamples behind each interval.
        published: data set whose published accuracies are shown beside; see ``understudy list published``.
    """

    arms: tuple[str, ...] = DEFAULT_ARMS
    own_arms: dict[Annotated[str, Field(pattern=NAME_PATTERN)], tuple[Phase, ...]] = Field(default_factory=dict)
    backbone: str = "mini"
    pretrained: bool = True
    weights: Path | None = None
    keep_head: bool = False
    teacher: str = "real"
    extractor: str = "pretrained"
    resolution: int | None = Field(default=None, ge=8)
    steps: int = Field(default=300, ge=2, le=_MAX_STEPS)
    equal_steps: bool = True
    batch_size: int = Field(default=64, ge=2)
    optimiser: str = "adamw"
    schedule: str = "cosine"
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    augmentation: str = "affine"
    num_seeds: int = Field(default=3, ge=3)
    curve_points: int = Field(default=10, ge=0)
    transferability: bool = False
    bootstrap: int = Field(default=2000, ge=100)
    published: str | None = None

    @model_validator(mode="after")
    def _arms_differ(self) -> Self:
        if len(set(self.arms)) < len(self.arms):
            raise ValueError(f"an arm is named twice in {', '.join(self.arms)}")
        empty = [name for name, phases in self.own_arms.items() if not phases]
        if empty:
            raise ValueError(f"an arm needs at least one phase, {empty[0]!r} has none")
        unused = [name for name in self.own_arms if name not in {arm.split("@")[0] for arm in self.arms}]
        if unused:
            raise ValueError(f"own_arms has no effect for {', '.join(unused)}: name it in compare.arms as well, or leave it out")
        return self

    def in_phase(self, phase: Phase) -> CompareSettings:
        """The settings of a phase: its own where it has them."""
        names = ("optimiser", "schedule", "learning_rate", "weight_decay", "label_smoothing", "augmentation")
        return self.model_copy(update={name: value for name in names if (value := getattr(phase, name)) is not None})


class TuneSettings(Section):
    """Learning rate and weight decay of every arm, chosen on validation images before the comparison.

    Every arm is tried with every pair of values, so none is tuned with more care than another.

    Attributes:
        learning_rates: values to try; none leaves ``compare.learning_rate`` as it is.
        weight_decays: values to try; none leaves ``compare.weight_decay`` as it is.
        num_seeds: trainings behind each trial.
    """

    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = ()
    weight_decays: tuple[Annotated[float, Field(ge=0)], ...] = ()
    num_seeds: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _values_differ(self) -> Self:
        for name in ("learning_rates", "weight_decays"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} must differ, got {', '.join(f'{value:g}' for value in values)}: equal ones are the same trial")
        return self

    @property
    def is_on(self) -> bool:
        """Whether there is anything to try."""
        return bool(self.learning_rates or self.weight_decays)
