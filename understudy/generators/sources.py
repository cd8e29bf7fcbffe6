"""The settings shared by the rows of a batch, their noise, and the real images that they use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from understudy.core.errors import InputError
from understudy.core.listing import listed
from understudy.data.labelled_set import LabelledSet
from understudy.generators.generator import PlanRow


def shared_by(rows: Sequence[PlanRow]) -> tuple[str, int, float, float, str]:
    """Sampler, steps, guidance scale, strength and precision of a batch.

    Raises:
        ValueError: for rows that differ in one of them.
    """
    shared = {row.shared for row in rows}
    if len(shared) != 1:
        raise ValueError(
            "rows of one batch must share sampler, steps, guidance scale, strength and precision, got "
            f"{sorted(shared)}"
        )
    return shared.pop()


def noise_of(rows: Sequence[PlanRow], shape: tuple[int, ...]) -> Tensor:
    """Normal noise from the seed of each row, times its noise scale, float32 (N, *shape)."""
    return torch.stack(
        [
            row.noise_scale * torch.randn(shape, generator=torch.Generator().manual_seed(row.seed))
            for row in rows
        ]
    )


def source_pixels(rows: Sequence[PlanRow], sources: LabelledSet | None, size: int) -> Tensor:
    """The real image that each row starts from, uint8 (N, 3, size, size).

    Raises:
        InputError: if an image is missing, or the set is not the train set.
    """
    return real_pixels([row.source_id for row in rows], sources, size, needs="strength below 1")


def real_pixels(ids: Sequence[str], sources: LabelledSet | None, size: int, *, needs: str) -> Tensor:
    """Train images by id, uint8 (N, 3, size, size).

    Args:
        ids: of N images.
        sources: the train set.
        size: width and height in pixels.
        needs: what needs them, for the message.

    Raises:
        InputError: if an image is missing, or the set is not the train set.
    """
    if sources is None:
        raise InputError(f"drawing from real images ({needs}) needs the train set")
    sources.check_split("train", purpose="drawing from real images")
    missing = sorted(set(ids) - sources.place.keys())
    if missing:
        raise InputError(
            f"the train set lacks the source images {listed(missing)}: use the set that the plan was made for"
        )
    return torch.from_numpy(sources.select([sources.place[name] for name in ids]).pixels(size))
