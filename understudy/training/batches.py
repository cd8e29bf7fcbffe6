"""The images of each optimisation step of a phase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import final

import numpy as np
import torch
from torch import Tensor

from understudy.core.device_memory import free_bytes
from understudy.core.errors import InputError
from understudy.data.decoded_images import DecodedImages, decoded
from understudy.data.labelled_set import LabelledSet
from understudy.functional.allocation import first_of_each_class
from understudy.functional.transfer import sent
from understudy.training.data import TrainingData
from understudy.training.settings import Phase

_MOVED_AT_ONCE = 4096


@final
@dataclass(frozen=True, eq=False)
class Images:
    """The images of a phase, real images first.

    Attributes:
        pixels: uint8 (N, 3, H, W), on a GPU that has room for them; otherwise decoded images.
        labels: int64 (N,), on the device of the model.
        num_real: number of real images.
        quota: synthetic images per class in use at once, if the phase refreshes them; None if all are in use.
        unlabelled: real train images, without labels, for batch statistics only, where ``pixels`` are.
        strengths: strength of each synthetic image, (N - num_real,), on the CPU, if the phase orders them by
            it.
    """

    pixels: Tensor | DecodedImages
    labels: Tensor
    num_real: int
    quota: np.ndarray | None = None
    unlabelled: Tensor | DecodedImages | None = None
    strengths: Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.labels.device

    def chosen(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """The pixels of a batch, uint8 (B, 3, H, W), and its image numbers, both on the device of the model.

        Args:
            batch: image numbers, int64 (B,), on the CPU.
        """
        return chosen_pixels(self.pixels, batch, self.device), sent(batch, self.device)

    @property
    def size(self) -> int:
        """Width and height in pixels."""
        return self.pixels.size if isinstance(self.pixels, DecodedImages) else self.pixels.shape[-1]

    @property
    def num_synthetic(self) -> int:
        """Synthetic images in use at once."""
        return len(self.labels) - self.num_real if self.quota is None else int(self.quota.sum())


def check_images(phase: Phase, data: TrainingData, *, arm_name: str) -> None:
    """Check that a phase has the images that it trains on.

    Raises:
        InputError: if a set is missing, empty or from the wrong split, or if synthetic images have other
            classes than the real ones.
    """
    train, synthetic = data.train, data.synthetic
    if phase.data != "real":
        if synthetic is None:
            raise InputError(f"the arm {arm_name!r} needs synthetic images, got none: draw some first")
        synthetic.check_split("synthetic", purpose=f"the arm {arm_name!r}")
        if synthetic.class_names != train.class_names:
            raise InputError(
                f"synthetic images must have the classes {train.class_names} of the real ones, got "
                f"{synthetic.class_names}"
            )
    if not all(map(len, _sets(phase, data))):
        raise InputError(f"the arm {arm_name!r} needs images to train on, got an empty set")


def _sets(phase: Phase, data: TrainingData) -> list[LabelledSet]:
    """The sets of a phase, real images first."""
    wanted = ((data.train, phase.data != "synthetic"), (data.synthetic, phase.data != "real"))
    return [images for images, is_wanted in wanted if is_wanted and images is not None]


def phase_images(phase: Phase, data: TrainingData, *, size: int, device: str) -> Images:
    """The images of a phase; all synthetic images if the phase refreshes them, otherwise only those in use.

    Args:
        phase: decides which images are used, and whether they are refreshed.
        data: the images that the arm learns from.
        size: width and height in pixels.
        device: of the model. Pixels that would take more than half of its free memory stay where they are.
    """
    sets = _sets(phase, data)
    pixels = DecodedImages.joined([decoded(images, size) for images in sets])
    labels = torch.from_numpy(np.concatenate([images.labels for images in sets]))
    strengths = _strengths(data.synthetic) if phase.order == "descending-strength" else None
    num_real = len(data.train) if phase.data != "synthetic" else 0
    refreshed = data.quota if phase.refresh_every is not None else None
    if data.quota is not None and phase.data != "real" and refreshed is None:
        in_use = num_real + first_of_each_class(labels[num_real:].numpy(), data.quota)
        kept = np.concatenate([np.arange(num_real), in_use])
        pixels, labels = pixels.select(kept), labels[kept]
        strengths = None if strengths is None else strengths[in_use - num_real]
    for_statistics = phase.auxiliary_batch_norm != "none" and not num_real
    unlabelled = decoded(data.train, size) if for_statistics else pixels.select(np.arange(0))
    free, need = free_bytes(device), pixels.num_bytes + unlabelled.num_bytes
    is_moved = device != "cpu" and (free is None or need < free / 2)
    placed = [_on_device(each, device) if is_moved else each for each in (pixels, unlabelled)]
    statistics = placed[1] if for_statistics else None
    return Images(placed[0], labels.to(device), num_real, refreshed, statistics, strengths)


def _on_device(images: DecodedImages, device: str) -> Tensor:
    """All images, which need not fit into the memory of the host; uint8 (N, 3, H, W)."""
    placed = torch.empty((len(images), 3, images.size, images.size), dtype=torch.uint8, device=device)
    for start in range(0, len(images), _MOVED_AT_ONCE):
        some = slice(start, start + _MOVED_AT_ONCE)
        placed[some] = torch.from_numpy(images[some]).to(device)
    return placed


def chosen_pixels(pixels: Tensor | DecodedImages, numbers: Tensor, device: torch.device) -> Tensor:
    """Some images on a device, uint8 (B, 3, H, W), wherever all of them are.

    Args:
        pixels: N images.
        numbers: which of them, int64 (B,), on the CPU.
        device: of the result.
    """
    if isinstance(pixels, DecodedImages):
        return sent(torch.from_numpy(pixels[numbers.numpy()]), device, pinned=True)
    if pixels.device == device:
        return pixels[sent(numbers, device)]
    return sent(pixels[numbers], device, pinned=True)


def _strengths(synthetic: LabelledSet | None) -> Tensor:
    """The strength that each image was drawn with, float64 (N,); empty if the set does not say it."""
    if synthetic is None or not synthetic.has("strength"):
        return torch.empty(0, dtype=torch.float64)
    return torch.tensor(synthetic.provenance("strength"), dtype=torch.float64)


def batches(num_images: int, batch_size: int, *, num_steps: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Image numbers for each step: shuffled epochs, joined end to end and cut into batches of equal size.

    Every image is seen once before any is seen again, even if an epoch is shorter than a batch.

    Args:
        num_images: N, at least 1.
        batch_size: B.
        num_steps: number of batches.
        rng: decides the order.

    Yields:
        int64 (B,), in [0, N).
    """
    waiting = torch.empty(0, dtype=torch.int64)
    for _ in range(num_steps):
        while len(waiting) < batch_size:
            waiting = torch.cat([waiting, torch.randperm(num_images, generator=rng)])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


