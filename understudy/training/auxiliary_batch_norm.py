"""Separate batch normalisation for synthetic images while a phase trains."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from understudy.core.errors import InputError
from understudy.training.layers import BATCH_NORMS

Kind = Literal["none", "statistics", "affine", "both"]


@dataclass
class _Rows:
    """How many real images, and how many images in all, are in the next batch."""

    num_real: int = 0
    num_images: int = 1


@final
class AuxiliaryBatchNorm:
    """Gives every batch normalisation of a network an auxiliary part for synthetic images.

    Xie et al. 2020 (arXiv:1911.09665), section 4.2. In training mode the main part sees the real images of a
    batch, which come first, and the auxiliary part the synthetic ones. As in Zhang et al. 2024
    (arXiv:2403.19150), the parts can differ in ``statistics`` (mean and variance, while scale and shift are
    shared), in ``affine`` (scale and shift, while the statistics are those of the whole batch) or in
    ``both``. In evaluation mode all images go through the main part. An auxiliary part starts as a copy of
    the main one.

    One value per channel has no variance, so a part that gets only one uses its running statistics.

    Args:
        model: the network; changed in place until :meth:`remove`.
        kind: what differs between the parts; ``none`` changes nothing.
        name: of the network, for the error message.

    Raises:
        InputError: for a network without batch normalisation.
    """

    def __init__(self, model: nn.Module, kind: Kind, *, name: str) -> None:
        self._model = model
        self._rows = _Rows()
        if kind == "none":
            return
        check_batch_norm(model, name)
        for parent in list(model.modules()):
            for child, norm in list(parent.named_children()):
                if isinstance(norm, BATCH_NORMS):
                    setattr(parent, child, _SplitBatchNorm(norm, kind, self._rows))

    def route(self, num_real: int, num_images: int) -> None:
        """Announce the next batch, which has its real images first."""
        self._rows.num_real, self._rows.num_images = num_real, num_images

    def remove(self) -> None:
        """Restore plain batch normalisation by keeping only the main parts."""
        for parent in list(self._model.modules()):
            for child, norm in list(parent.named_children()):
                if isinstance(norm, _SplitBatchNorm):
                    setattr(parent, child, norm.main)


class _SplitBatchNorm(nn.Module):
    def __init__(self, main: Any, kind: Kind, rows: _Rows) -> None:
        super().__init__()
        self.main, self.auxiliary = main, copy.deepcopy(main)
        self._shares_statistics, self._rows = kind == "affine", rows
        if kind == "statistics":
            self.auxiliary.weight, self.auxiliary.bias = main.weight, main.bias
        if self._shares_statistics:  # both use those of the whole batch, and the main part keeps them
            self.auxiliary.track_running_stats = False
            self.auxiliary.running_mean = self.auxiliary.running_var = None
            self.auxiliary.num_batches_tracked = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return torch.as_tensor(self.main(x))
        # Some networks normalise several rows per image; the rows of one image are adjacent.
        num_real = self._rows.num_real * (len(x) // self._rows.num_images)
        if self._shares_statistics:
            return torch.cat([self.main(x)[:num_real], self.auxiliary(x)[num_real:]])
        parts = ((self.main, x[:num_real]), (self.auxiliary, x[num_real:]))
        return torch.cat([_normalised(norm, part) for norm, part in parts if len(part)])


def _normalised(norm: nn.Module, x: Tensor) -> Tensor:
    norm.train(x.numel() > x.shape[1])
    return torch.as_tensor(norm(x))


def check_batch_norm(model: nn.Module, name: str) -> None:
    """Check that a network has batch normalisation.

    Raises:
        InputError: naming the network.
    """
    if not any(isinstance(module, BATCH_NORMS) for module in model.modules()):
        raise InputError(
            f"auxiliary_batch_norm needs a network with batch normalisation, but compare.backbone {name!r} "
            "has none: leave auxiliary_batch_norm out"
        )


@torch.no_grad()
def estimate_statistics(model: nn.Module, parts: Iterable[Tensor]) -> None:
    """Estimate the running statistics of every batch normalisation from images, without their labels.

    Adaptive batch normalisation, Li et al. 2016 (arXiv:1603.04779): unchanged weights with the statistics of
    the test domain. Mean and variance are averaged over the parts, which count equally.

    Args:
        model: in evaluation mode afterwards.
        parts: normalised images, each part (B, 3, H, W), of about equal size.
    """
    norms: list[Any] = [module for module in model.modules() if isinstance(module, BATCH_NORMS)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's cumulative average
        norm.train()
    for x in parts:
        model(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
