"""Everything a run can set: frozen, typed, unknown keys refused, YAML in and out.

Precedence, weakest first: defaults, preset, recipe, the command line's own options, ``--set``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from understudy.errors import InputError

CORRUPTIONS = ("noise", "blur", "contrast", "pixelate", "jpeg", "brightness", "rotation")
"""Names of the built-in changes of test images."""
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$"
"""Names that users give to things; they become parts of file names."""
_MOST_TIMES = 10_000  # synthetic images per real one
_LICENCE = r"^\S(.{0,198}\S)?$"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class DataSettings(_Section):
    """What the real images are.

    Attributes:
        source: path of an image folder, zip, Parquet file or folder or WebDataset tar, a built-in name such as ``digits``, or a hub name.
        shots: keep this many train images per class, and at most as many validation images; all if not set.
        subset: which of several random choices of these images, the splits being the same; the run's seed decides if not set.
        val_fraction, test_fraction: shares split off, stratified, where the source has no such split.
        class_names: text file with one line per class, or ``name: words for prompts`` lines, used in prompts.
        skip_bad: leave unreadable files out instead of stopping.
        near_duplicate_distance: two images of different splits whose 64-bit perceptual hashes differ in at most this
            many bits, and whose pixels nearly agree, are duplicates; -1 checks exact copies only.
        max_pixels: refuse larger images (decompression bombs).
        licence: of the images, for the cards of what is exported: an identifier such as ``cc-by-4.0``, or in words.
    """

    source: str
    shots: int | None = Field(default=None, ge=1)
    subset: int | None = Field(default=None, ge=0)
    val_fraction: float = Field(default=0.2, gt=0, lt=1)
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    class_names: Path | None = None
    skip_bad: bool = False
    near_duplicate_distance: int = Field(default=2, ge=-1, le=64)
    max_pixels: int = Field(default=100_000_000, ge=1)
    licence: str | None = Field(default=None, pattern=_LICENCE)


class GeneratorSettings(_Section):
    """What draws.

    Attributes:
        name: ``mini``, ``class_conditional``, ``folder``, the folder of a Stable Diffusion-class diffusers pipeline, or its hub name.
        resolution: width and height of drawn images in pixels; the generator's own if not set.
        images: ready-made sets, each an image folder, zip, Parquet or WebDataset (``folder``); several are used in equal shares.
        channels: of the network at each of its resolutions, each half the one before (``class_conditional``).
        patch: width and height in pixels of the patches that the network takes as one (``class_conditional``).
        precision: number format of the networks.
        image_encoder: folder or hub name of a CLIP vision model with projection; the pipeline's own if not set.
        attention_slicing, vae_tiling, cpu_offload: less memory, more time.
        gradient_checkpointing: less memory while adapting, about a third more time.
        compile: compile the denoiser with ``torch.compile``.
        safety_checker: keep the pipeline's safety checker; what it blacks out is rejected.
        licence: of the weights, or of the ready-made images, for the cards of what is exported; known of ``mini``.
    """

    name: str = "mini"
    resolution: int | None = Field(default=None, ge=8)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    images: tuple[Path, ...] = ()
    channels: tuple[Annotated[int, Field(ge=8, le=4096, multiple_of=8)], ...] = Field(default=(64, 128), min_length=1)
    patch: int = Field(default=2, ge=1)
    image_encoder: str | None = None
    attention_slicing: bool = False
    vae_tiling: bool = False
    cpu_offload: bool = False
    gradient_checkpointing: bool = False
    compile: bool = False
    safety_checker: bool = False
    licence: str | None = Field(default=None, pattern=_LICENCE)

    @model_validator(mode="after")
    def _images_fit_name(self) -> Self:
        if (self.name == "folder") != bool(self.images):
            raise ValueError(
                f"the generator 'folder' and generator.images belong together, got {self.name!r} and {len(self.images)} sets: give both, "
                'as in --set generator.name=folder --set "generator.images=[PATH]", or neither'
            )
        places = [path.resolve() for path in self.images]
        if twice := [path for path, place in zip(self.images, places, strict=True) if places.count(place) > 1]:
            raise ValueError(f"generator.images must name each set once, got {twice[0]} and {twice[1]}, which are the same: leave one out")
        return self


class CaptionSettings(_Section):
    """What ``{caption}`` stands for in prompts.

    Attributes:
        source: ``none``, ``class-name``, ``file`` or ``model``; see ``understudy list captions``.
        file: CSV or JSON Lines with a caption for every real image (``file``).
        model: folder or hub name of a transformers image-to-text model (``model``).
        max_new_tokens: longest caption that the model writes.
        batch_size: images captioned at once.
    """

    source: str = "none"
    file: Path | None = None
    model: str = "Salesforce/blip2-opt-2.7b"
    max_new_tokens: int = Field(default=16, ge=1)
    batch_size: int = Field(default=16, ge=1)

    @model_validator(mode="after")
    def _file_fits_source(self) -> Self:
        if (self.source == "file") != (self.file is not None):
            raise ValueError(f"captions.file belongs to captions.source 'file', got source {self.source!r} and file {self.file}")
        return self


class VisualSettings(_Section):
    """Whether image features of real images condition the generator, besides the text.

    Attributes:
        kind: while adapting: ``none``, ``class-mean``, ``per-image`` or ``sampled``; see ``understudy list visuals``.
        draw_kind: while drawing; ``kind`` if not set.
        images: images of the class behind each mean (``class-mean``).
        projection: learn a linear map from features to the width of the text states.
    """

    kind: str = "none"
    draw_kind: str | None = None
    images: int = Field(default=8, ge=1)
    projection: bool = False

    @property
    def when_drawing(self) -> str:
        """The kind that drawing uses."""
        return self.draw_kind or self.kind

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.kind == "none") != (self.when_drawing == "none"):
            raise ValueError(f"a generator must be adapted and drawn with visual guidance or without, got {self.kind} and {self.draw_kind}")
        return self


class AdaptSettings(_Section):
    """How the generator is matched to the real set.

    Attributes:
        method: ``lora``, ``full``, ``style-inversion``, ``textual-inversion``, ``neutral-token`` or ``none``.
        adapter: folder of an adapter made before, used as it is instead of adapting.
        prompt: caption of a real image: a template, the name of a template set, or a file with one template per line;
            ``{class}`` stands for the class name, ``{caption}`` for the image's caption, ``{token}`` for the learned token.
        steps: optimisation steps.
        batch_size: images per step, over all processes.
        micro_batch: images at once in one process, gradients are accumulated; the whole share of the batch if not set.
        learning_rate: of AdamW, constant after a short warm-up.
        rank: of the low-rank update (``lora``).
        alpha: the update is scaled by alpha / rank; the rank if not set (``lora``).
        targets: layers with a low-rank update: ``attention``, ``convolutions``, or endings of module names (``lora``).
        token: name of the learned token; with ``textual-inversion`` the number of the class follows, ``S*-0`` and so on.
        num_vectors: embeddings behind it.
        initial_word: its embedding is where they begin.
        min_snr_gamma: loss weight min(snr, gamma) / snr; if null, what the network predicts has the same weight at every timestep.
        distribution: form of the distribution term that is added to the loss; see ``understudy list terms``.
        distribution_weight: its weight; the form's own if not set.
        classes_per_batch: classes in a batch, for the forms that compare within a class.
        caption_dropout: share of captions replaced by the empty one, so that guidance keeps working.
        ema_decay: decay of the weight average that is kept.
        augmentation: of the real images while adapting: ``affine`` (shift, rotate and scale a little), ``flip-crop`` (mirror and shift,
            for natural images), ``flip`` (mirror alone) or ``none``.
        validate_every: steps between measurements of the loss on held-out real images; the best weights are kept.
        validation_pairs: (image, timestep) pairs behind each of these measurements.
        checkpoint_every: steps between checkpoints to go on from.
    """

    method: str = "full"
    adapter: Path | None = None
    prompt: str = "a photo of {class}"
    steps: int = Field(default=600, ge=1)
    batch_size: int = Field(default=32, ge=1)
    micro_batch: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    rank: int = Field(default=16, ge=1)
    alpha: float | None = Field(default=None, gt=0)
    targets: tuple[str, ...] = ("attention", "convolutions")
    token: str = Field(default="S*", pattern=r"^[^\s{}]+$")
    num_vectors: int = Field(default=1, ge=1)
    initial_word: str = "photo"
    min_snr_gamma: float | None = Field(default=5.0, gt=0)
    distribution: str = "none"
    distribution_weight: float | None = Field(default=None, gt=0)
    classes_per_batch: int = Field(default=4, ge=1)
    caption_dropout: float = Field(default=0.1, ge=0, lt=1)
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    augmentation: Literal["affine", "flip-crop", "flip", "none"] = "affine"
    validate_every: int = Field(default=100, ge=1)
    validation_pairs: int = Field(default=512, ge=1)
    checkpoint_every: int = Field(default=100, ge=1)

    @property
    def has_token(self) -> bool:
        """Whether the method puts a token into the vocabulary, and prompts therefore must have ``{token}``."""
        return self.method in ("style-inversion", "textual-inversion", "neutral-token")

    @property
    def needs_class(self) -> bool:
        """Whether prompts must have ``{class}``: not where each class has a token of its own."""
        return self.method != "textual-inversion"

    @property
    def num_steps(self) -> int:
        """Optimisation steps that the method takes."""
        return 0 if self.method in ("neutral-token", "none") else self.steps

    def tokens(self, num_classes: int) -> tuple[str, ...]:
        """What ``{token}`` stands for in the prompts of each class; empty strings where the method has no token."""
        if self.method == "textual-inversion":
            return tuple(f"{self.token}-{label}" for label in range(num_classes))
        return (self.token if self.has_token else "",) * num_classes


class DrawSettings(_Section):
    """How images are drawn.

    Attributes:
        per_class: images per class; if not set, ``times`` and ``min_per_class`` decide.
        times: synthetic images per real train image, per class as in the train split.
        min_per_class: but at least as many per class as this.
        prompt, negative_prompt: texts, as ``adapt.prompt``.
        sampler: ``unipc``, ``ddim``, ``dpm++``, ``ddpm`` or, for flow-matching pipelines, ``flow-euler``.
        steps: solver steps of the full grid; fewer are executed when drawing starts from a real image.
        guidance_scale: classifier-free guidance; 1 is none, which is half the work and gives the most varied images.
        strength: how far a real image of the class is noised to start from; 1 starts from pure noise.
        start_snr: the same as a signal-to-noise ratio, which carries over to other noise schedules.
        noise_scale: spread of the noise that drawing starts from; more than 1 gives more varied images, less more typical ones.
        members: generators, adapted with different seeds, that draw an equal share each.
        refresh_times: largest number of images drawn for arms that refresh theirs, in multiples of those in use at once; then the oldest
            come again.
        allocation: ``as-real`` shares images out as above, ``weak-classes`` shares as many out so that classes get more which a
            classifier of synthetic images confuses on validation images.
        pairing: ``paired`` takes start, caption and feature from one real image, ``random`` each from any of the class.
        adapter_scale: how much of what adaptation changed is applied; 1 is all.
        part_size: images per part, the unit of work and of resume.
        batch_size: images drawn at once.
    """

    per_class: int | None = Field(default=None, ge=1)
    times: float = Field(default=1.0, gt=0, le=_MOST_TIMES)
    min_per_class: int = Field(default=100, ge=1)
    prompt: str = "a photo of {class}"
    negative_prompt: str = ""
    sampler: str = "unipc"
    steps: int = Field(default=20, ge=1)
    guidance_scale: float = Field(default=1.0, ge=1)
    strength: float = Field(default=1.0, gt=0, le=1)
    start_snr: float | None = Field(default=None, gt=0)
    noise_scale: float = Field(default=1.0, ge=0.5, le=2)
    members: int = Field(default=1, ge=1, le=100)
    refresh_times: float = Field(default=10.0, ge=1)
    allocation: Literal["as-real", "weak-classes"] = "as-real"
    pairing: Literal["paired", "random"] = "paired"
    adapter_scale: float = Field(default=1.0, gt=0, le=1)
    part_size: int = Field(default=256, ge=1)
    batch_size: int = Field(default=128, ge=1)

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if int(self.steps * self.strength) < 1:
            raise ValueError(f"strength {self.strength} of {self.steps} steps leaves no step to execute: raise one of them")
        if self.strength < 1 and self.start_snr is not None:
            raise ValueError(
                f"strength and start_snr say the same thing, got {self.strength} and {self.start_snr}: leave one out or set strength=1"
            )
        if self.noise_scale != 1 and self.starts_from_real:
            raise ValueError(f"noise_scale {self.noise_scale} has no effect on drawing that starts from real images: leave it out")
        if self.negative_prompt and self.guidance_scale == 1:
            raise ValueError("negative_prompt has no effect at guidance_scale 1: set draw.negative_prompt=\"''\" or raise the guidance")
        return self

    @property
    def starts_from_real(self) -> bool:
        """Whether drawing starts from noised real images."""
        return self.strength < 1 or self.start_snr is not None


class CurateSettings(_Section):
    """Which drawn images are kept.

    Attributes:
        score: how an image is scored; see ``understudy list scores``.
        threshold: lowest score that is kept, 0 to 1; ``validation`` takes it from the scores of real validation images; if not set,
            the score's own.
        validation_pass: share of the real validation images that the threshold lets pass where it comes from them.
        clip: folder or hub name of the CLIP model that scores (``clip``); the generator's own text and image encoders if not set.
        max_refills: rounds in which rejected images are drawn anew.
        firewall: what happens to copies of real train images, which are nearer to one than all but a hundredth of held-out real images
            are: they are not looked for (``off``), kept and marked (``flag``), replaced (``redraw``), or left out (``drop``).
        select: which of the good images are taken: the ``first``; those that together lie as the real ones (``coverage``); or for
            each real image the nearest (``matched``); see ``understudy list selections``.
        candidates: good images to select from, in multiples of those wanted.
    """

    score: str = "agreement"
    threshold: Annotated[float, Field(ge=0, le=1)] | Literal["validation"] | None = None
    validation_pass: float = Field(default=0.9, gt=0, le=1)
    clip: str | None = None
    max_refills: int = Field(default=2, ge=0)
    firewall: Literal["off", "flag", "redraw", "drop"] = "flag"
    select: str = "first"
    candidates: float = Field(default=3.0, ge=1)


_MAX_STEPS = 10**9


class Phase(_Section):
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


class CompareSettings(_Section):
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
    own_arms: dict[Annotated[str, Field(pattern=_NAME)], tuple[Phase, ...]] = Field(default_factory=dict)
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


class TuneSettings(_Section):
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


class ScaleSettings(_Section):
    """Whether larger synthetic sets are drawn and compared, after the arms.

    Attributes:
        times: sizes of these sets, in multiples of the train split, per class.
        arms: arms trained on each of them.
        real_shares: shares of the train split that ``real`` is trained on, for the number of real images that a set is worth.
        stop_below: try sizes in ascending order, and no larger one once it is not clear that the last step gained at least this much
            validation accuracy per doubling, in percentage points; all sizes if not set.
    """

    times: tuple[Annotated[float, Field(gt=0, le=_MOST_TIMES)], ...] = ()
    arms: tuple[str, ...] = ("synthetic",)
    real_shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.125, 0.25, 0.5)
    stop_below: float | None = Field(default=None, ge=0, lt=100)

    @model_validator(mode="after")
    def _can_stop(self) -> Self:
        if self.stop_below is not None and 0 < len(set(self.times)) < 3:
            raise ValueError(
                f"stop_below {self.stop_below:g} has no effect on fewer than three sizes, since the first two are always tried, got "
                f"{', '.join(f'{value:g}' for value in self.times)}: leave it out, or give more in scale.times"
            )
        return self


class GapSettings(_Section):
    """Whether the gap between synthetic and real images is taken apart, after the arms.

    Attributes:
        measure: do it.
        strengths: how far real images are noised before the generator draws them again, 0 to 1, ascending; the smallest changes
            their looks alone. None of them leaves less than one solver step, and the smallest is raised to one step.
    """

    measure: bool = False
    strengths: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(default=(0.05, 0.2, 0.4, 0.6, 0.8), min_length=1)

    @model_validator(mode="after")
    def _strengths_ascend(self) -> Self:
        if list(self.strengths) != sorted(set(self.strengths)):
            raise ValueError(f"strengths must ascend, got {', '.join(f'{value:g}' for value in self.strengths)}")
        return self


class FidelitySettings(_Section):
    """How close synthetic images come to real ones, measured after curation.

    Attributes:
        measure: do it.
        encoder: what makes features of images; see ``understudy list encoders``. ``auto`` takes the generator's own image encoder,
            or, if it has none, the network that arms start from if it is pretrained, or else the bundled one.
        neighbours: k of precision, recall, density and coverage.
        resamples: bootstrap resamples behind each interval.
        memory_gb: largest block of distances or kernel values that is held at once, in GB.
    """

    measure: bool = True
    encoder: str = "auto"
    neighbours: int = Field(default=5, ge=1)
    resamples: int = Field(default=100, ge=20)
    memory_gb: float = Field(default=0.25, gt=0)


class ShiftSettings(_Section):
    """Whether arms are tested on images unlike those they were compared on.

    Attributes:
        measure: do it.
        tests: further labelled sets by name, with the same classes or some of them; predictions are then among those alone.
        corruptions: changes of the test images; see ``understudy list corruptions``.
        severities: how strong each is, 1 to 5.
    """

    measure: bool = False
    tests: dict[Annotated[str, Field(pattern=_NAME)], Path] = Field(default_factory=dict)
    corruptions: tuple[str, ...] = CORRUPTIONS
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field(default=(1, 2, 3, 4, 5), min_length=1)

    @model_validator(mode="after")
    def _severities_ascend(self) -> Self:
        if list(self.severities) != sorted(set(self.severities)):
            raise ValueError(f"severities must ascend, got {', '.join(map(str, self.severities))}")
        return self


class MembershipSettings(_Section):
    """Whether it is audited how well an attacker can tell which real images a classifier goes back to.

    Attributes:
        measure: do it.
        arms: the arms to audit.
        target: what is made anew for every shadow model: the ``classifier``, with the run's synthetic images, or the whole ``pipeline``,
            adaptation and drawing included.
        shadows: shadow models of each arm; each learns from one half of the real images.
        false_positive_rates: at which the true-positive rate is stated.
        private_epsilon: privacy loss of a differentially private reference, trained on real images alone with DP-SGD; none if not set.
        private_delta: its chance of a larger loss; the largest power of ten below one over the images a model learns from, if not set.
    """

    measure: bool = False
    arms: tuple[str, ...] = ("real", "synthetic", "mixed", "bridged")
    target: Literal["classifier", "pipeline"] = "classifier"
    shadows: int = Field(default=64, ge=4, le=10_000)
    false_positive_rates: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(default=(0.001, 0.01), min_length=1)
    private_epsilon: float | None = Field(default=None, gt=0)
    private_delta: float | None = Field(default=None, gt=0, lt=1)


class Settings(_Section):
    """A whole run.

    Attributes:
        seed: from which every random choice follows.
        data, generator, captions, visual, adapt, draw, curate, fidelity, tune, compare, scale, gap, shift, membership: one section per
            stage or subject.
    """

    seed: int = Field(default=0, ge=0)
    data: DataSettings
    generator: GeneratorSettings = GeneratorSettings()
    captions: CaptionSettings = CaptionSettings()
    visual: VisualSettings = VisualSettings()
    adapt: AdaptSettings = AdaptSettings()
    draw: DrawSettings = DrawSettings()
    curate: CurateSettings = CurateSettings()
    fidelity: FidelitySettings = FidelitySettings()
    tune: TuneSettings = TuneSettings()
    compare: CompareSettings = CompareSettings()
    scale: ScaleSettings = ScaleSettings()
    gap: GapSettings = GapSettings()
    shift: ShiftSettings = ShiftSettings()
    membership: MembershipSettings = MembershipSettings()

    @model_validator(mode="after")
    def _guidance_is_learned(self) -> Self:
        if self.visual.kind != "none" and not self.adapt.num_steps:
            raise ValueError(
                f"visual.kind {self.visual.kind!r} needs a generator adapted with it, got adapt.method {self.adapt.method!r}: choose "
                "'lora' or 'full'"
            )
        return self

    @model_validator(mode="after")
    def _ready_made_images_are_what_they_are(self) -> Self:
        if self.generator.name == "folder" and (self.draw.starts_from_real or self.visual.kind != "none" or self.adapt.num_steps):
            raise ValueError(
                "the generator 'folder' holds ready-made images, which cannot be adapted, guided or started from real ones: leave "
                "adapt.method, visual.kind, draw.strength and draw.start_snr out"
            )
        return self

    @model_validator(mode="after")
    def _members_differ(self) -> Self:
        if self.draw.members > 1 and (not self.adapt.num_steps or self.adapt.adapter is not None):
            raise ValueError(
                f"draw.members {self.draw.members} needs generators that are adapted here, each with a seed of its own, got adapt.method "
                f"{self.adapt.method!r}{' and an adapter' if self.adapt.adapter else ''}: leave draw.members out"
            )
        return self

    @model_validator(mode="after")
    def _sizes_that_may_stop_are_nested(self) -> Self:
        if self.scale.stop_below is not None and self.curate.select != "first":
            raise ValueError(
                f"scale.stop_below draws size by size, and a larger set holds the smaller ones only with curate.select 'first', got "
                f"{self.curate.select!r}: leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _tokens_are_whole(self) -> Self:
        if self.adapt.has_token and self.draw.adapter_scale != 1:
            raise ValueError(
                f"draw.adapter_scale must be 1 with adapt.method {self.adapt.method!r}, got {self.draw.adapter_scale}: a token is there "
                "or not"
            )
        return self


_OF_GENERATOR: dict[str, dict[str, Any]] = {
    "class_conditional": {
        # Trained from nothing, so longer; weight decay of a network's whole function would hold it back.
        "adapt": {"prompt": "{class}", "steps": 2000, "learning_rate": 1e-3, "min_snr_gamma": None, "ema_decay": 0.995},
        "draw": {"prompt": "{class}", "sampler": "edm"},
    },
    "folder": {"adapt": {"method": "none"}},
}
"""Defaults where the generator asks for others; presets, recipes and the user win over them."""


def build(*layers: Mapping[str, Any]) -> Settings:
    """Merge nested mappings, later ones winning, into validated settings.

    Args:
        layers: nested mappings such as ``{"draw": {"times": 5}}``.

    Returns:
        The settings.

    Raises:
        InputError: for an unknown key (the known ones are listed) or a value out of range.

    Example:
        >>> build({"data": {"source": "digits"}}, {"draw": {"times": 5}}).draw.times
        5.0
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge(merged, layer)
    own: dict[str, Any] = {}
    generator = merged.get("generator")
    for layer in (_OF_GENERATOR.get(str(generator.get("name")), {}) if isinstance(generator, dict) else {}, merged):
        _merge(own, layer)
    try:
        return Settings.model_validate(own)
    except ValidationError as error:
        raise InputError("\n".join(dict.fromkeys(_explain(detail) for detail in error.errors()))) from None