def class_balanced_batches(
    labels: Tensor, batch_size: int, *, num_steps: int, rng: torch.Generator
) -> Iterator[Tensor]:
    """Like :func:`batches`, but with every class equally often: class-balanced sampling.

    The sampling with q = 0 of Kang et al. 2020 (arXiv:1910.09217), but without replacement: every class is
    seen once before any is seen again, and so is every image of a class.

    Args:
        labels: int64 (N,); classes without an image are left out.
        batch_size: B.
        num_steps: number of batches.
        rng: decides the order.

    Yields:
        int64 (B,), in [0, N).
    """
    by_class = labels.argsort(stable=True).split(labels.bincount().tolist())
    classes = [images for images in by_class if len(images)]
    waiting = [list[int]() for _ in classes]

    def image_of(number: int) -> int:
        if not waiting[number]:
            order = torch.randperm(len(classes[number]), generator=rng)
            waiting[number] = classes[number][order].tolist()
        return waiting[number].pop()

    for chosen in batches(len(classes), batch_size, num_steps=num_steps, rng=rng):
        yield torch.tensor([image_of(number) for number in chosen.tolist()])


def batches_of(
    images: Images, phase: Phase, batch_size: int, *, num_steps: int, rng: torch.Generator
) -> Iterator[Tensor]:
    """Batches of a phase: over all images in use, with a fixed share of real images, or class-balanced.

    With ``real_share``, real and synthetic images have separate epochs. With an order by strength, each
    strength has its own epochs.

    Yields:
        int64 (batch_size,). A number below ``num_real`` stands for a real image, any other for a synthetic
        one. In a phase that refreshes its synthetic images, it stands for a place whose image is replaced.

    Raises:
        InputError: as :func:`check_order`, and if ``real_share`` rounds to none or all of a batch.
    """
    if phase.class_balanced:
        yield from class_balanced_batches(images.labels.cpu(), batch_size, num_steps=num_steps, rng=rng)
        return
    num_real = real_per_batch(phase, batch_size)
    real = batches(images.num_real, num_real, num_steps=num_steps, rng=rng) if num_real else None
    for synthetic, steps in _stages(images, num_steps):
        if real is None:
            numbers = torch.cat([torch.arange(images.num_real), synthetic])
            yield from (
                numbers[batch] for batch in batches(len(numbers), batch_size, num_steps=steps, rng=rng)
            )
        else:
            chosen = batches(len(synthetic), batch_size - num_real, num_steps=steps, rng=rng)
            for first, second in zip(islice(real, steps), chosen, strict=True):
                yield torch.cat([first, synthetic[second]])


