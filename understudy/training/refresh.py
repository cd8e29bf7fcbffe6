"""Refreshes: when a phase replaces synthetic images by new ones, and which images it uses."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from understudy.core.errors import InputError
from understudy.functional.refresh import refreshed, replaced_per_class
from understudy.training.arms import Arm
from understudy.training.batches import Images, real_per_batch
from understudy.training.settings import CompareSettings, Phase


def images_needed(arm: Arm, settings: CompareSettings, *, num_real: int, quota: np.ndarray) -> np.ndarray:
    """Number of synthetic images per class that gives an arm new images for every refresh.

    Args:
        arm: the arm to train.
        settings: step budget and batch size.
        num_real: real train images.
        quota: synthetic images per class in use at once, int (num_classes,).

    Returns:
        int64 (num_classes,); equal to ``quota`` for an arm that refreshes nothing.

    Raises:
        InputError: as :meth:`understudy.training.arms.Arm.phase_steps`, and if a refresh would replace no
            image.
    """
    steps = arm.phase_steps(settings, num_real=num_real, num_synthetic=int(quota.sum()))
    needed = np.asarray(quota, dtype=np.int64)
    for phase, num_steps in zip(arm.phases, steps, strict=True):
        if phase.refresh_every is not None:
            check_refresh(phase, quota)
            in_phase = num_real if phase.data == "mixed" else 0
            count = refreshes_before(
                num_steps - 1, phase, settings.batch_size, num_real=in_phase, num_synthetic=int(quota.sum())
            )
            needed = np.maximum(needed, quota + count * replaced_per_class(quota, phase.refresh_share))
    return needed


def refreshes_before(step: int, phase: Phase, batch_size: int, *, num_real: int, num_synthetic: int) -> int:
    """The number of refreshes before a step of a phase.

    An epoch is a pass over the images in use, or with ``real_share`` over the synthetic images in use.

    Args:
        step: number of the step, from 0.
        phase: ``refresh_every``, ``real_share`` are used.
        batch_size: images per step.
        num_real: real images of the phase.
        num_synthetic: synthetic images of the phase in use at once, at least 1.

    Example:
        >>> phase = Phase(data="synthetic", refresh_every=2)
        >>> [refreshes_before(step, phase, 8, num_real=0, num_synthetic=16) for step in (0, 3, 4, 8)]
        [0, 0, 1, 2]
    """
    if phase.refresh_every is None:
        return 0
    per_step, epoch = batch_size, num_real + num_synthetic
    if phase.real_share is not None:
        per_step, epoch = batch_size - real_per_batch(phase, batch_size), num_synthetic
    # Without the tolerance, rounding errors would lose a refresh: 3 / 0.1 is just below 30.
    return math.floor(step * per_step / (phase.refresh_every * epoch) + 1e-9)


def refresh(
    order: Iterator[Tensor], images: Images, phase: Phase, batch_size: int, *, rng: torch.Generator
) -> Iterator[Tensor]:
    """Turn batches of places into batches of images; a refresh fills the places with other synthetic images.

    Args:
        order: batches of places from :func:`understudy.training.batches.batches_of`.
        images: all synthetic images, and a quota.
        phase: how often images are replaced, and how many.
        batch_size: images per step.
        rng: of the phase; only its seed is used, to choose the images that are replaced.

    Yields:
        Numbers of images, int64 (batch_size,).
    """
    assert images.quota is not None, "check_refresh() comes first"
    pool = images.labels[images.num_real :].cpu().numpy()
    sets = refreshed(
        pool, images.quota, share=phase.refresh_share, rng=np.random.default_rng(rng.initial_seed())
    )
    real, in_use, done = torch.arange(images.num_real), torch.empty(0, dtype=torch.int64), -1
    for step, places in enumerate(order):
        due = refreshes_before(
            step, phase, batch_size, num_real=images.num_real, num_synthetic=images.num_synthetic
        )
        while done < due:
            in_use = torch.cat([real, images.num_real + torch.from_numpy(next(sets))])
            done += 1
        yield in_use[places]


def check_refresh(phase: Phase, quota: np.ndarray | None) -> None:
    """Check that every refresh of a phase replaces an image.

    Args:
        phase: ``refresh_every`` and ``refresh_share`` are used.
        quota: synthetic images per class in use at once; None if all are.

    Raises:
        InputError: if there is no quota, or if the share rounds to no image in every class.
    """
    if phase.refresh_every is None:
        return
    if quota is None:
        raise InputError(
            "refresh_every needs a quota, the number of synthetic images of each class that are used at "
            "once, got none: pass a quota"
        )
    if not replaced_per_class(quota, phase.refresh_share).any():
        raise InputError(
            f"refresh_share must replace at least one image, got {phase.refresh_share:g} of at most "
            f"{int(quota.max())} images per class: use a larger share or more images"
        )