_OF_ADAPTATION = ("adapt.adapter", "draw.adapter_scale", "generator.gradient_checkpointing")
_OF_LOW_RANK = ("adapt.rank", "adapt.alpha", "adapt.targets")
_OF_TOKENS = ("adapt.token", "adapt.num_vectors", "adapt.initial_word")
_OF_MEASUREMENT = ("adapt.prompt", "adapt.min_snr_gamma", "adapt.validation_pairs", "adapt.batch_size", "adapt.micro_batch")


def refuse_without_effect(settings: Settings, given: Iterable[str]) -> None:
    """Refuse a setting that was asked for by name and that another setting makes idle.

    Args:
        settings: all of them, resolved.
        given: dotted names of those that the user wrote.

    Raises:
        InputError: naming the setting and what makes it idle.

    Example:
        >>> refuse_without_effect(build({"data": {"source": "digits"}}), ["adapt.rank"])
        Traceback (most recent call last):
        understudy.errors.InputError: adapt.rank has no effect while adapt.method is 'full': leave it out, or change adapt.method
    """
    adapt, draw, curate = settings.adapt, settings.draw, settings.curate
    for key in given:
        causes = {
            "adapt.method": _is_idle_under_method(adapt, key),
            "adapt.adapter": adapt.adapter is not None and _is_of_adapting(key) and key != "adapt.token",
            "adapt.distribution": (adapt.distribution == "none" and key == "adapt.distribution_weight")
            or (adapt.distribution not in ("class-mean", "kernel") and key == "adapt.classes_per_batch"),
            "captions.source": settings.captions.source != "model"
            and key in ("captions.model", "captions.max_new_tokens", "captions.batch_size"),
            "visual.kind": (settings.visual.kind == "none" and key in ("visual.images", "visual.projection"))
            or ("class-mean" not in (settings.visual.kind, settings.visual.when_drawing) and key == "visual.images"),
            "draw.strength": key == "draw.pairing"
            and not (draw.starts_from_real or settings.visual.when_drawing == "per-image" or settings.captions.source != "none"),
            "data.shots": settings.data.shots is None and key == "data.subset",
            "tune.learning_rates": not settings.tune.is_on and key == "tune.num_seeds",
            "scale.times": not settings.scale.times and key in ("scale.arms", "scale.real_shares", "scale.stop_below"),
            "draw.per_class": draw.per_class is not None and key in ("draw.times", "draw.min_per_class"),
            "curate.threshold": not _has_variants(settings) and key == "curate.validation_pass" and isinstance(curate.threshold, float),
            "curate.score": (curate.score == "none" and key == "curate.threshold")
            or (not _has_variants(settings) and _is_idle_under_score(curate.score, key)),
            "curate.select": not _has_variants(settings) and curate.select == "first" and key == "curate.candidates",
            "compare.arms": not settings.gap.measure and _is_idle_in_arms(settings.compare, key),
            "generator.name": _is_idle_for(settings.generator.name, key),
            **{f"{name}.measure": not getattr(settings, name).measure and key.startswith(f"{name}.") for name in _MEASURED},
            "membership.private_epsilon": settings.membership.private_epsilon is None and key == "membership.private_delta",
        }
        for cause in (name for name, applies in causes.items() if applies and name != key):
            value = _flatten(settings.model_dump(mode="json"))[cause]
            raise InputError(f"{key} has no effect while {cause} is {value!r}: leave it out, or change {cause}")


