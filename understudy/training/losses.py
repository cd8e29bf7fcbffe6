"""The loss that a phase minimises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.functional.distillation import feature_distance, soft_label_loss, two_stream_loss
from understudy.functional.region_losses import discrepancy, robustness
from understudy.training.backbones import Backbone
from understudy.training.guides import Guides
from understudy.training.layers import heads_of
from understudy.training.settings import Phase


@final
@dataclass(frozen=True)
class Share:
    """The share of a batch that a part of it has, each in [0, 1].

    Attributes:
        images: of all images.
        real: of the real images.
        synthetic: of the synthetic images.
    """

    images: float = 1.0
    real: float = 1.0
    synthetic: float = 1.0

    @classmethod
    def of(cls, num_real: int, num_images: int, *, whole: tuple[int, int]) -> Self:
        """The share of a part with some real images and images in all; ``whole`` gives those of the batch."""
        all_real, everything = whole
        return cls(
            images=num_images / everything,
            real=num_real / max(1, all_real),
            synthetic=(num_images - num_real) / max(1, everything - all_real),
        )


WHOLE = Share()


@final
class Loss:
    """The loss of a batch in which real images come first.

    Cross entropy with label smoothing; soft labels and feature distillation apply only to synthetic images.
    Teacher and extractor see these images augmented and mixed, as the classifier does.

    Args:
        backbone: the network in training.
        phase: ``synthetic_weight``, ``discrepancy``, ``robustness``, ``soft_labels``, ``temperature`` and
            ``feature_distillation`` are used.
        label_smoothing: of the cross entropy.
        guides: teacher and extractor, if the phase needs them.

    Attributes:
        map: linear map from the classifier's features to those of the extractor. It is trained with the
            network and discarded afterwards. None without distillation.
    """

    def __init__(self, backbone: Backbone, phase: Phase, *, label_smoothing: float, guides: Guides) -> None:
        self._backbone, self._phase = backbone, phase
        self._label_smoothing, self._guides = label_smoothing, guides
        self.map: nn.Linear | None = None
        if phase.feature_distillation and guides.extractor is not None:
            self.map = _initial_map(backbone, guides.extractor)

    def __call__(
        self, x: Tensor, y: Tensor, num_real: int, share: Share = WHOLE, regions: Tensor | None = None
    ) -> Tensor:
        """Run the network and return the loss; this updates its running batch statistics.

        The losses of the parts of a batch add up to the loss of the batch, except that differences within
        regions are those within a part.

        Args:
            x: images, normalised for the classifier, (B, 3, H, W).
            y: labels (B,) or class probabilities (B, num_classes).
            num_real: number of real images at the front of the batch; not used in phases that treat all
                images alike.
            share: what the images are of a batch, if they are a part of one.
            regions: of the images, (B,), if the phase has losses within regions.

        Returns:
            A scalar.
        """
        if self.map is None:
            logits = self._backbone.model(x)
        else:
            features, logits = features_and_logits(self._backbone.model, x)
        loss = self._classification(logits, x, y, num_real, share)
        if regions is not None and num_real < len(x):
            loss = loss + share.synthetic * self._within(regions, logits, num_real)
        if self.map is None or num_real == len(x):
            return loss
        weight = self._phase.feature_distillation * share.synthetic
        return loss + weight * self._distance(features[num_real:], x[num_real:])

    def _classification(self, logits: Tensor, x: Tensor, y: Tensor, num_real: int, share: Share) -> Tensor:
        phase, smoothing = self._phase, self._label_smoothing
        if not phase.soft_labels and phase.synthetic_weight is None:
            return share.images * F.cross_entropy(logits, y, label_smoothing=smoothing)
        losses = F.cross_entropy(logits, y, label_smoothing=smoothing, reduction="none")
        if phase.soft_labels and num_real < len(x):
            synthetic = soft_label_loss(
                logits[num_real:],
                y[num_real:],
                self._teacher_logits(x[num_real:]),
                share=phase.soft_labels,
                temperature=phase.temperature,
                label_smoothing=smoothing,
            )
            losses = torch.cat([losses[:num_real], synthetic])
        if phase.synthetic_weight is None:
            return share.images * losses.mean()
        shares = (share.real, share.synthetic)
        return two_stream_loss(losses, num_real, w=phase.synthetic_weight, shares=shares)

    def _within(self, regions: Tensor, logits: Tensor, num_real: int) -> Tensor:
        s, g, i, j = logits[:num_real], logits[num_real:], regions[:num_real], regions[num_real:]
        return self._phase.discrepancy * discrepancy(s, g, i, j) + self._phase.robustness * robustness(
            g, j, i
        )

    @torch.no_grad()
    def _teacher_logits(self, x: Tensor) -> Tensor:
        teacher = self._guides.teacher
        assert teacher is not None, "a phase with soft labels has a teacher"
        return torch.as_tensor(teacher.model(teacher.renormalise(x, self._backbone)))

    def _distance(self, features: Tensor, x: Tensor) -> Tensor:
        extractor = self._guides.extractor
        assert extractor is not None
        assert self.map is not None
        with torch.no_grad():
            wanted = extractor.features(extractor.renormalise(x, self._backbone))
        return feature_distance(self.map(features), wanted)


def features_and_logits(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The input of the classification layer (B, D) and the logits (B, num_classes), in one pass.

    A hook records the input during the pass, because networks differ in the layers before the last one.
    """
    seen: list[Tensor] = []
    handle = heads_of(model)[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        logits = model(x)
    finally:
        handle.remove()
    return seen[0].flatten(1), logits


@torch.no_grad()
def _initial_map(backbone: Backbone, extractor: Backbone) -> nn.Linear:
    """The identity, cropped or zero-padded, because a classifier often starts as a copy of the extractor."""
    device = next(backbone.model.parameters()).device
    image = torch.zeros(1, 3, backbone.input_size, backbone.input_size, device=device)
    width = features_and_logits(backbone.model.eval(), image)[0].shape[1]
    wanted = extractor.features(extractor.renormalise(image, backbone)).shape[1]
    mapping = nn.Linear(width, wanted, bias=False, device=device)
    nn.init.eye_(mapping.weight)
    return mapping
