"""What a step of a phase minimises."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.functional.distillation import feature_distance, soft_label_loss, two_stream_loss
from understudy.training.backbones import Backbone
from understudy.training.guides import Guides
from understudy.training.layers import heads_of
from understudy.training.settings import Phase


@final
class Loss:
    """The loss of a batch, real images first.

    Cross entropy with label smoothing. Soft labels and feature distillation are of the synthetic images alone; the
    networks that guide see them changed and mixed as the classifier does.

    Args:
        backbone: in training.
        phase: ``synthetic_weight``, ``soft_labels``, ``temperature`` and ``feature_distillation`` are used.
        label_smoothing: of the cross entropy.
        guides: what the phase needs of them.

    Attributes:
        map: from the classifier's features to those of the extractor; learns along and is not kept. None without distillation.
    """

    def __init__(self, backbone: Backbone, phase: Phase, *, label_smoothing: float, guides: Guides) -> None:
        self._backbone, self._phase, self._label_smoothing, self._guides = (
            backbone,
            phase,
            label_smoothing,
            guides,
        )
        self.map = (
            _first_map(backbone, guides.extractor)
            if phase.feature_distillation and guides.extractor is not None
            else None
        )

    def __call__(self, x: Tensor, y: Tensor, num_real: int) -> Tensor:
        """Train the classifier's batch statistics, and give the loss.

        Args:
            x: images, normalised for the classifier, (B, 3, H, W).
            y: labels (B,) or their probabilities (B, num_classes).
            num_real: images at the head of the batch that are real; not used where the phase does not tell them apart.

        Returns:
            Scalar.
        """
        if self.map is None:
            return self._classification(self._backbone.model(x), x, y, num_real)
        features, logits = features_and_logits(self._backbone.model, x)
        loss = self._classification(logits, x, y, num_real)
        if num_real == len(x):
            return loss
        return loss + self._phase.feature_distillation * self._distance(features[num_real:], x[num_real:])

    def _classification(self, logits: Tensor, x: Tensor, y: Tensor, num_real: int) -> Tensor:
        phase, smoothing = self._phase, self._label_smoothing
        if not phase.soft_labels and phase.synthetic_weight is None:
            return F.cross_entropy(logits, y, label_smoothing=smoothing)
        losses = F.cross_entropy(logits, y, label_smoothing=smoothing, reduction="none")
        if phase.soft_labels and num_real < len(x):
            synthetic = soft_label_loss(
                logits[num_real:], y[num_real:], self._taught(x[num_real:]),
                share=phase.soft_labels, temperature=phase.temperature, label_smoothing=smoothing,
            )  # fmt: skip
            losses = torch.cat([losses[:num_real], synthetic])
        return (
            losses.mean()
            if phase.synthetic_weight is None
            else two_stream_loss(losses, num_real, w=phase.synthetic_weight)
        )

    @torch.no_grad()
    def _taught(self, x: Tensor) -> Tensor:
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
    """What the classification layer sees, (B, D), and what the network gives, (B, num_classes), in one pass.

    The layer's input is taken from the pass itself: networks differ in what stands before it.
    """
    seen: list[Tensor] = []
    handle = heads_of(model)[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        logits = model(x)
    finally:
        handle.remove()
    return seen[0].flatten(1), logits


@torch.no_grad()
def _first_map(backbone: Backbone, extractor: Backbone) -> nn.Linear:
    """The identity, cut or filled up with zeros: a classifier often begins as the network that guides it."""
    device = next(backbone.model.parameters()).device
    image = torch.zeros(1, 3, backbone.input_size, backbone.input_size, device=device)
    width = features_and_logits(backbone.model.eval(), image)[0].shape[1]
    wanted = extractor.features(extractor.renormalise(image, backbone)).shape[1]
    mapping = nn.Linear(width, wanted, bias=False, device=device)
    nn.init.eye_(mapping.weight)
    return mapping