def refuse_contradictions(overrides: Iterable[Mapping[str, Any]], added: Mapping[str, Any]) -> None:
    """Refuse a value that was asked for by name where the command sets another.

    Args:
        overrides: nested settings that the user wrote.
        added: nested settings that the command sets.

    Raises:
        InputError: naming the setting and both values.

    Example:
        >>> refuse_contradictions([{"gap": {"measure": False}}], {"gap": {"measure": True}})
        Traceback (most recent call last):
        understudy.errors.InputError: gap.measure must be True with this command, got --set gap.measure=False: leave it out
    """
    wanted = _flatten(added)
    for name, value in (entry for layer in overrides for entry in _flatten(layer).items()):
        if name in wanted and value != wanted[name]:
            raise InputError(f"{name} must be {wanted[name]!r} with this command, got --set {name}={value}: leave it out")


_MEASURED = ("fidelity", "gap", "shift", "membership")
"""Sections of stages that ``measure`` turns on."""


def _is_of_adapting(key: str) -> bool:
    return key.startswith("adapt.") and key not in ("adapt.method", "adapt.adapter")


def _has_variants(settings: Settings) -> bool:
    """Whether arms may have other images than the run's, by other scores and selections."""
    return settings.gap.measure or any("@" in name for name in settings.compare.arms)


