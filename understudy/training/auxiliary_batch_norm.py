"""Batch normalisation that keeps synthetic images apart from real ones while a phase trains."""

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
    """Of the batch on its way: how many images are real, and how many there are."""

    num_real: int = 0
    num_images: int = 1


@final
class AuxiliaryBatchNorm:
    """An auxiliary part beside every batch normalisation of a network; Xie et al. 2020 (arXiv:1911.09665), section 4.2.

    In training mode the main part sees the real images of a batch, which come first, and the auxiliary part the synthetic ones. What is
    kept apart is a choice, as in Zhang et al. 2024 (arXiv:2403.19150): ``statistics`` (those of the batch and the running ones; scale and
    shift are shared), ``affine`` (scale and shift; statistics are those of the whole batch) or ``both``. In evaluation mode everything
    goes through the main part. An auxiliary part begins as a copy of the main one.

    A part whose images leave one value per channel, which has no variance, uses its running statistics.

    Args:
        model: changed in place, until :meth:`remove`.
        kind: what is kept apart; ``none`` changes nothing.
        name: of the network, for the error.

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
        """Say what the next batch holds: real images first."""
        self._rows.num_real, self._rows.num_images = num_real, num_images

    def remove(self) -> None:
        """Leave plain batch normalisation behind: the main parts."""
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
        if self._shares_statistics:  # those of the whole batch, which the main part keeps
            self.auxiliary.track_running_stats = False
            self.auxiliary.running_mean = self.auxiliary.running_var = self.auxiliary.num_batches_tracked = (
                None
            )

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return torch.as_tensor(self.main(x))
        # Some networks normalise several rows per image; those of an image lie together.
        num_real = self._rows.num_real * (len(x) // self._rows.num_images)
        if self._shares_statistics:
            return torch.cat([self.main(x)[:num_real], self.auxiliary(x)[num_real:]])
        parts = ((self.main, x[:num_real]), (self.auxiliary, x[num_real:]))
        return torch.cat([_normalised(norm, part) for norm, part in parts if len(part)])


def _normalised(norm: nn.Module, x: Tensor) -> Tensor:
    norm.train(x.numel() > x.shape[1])
    return torch.as_tensor(norm(x))


def check_batch_norm(model: nn.Module, name: str) -> None:
    """Refuse a network that has none.

    Raises:
        InputError: naming it.
    """
    if not any(isinstance(module, BATCH_NORMS) for module in model.modules()):
        raise InputError(
            f"auxiliary_batch_norm needs a network with batch normalisation, compare.backbone {name!r} has none: leave it out"
        )


@torch.no_grad()
def estimate_statistics(model: nn.Module, parts: Iterable[Tensor]) -> None:
    """Take the running statistics of every batch normalisation anew from images, which need no labels.

    Li et al. 2016 (arXiv:1603.04779), Adaptive Batch Normalization: statistics of the domain at test, weights as they are. Mean and
    variance of each part are averaged over all parts alike.

    Args:
        model: in evaluation mode afterwards.
        parts: of the images, normalised, each (B, 3, H, W), about equally large.
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
