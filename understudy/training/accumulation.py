"""The gradients of a batch, computed in parts if the whole batch does not fit into memory."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from understudy.core.errors import InputError
from understudy.core.micro_batch import MicroBatch
from understudy.training.auxiliary_batch_norm import AuxiliaryBatchNorm
from understudy.training.layers import BATCH_NORMS
from understudy.training.losses import Loss, Share
from understudy.training.precision import Precision
from understudy.training.settings import CompareSettings

_WORK = "the training of a classifier"


def micro_batch_of(model: nn.Module, settings: CompareSettings) -> MicroBatch:
    """The number of images that a training of this network computes at once.

    Batch normalisation needs at least 2, because one value per channel has no variance.

    Raises:
        InputError: for ``compare.micro_batch=1`` and a network with batch normalisation.
    """
    size = min(settings.micro_batch or settings.batch_size, settings.batch_size)
    if not any(isinstance(module, BATCH_NORMS) for module in model.modules()):
        return MicroBatch(size, work=_WORK)
    if size < 2:
        raise InputError(
            f"compare.micro_batch must be at least 2 for networks with batch normalisation, such as "
            f"compare.backbone {settings.backbone!r}, got {size}: use 2 or more, or leave it out"
        )
    effect = "batch normalisation takes its statistics from these, so the classifier is another one"
    return MicroBatch(size, work=_WORK, effect=effect, smallest=2)


@final
class Gradients:
    """Computes the loss of each batch and its gradients, which add up over the parts of the batch.

    Part i of n has the images i, i + n, i + 2n and so on, and so its share of the real images at the front.
    A part has as many images as ``micro_batch`` says, or a few more where it would have fewer than the
    smallest number otherwise: with 2 at once, 3 images are one part.

    The sum is that of the whole batch, up to rounding, with three exceptions: batch normalisation in training
    mode takes its statistics from each part; losses within regions compare the images of a part; dropout
    draws other masks. An attempt that ran out of memory leaves the running statistics of batch normalisation
    as they were.

    Args:
        model: the network, as the loss uses it.
        loss_of: the loss of a part.
        auxiliary: is told the real images of each part.
        precision: of the forward pass.
        micro_batch: number of images in a part.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_of: Loss,
        auxiliary: AuxiliaryBatchNorm,
        precision: Precision,
        micro_batch: MicroBatch,
    ) -> None:
        self._loss_of, self._auxiliary, self._precision = loss_of, auxiliary, precision
        self._micro_batch = micro_batch
        norms = [module for module in model.modules() if isinstance(module, BATCH_NORMS)]
        # Without the counts of batches, which nothing reads and which would take a kernel each to copy.
        self._statistics = [each for norm in norms for each in norm.buffers() if each.is_floating_point()]
        self._before = [each.clone() for each in self._statistics]

    def replace(
        self,
        optimiser: torch.optim.Optimizer,
        x: Tensor,
        y: Tensor,
        num_real: int,
        regions: Tensor | None = None,
    ) -> Tensor:
        """Replace the gradients of the optimiser's parameters by those of a batch.

        Args:
            optimiser: of the parameters.
            x: images, normalised for the classifier, (B, 3, H, W).
            y: labels (B,) or class probabilities (B, num_classes).
            num_real: number of real images at the front of the batch.
            regions: of the images, (B,), if the phase has losses within regions.

        Returns:
            The loss, a scalar without gradients.
        """

        def add_up(size: int) -> Tensor:
            optimiser.zero_grad(set_to_none=True)
            total = x.new_zeros(())
            count = max(1, min(-(-len(x) // size), len(x) // self._micro_batch.smallest))
            for first in range(count):
                part, real = slice(first, None, count), len(range(first, num_real, count))
                share = Share.of(real, len(x[part]), whole=(num_real, len(x)))
                total += self._add(x[part], y[part], real, share, None if regions is None else regions[part])
            return total

        _copy(self._statistics, self._before)
        return self._micro_batch.fit(add_up, undo=lambda: _copy(self._before, self._statistics))

    def _add(self, x: Tensor, y: Tensor, num_real: int, share: Share, regions: Tensor | None) -> Tensor:
        """Add the gradients of a part; returns its loss."""
        self._auxiliary.route(num_real, len(x))
        with self._precision.computing():
            loss = self._loss_of(self._precision.arranged(x), y, num_real, share, regions)
        torch.autograd.backward(loss)
        return loss.detach()


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    """Overwrite tensors with others, with few kernels on a GPU."""
    if source:
        torch._foreach_copy_(target, source)
