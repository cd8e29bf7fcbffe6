"""The networks that settings name beside the generator: their check before a run, and those of the term."""

from __future__ import annotations

from collections.abc import Collection

from understudy.core.errors import InputError
from understudy.data.captions.captions import check_writer
from understudy.evaluation.encoders import check_encoder, load_encoder
from understudy.generators.visual_guidance import Encode
from understudy.settings import Settings
from understudy.training.backbones import pretrained_classifier
from understudy.training.classifier import TrainedClassifier

_SETTING = "adapt.distribution_encoders"


def check_networks(settings: Settings, finished: Collection[str]) -> None:
    """Check the names of the encoders, and of the model that writes captions, without loading weights.

    Args:
        settings: of the run.
        finished: stages that are done, whose networks are not used again and may have been moved away.

    Raises:
        InputError: as :func:`understudy.evaluation.encoders.check_encoder`, and if arms start from random
            weights, so that there is no ``backbone``.
    """
    if "load" not in finished:
        check_writer(settings.captions)
    if not {"fidelity", "memorisation"} <= set(finished):
        check_encoder(settings.fidelity.encoder)
    for name in () if "adapt" in finished else settings.adapt.further_encoders:
        check_encoder(name, setting=_SETTING)
        if name == "backbone" and not settings.compare.pretrained:
            raise InputError(
                f"{_SETTING}=backbone needs a pretrained network that arms start from, got "
                "compare.pretrained=false: choose another encoder (understudy list encoders)"
            )


def term_encoders(settings: Settings, *, device: str) -> dict[str, Encode]:
    """Load the encoders that the distribution term compares besides the generator's own.

    Each maps pixels to features, with gradients to the pixels. The weights are frozen: nobody takes their
    gradients, for which the forward pass would keep activations in memory.

    Raises:
        InputError: as :func:`understudy.evaluation.encoders.load_encoder`.
    """

    def start() -> TrainedClassifier:
        backbone = pretrained_classifier(settings.compare)
        assert backbone is not None, "check_networks() comes first"
        backbone.model.to(device)
        return TrainedClassifier(backbone, (), device)

    encoders = {
        name: load_encoder(name, start=start, device=device, setting=_SETTING)
        for name in settings.adapt.further_encoders
    }
    for encoder in encoders.values():
        for parameter in encoder.network.parameters():  # TorchScript has no requires_grad_ of the whole
            parameter.requires_grad = False
    return {name: encoder.differentiable for name, encoder in encoders.items()}