def _stages(images: Images, num_steps: int) -> Iterator[tuple[Tensor, int]]:
    """The synthetic images that are used at the same time, int64 (n,), and in how many steps."""
    if images.strengths is None:
        yield images.num_real + torch.arange(images.num_synthetic), num_steps
        return
    check_order(images.strengths.tolist(), num_steps=num_steps)
    levels = images.strengths.unique().flip(0)  # sorted by unique()
    ends = [num_steps * number // len(levels) for number in range(len(levels) + 1)]
    for level, start, end in zip(levels, ends, ends[1:], strict=False):
        yield images.num_real + torch.nonzero(images.strengths == level).flatten(), end - start


def check_order(strengths: Sequence[float], *, num_steps: int) -> None:
    """Check that synthetic images can be ordered by strength.

    Args:
        strengths: of the images.
        num_steps: steps of the phase.

    Raises:
        InputError: if all images have the same strength, or a strength would get no step.
    """
    levels = sorted(set(strengths), reverse=True)
    if len(levels) < 2:
        got = f"only {levels[0]:g}" if levels else "none"
        raise InputError(
            "the order descending-strength, as in the arm curriculum, needs synthetic images of at least two "
            f"strengths, got {got}: set draw.strength to a list, such as [0.3, 0.5, 0.75, 1], lower "
            "curate.threshold if curation rejected every image of the others, or leave the arm out; "
            "ready-made images have no strength"
        )
    if num_steps < len(levels):
        raise InputError(
            "the order descending-strength, as in the arm curriculum, needs a step for each of the "
            f"{len(levels)} strengths, got {num_steps} in this phase: raise compare.steps"
        )


def real_per_batch(phase: Phase, batch_size: int) -> int:
    """The number of real images in a batch of a phase with ``real_share``; 0 without ``real_share``.

    Raises:
        InputError: if the share rounds to none or all of the batch.
    """
    if phase.real_share is None:
        return 0
    num_real = round(phase.real_share * batch_size)
    if not 0 < num_real < batch_size:
        raise InputError(
            f"real_share {phase.real_share:g} must leave real and synthetic images in a batch of "
            f"{batch_size}, got {num_real} real images: change real_share or compare.batch_size"
        )
    return num_real


def treats_differently(phase: Phase) -> bool:
    """Whether a phase treats the real and synthetic images of a batch differently."""
    return phase.data == "mixed" and (
        phase.auxiliary_batch_norm != "none"
        or phase.synthetic_weight is not None
        or phase.soft_labels > 0
        or phase.feature_distillation > 0
        or phase.discrepancy > 0
        or phase.robustness > 0
    )


def real_first(batch: Tensor, num_real: int) -> tuple[Tensor, int]:
    """Move the real images of a batch to the front.

    Args:
        batch: image numbers, int64 (B,).
        num_real: numbers below this are real images.

    Returns:
        The batch, in the same order within each kind, and its number of real images.
    """
    is_real = batch < num_real
    return torch.cat([batch[is_real], batch[~is_real]]), int(is_real.sum())