def _is_idle_under_score(score: str, key: str) -> bool:
    return (score == "none" and key == "curate.validation_pass") or (score != "clip" and key == "curate.clip")


def _is_idle_in_arms(compare: CompareSettings, key: str) -> bool:
    """Whether a setting is for a strategy, or a field of phases, that no arm has."""
    strategy, field = {
        "draw.refresh_times": ("refresh", "refresh_every"),
        "compare.teacher": ("soft-labels", "soft_labels"),
        "compare.extractor": ("feature-distillation", "feature_distillation"),
    }.get(key, (None, ""))
    in_own = any(getattr(phase, field) for phases in compare.own_arms.values() for phase in phases) if field else False
    return strategy is not None and not in_own and not any(strategy in name.split("@")[1:] for name in compare.arms)


def _is_idle_for(generator: str, key: str) -> bool:
    if key in ("generator.channels", "generator.patch"):
        return generator != "class_conditional"
    if key == "generator.licence":
        return generator in ("mini", "class_conditional")  # known, and weights of nobody else's
    return generator == "folder" and key in _OF_PROCESS


_OF_PROCESS = tuple(
    f"draw.{name}"
    for name in ("prompt", "negative_prompt", "sampler", "steps", "guidance_scale", "pairing", "noise_scale", "adapter_scale")
)


