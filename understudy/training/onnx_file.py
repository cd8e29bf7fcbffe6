"""A trained classifier as one ONNX file, which runs without PyTorch."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import cast, final

import numpy as np
import torch
from torch import Tensor, nn

from understudy.core.errors import InputError, first_line
from understudy.core.files import write_atomically
from understudy.training.backbones import Backbone
from understudy.training.classifier import TrainedClassifier

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_MOST_DIFFERENCE = 1e-4
_MOST_BYTES = 2_000_000_000
"""Of the weights: protobuf, the format of the file, ends at 2 GiB."""


def check_onnx_installed() -> None:
    """Check that the packages are there with which a network is written as ONNX.

    Raises:
        InputError: naming those that are missing.
    """
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise InputError(
            f"--form onnx needs {' and '.join(missing)}: pip install 'understudy[onnx]', or export the "
            "classifier with --form timm"
        )


def write_onnx(classifier: TrainedClassifier, path: Path) -> None:
    """Write a classifier from uint8 pixels to probabilities, for batches of any size.

    ``pixels``, uint8 (N, 3, size, size), RGB; ``probabilities``, float32 (N, num_classes). Normalisation and
    softmax are part of the network. The file's metadata name the classes and say how an image becomes pixels.

    Args:
        classifier: on the CPU.
        path: file to write; it appears once its outputs are checked against those of the classifier.

    Raises:
        InputError: if packages are missing, or the network cannot be written or computes something else.
    """
    check_onnx_installed()
    network, size = _FromPixels(classifier.backbone).eval(), classifier.backbone.input_size
    if sum(weight.nbytes for weight in network.state_dict().values()) > _MOST_BYTES:
        raise _cannot(classifier, "its weights have more than 2 GB")
    try:
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 3, size, size, dtype=torch.uint8),),
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_shapes={"pixels": {0: "batch"}},
            verbose=False,
        )
    except Exception as error:  # the exporter raises errors of many types
        raise _cannot(classifier, first_line(error)) from error
    assert program is not None
    program.model.metadata_props.update(_described(classifier))

    def write(temporary: Path) -> None:
        program.save(temporary, external_data=False)
        difference = _difference(network, temporary, size)
        if not difference <= _MOST_DIFFERENCE:
            raise _cannot(classifier, f"its probabilities would differ by {difference:.2g}")

    write_atomically(path, write)


@final
class _FromPixels(nn.Module):
    """A network with normalisation before it and softmax behind it."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.model, self.normalise = backbone.model, backbone.normalise

    def forward(self, pixels: Tensor) -> Tensor:
        """Probabilities (B, num_classes) of pixels, uint8 (B, 3, H, W)."""
        return cast("Tensor", self.model(self.normalise(pixels))).softmax(dim=1)


def _described(classifier: TrainedClassifier) -> dict[str, str]:
    """What the file says about itself; ONNX allows text alone."""
    backbone = classifier.backbone
    size = backbone.input_size
    return {
        "class_names": json.dumps(list(classifier.class_names)),
        "architecture": backbone.architecture,
        "input_size": str(size),
        "mean": json.dumps(list(backbone.mean)),
        "std": json.dumps(list(backbone.std)),
        "preprocessing": (
            f"Turn the image upright, convert it to RGB, resize its shorter side to {size} pixels (bilinear, "
            f"antialiased) and crop the centre to {size} x {size}. The network itself divides by 255, "
            "subtracts mean and divides by std."
        ),
        "pixels": f"uint8 (N, 3, {size}, {size}), RGB, from 0 to 255",
        "probabilities": f"float32 (N, {len(classifier.class_names)}), in the order of class_names",
    }


@torch.no_grad()
def _difference(network: nn.Module, path: Path, size: int) -> float:
    """The largest difference between the probabilities of a file and of the network that it was made from."""
    import onnxruntime  # optional

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    largest = 0.0
    for count in (1, 3):
        pixels = rng.integers(0, 256, (count, 3, size, size), dtype=np.uint8)
        (given,) = session.run(None, {"pixels": pixels})
        largest = max(largest, float(np.abs(given - network(torch.from_numpy(pixels)).numpy()).max()))
    return largest


def _cannot(classifier: TrainedClassifier, reason: str) -> InputError:
    return InputError(
        f"the network {classifier.backbone.architecture} cannot be written as ONNX ({reason}): export it "
        "with --form timm"
    )