def _is_idle_under_method(adapt: AdaptSettings, key: str) -> bool:
    if adapt.method == "none":
        return _is_of_adapting(key) or key in _OF_ADAPTATION
    if adapt.method == "neutral-token" and (
        key == "generator.gradient_checkpointing" or (_is_of_adapting(key) and key not in (*_OF_TOKENS, *_OF_MEASUREMENT))
    ):
        return True
    if adapt.has_token:
        return key in (*_OF_LOW_RANK, "adapt.classes_per_batch", "draw.adapter_scale")
    return key in _OF_TOKENS or (adapt.method != "lora" and key in _OF_LOW_RANK)


def given_names(*layers: Mapping[str, Any]) -> list[str]:
    """Dotted names of all settings in nested mappings."""
    return [name for layer in layers for name in _flatten(layer)]


def parse_override(text: str) -> dict[str, Any]:
    """``"draw.times=5"`` to ``{"draw": {"times": 5}}``; the value is read as YAML.

    Raises:
        InputError: without an equals sign or with a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"--set needs key=value, such as draw.times=5, got {text!r}")
    try:
        nested: Any = yaml.safe_load(value)
    except (ValueError, RecursionError, yaml.YAMLError) as error:  # a date that is none, nesting without end
        raise InputError(f"--set {key}: the value is not YAML: {error}") from None
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return dict(nested)


@final
class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which the last would win in silence."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:  # as written: 1 and '1' would both name the arm 1
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} must stand once, but stands here again", problem_mark=key.start_mark)
            seen.add(key.value)
        return node


def read_arms(path: Path) -> dict[str, Any]:
    """Arms of the user's own: a YAML mapping of names to lists of phases.

    Raises:
        InputError: for a file that cannot be read or is not such a mapping, or a key that stands twice.
    """
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # a date that is none, nesting without end
        raise InputError(f"arms file {path} must be YAML that can be read: {error}") from None
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(phases, list) for phases in loaded.values()):
        example = "'mine: [{data: synthetic}, {data: real}]'"
        raise InputError(f"arms file {path} must map each arm's name to a list of phases, such as {example}")
    return {str(name): phases for name, phases in loaded.items()}


def to_yaml(settings: Settings) -> str:
    """Every setting, resolved, as YAML that :func:`from_yaml` reads back to equal settings."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


def from_yaml(text: str) -> Settings:
    """Settings from YAML text.

    Raises:
        InputError: for text that is not a mapping, unknown keys or values out of range.
    """
    loaded = yaml.safe_load(text)
    if not isinstance(loaded, dict):
        raise InputError(f"settings must be a YAML mapping, got {type(loaded).__name__}")
    return build(loaded)


def differing_keys(old: Settings, new: Settings) -> dict[str, tuple[Any, Any]]:
    """Dotted names of the settings that differ, with the old and the new value."""
    flat_old, flat_new = _flatten(old.model_dump(mode="json")), _flatten(new.model_dump(mode="json"))
    keys = [*flat_old, *(key for key in flat_new if key not in flat_old)]  # an own arm may be in one of them only
    return {key: (flat_old.get(key), flat_new.get(key)) for key in keys if flat_old.get(key) != flat_new.get(key)}


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping):
            if not isinstance(into.get(key), dict):
                into[key] = {}
            _merge(into[key], value)
        else:
            into[key] = value


def _flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _section_at(place: Sequence[str | int]) -> type[BaseModel]:
    """The section that a place in nested settings belongs to; names of own arms and numbers of their phases lead to a phase."""
    section: type[BaseModel] = Settings
    for part in place:
        inner = section.model_fields[part].annotation if part in section.model_fields else section
        section = Phase if part == "own_arms" else cast("type[BaseModel]", inner)
    return section


def _explain(detail: Any) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"unknown setting {where!r}; known here: {', '.join(_section_at(detail['loc'][:-1]).model_fields)}"
    if detail["loc"][:2] == ("curate", "threshold"):
        return f"setting 'curate.threshold' must be from 0 to 1, or 'validation', got {_short(detail['input'])}"
    if detail["type"] == "missing":
        return f"setting {where!r} is required"
    if detail["type"] == "value_error" and not where:
        return str(detail["ctx"]["error"])
    if detail["type"] == "value_error":
        return f"setting {where!r}: {detail['ctx']['error']}"
    if detail["loc"][-1] == "[key]":
        allowed = "up to 64 letters, digits and ._+-, and begin with a letter or digit"
        return f"names of {'.'.join(detail['loc'][:2])} must have {allowed}, got {_short(detail['input'])}"
    return f"setting {where!r}: {detail['msg'].lower()}, got {_short(detail['input'])}"


def _short(value: Any) -> str:
    """Of input that may be anything."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
