"""A trained classifier: it predicts, and is stored in a form that plain timm can load."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from understudy.core.errors import InputError, first_line
from understudy.core.files import check_tensors, read_json, write_atomically, write_json
from understudy.core.micro_batch import MicroBatch
from understudy.data.decoded_images import decoded
from understudy.data.labelled_set import LabelledSet
from understudy.functional.balanced_accuracy import balanced_standard_error
from understudy.functional.class_means import balanced_accuracy_terms
from understudy.functional.transfer import sent
from understudy.training.backbones import Backbone, seeded_globals
from understudy.training.precision import Precision, precision_of

_BATCH_SIZE = 256


@final
@dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """Predicts class probabilities.

    Attributes:
        backbone: the trained network, on ``device``.
        class_names: names by label.
        device: where it runs.
        micro_batch: number of images computed at once, for all predictions.
    """

    backbone: Backbone
    class_names: tuple[str, ...]
    device: str = "cpu"
    micro_batch: MicroBatch = field(
        default_factory=lambda: MicroBatch(_BATCH_SIZE, work="a prediction"), repr=False
    )

    def predict(self, data: LabelledSet) -> np.ndarray:
        """Class probabilities, float64 (N, num_classes); rows sum to 1.

        Raises:
            InputError: if the set has other class names.
        """
        data.check_classes(self.class_names)
        return self.probabilities(data)

    def probabilities(self, data: LabelledSet) -> np.ndarray:
        """Like :meth:`predict`, but the images may have other classes than the network."""
        precision = precision_of(self.device, self.backbone.input_size)
        logits = self._outputs(self.backbone.model, data, precision)
        return np.asarray(logits.softmax(dim=1).numpy())

    def features(self, data: LabelledSet) -> np.ndarray:
        """The features that the classification layer sees, float64 (N, D).

        They are computed in float32 on every device, because distances between them are measured.
        """
        precision = replace(precision_of(self.device, self.backbone.input_size), autocast=None)
        return np.asarray(self._outputs(self.backbone.features, data, precision).numpy())

    @torch.no_grad()
    def _outputs(
        self, network: Callable[[Tensor], Tensor], data: LabelledSet, precision: Precision
    ) -> Tensor:
        """Outputs of a part of the network for every image, float64 (N, D)."""
        precision.laid_out(self.backbone.model.eval())
        everything = decoded(data, self.backbone.input_size)

        def outputs(size: int) -> Tensor:
            places = (slice(start, start + size) for start in range(0, max(1, len(data)), size))
            parts = (sent(torch.from_numpy(everything[some]), self.device, pinned=True) for some in places)
            with precision.computing():
                return torch.cat(
                    [network(precision.arranged(self.backbone.normalise(part))).float() for part in parts]
                )

        return self.micro_batch.fit(outputs).cpu().double()

    def save(self, folder: Path) -> None:
        """Write ``config.json`` and ``model.safetensors``, each atomically.

        ``timm.create_model("local-dir:FOLDER", pretrained=True)`` loads them. Classifiers of one arm differ
        only in their weights, so one may overwrite another.
        """
        model: Any = self.backbone.model
        self.save_weights(folder / "model.safetensors")
        size = self.backbone.input_size
        pretrained = {
            key: model.pretrained_cfg[key]
            for key in ("interpolation", "fixed_input_size", "pool_size", "first_conv", "classifier")
        }
        pretrained |= {"input_size": [3, size, size], "mean": self.backbone.mean, "std": self.backbone.std}
        pretrained |= {"crop_pct": 1.0, "num_classes": len(self.class_names)}
        config = {
            "architecture": self.backbone.architecture,
            "num_classes": len(self.class_names),
            "num_features": model.num_features,
            "label_names": list(self.class_names),
            "model_args": self.backbone.model_args,
            "pretrained_cfg": pretrained,
        }
        write_json(folder / "config.json", config)

    def save_weights(self, path: Path) -> None:
        """Write only the weights, as in ``model.safetensors`` of :meth:`save`, atomically."""
        state = {
            key: value.detach().cpu().contiguous() for key, value in self.backbone.model.state_dict().items()
        }
        # The writer of safetensors makes files that only their owner can read.
        data = safetensors.torch.save(state, {"format": "pt"})
        write_atomically(path, lambda temporary: temporary.write_bytes(data))

    def with_weights(self, path: Path) -> TrainedClassifier:
        """A copy of the network with weights that :meth:`save_weights` wrote.

        Raises:
            InputError: if the file cannot be read, or holds weights of another network.
        """
        check_tensors(path)
        model = copy.deepcopy(self.backbone.model)
        try:
            model.load_state_dict(safetensors.torch.load_file(path, device=self.device))
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            reason = first_line(error)
            raise InputError(
                f"{path} must hold weights of a {self.backbone.architecture} for {len(self.class_names)} "
                f"classes: {reason}"
            ) from None
        return replace(self, backbone=replace(self.backbone, model=model))

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> TrainedClassifier:
        """Read a classifier that :meth:`save` wrote.

        Raises:
            InputError: if the folder does not hold a classifier with class names, or a file is damaged.
        """
        if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
            raise InputError(f"a classifier folder must hold config.json and model.safetensors, got {folder}")
        import timm  # heavy; only networks need it

        config = read_json(folder / "config.json", keys=("architecture", "model_args", "pretrained_cfg"))
        check_tensors(folder / "model.safetensors")
        if "label_names" not in config:
            raise InputError(
                f"{folder}/config.json must name the classes of the classifier in 'label_names', but has no "
                "such entry: give a folder that understudy wrote"
            )
        with seeded_globals(0):
            model = timm.create_model(f"local-dir:{folder}", pretrained=True)
        stored = config["pretrained_cfg"]
        size, mean, std = stored["input_size"][-1], tuple(stored["mean"]), tuple(stored["std"])
        backbone = Backbone(model.to(device), config["architecture"], config["model_args"], size, mean, std)
        return cls(backbone, tuple(config["label_names"]), device)


def validation_figures(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The figures of a training on validation images.

    ``val_accuracy``; ``val_balanced_accuracy`` and its ``val_balanced_accuracy_standard_error``;
    ``val_loss``, the mean negative log probability of the true class.

    Args:
        probabilities: predicted for the validation images, float (N, C).
        labels: their true classes, int (N,).
    """
    true, predicted = probabilities[np.arange(len(labels)), labels], probabilities.argmax(axis=1)
    correct = predicted == labels
    return {
        "val_accuracy": float(correct.mean()),
        "val_balanced_accuracy": float(balanced_accuracy_terms(predicted[None], labels).mean()),
        "val_balanced_accuracy_standard_error": balanced_standard_error(correct[None], labels),
        "val_loss": float(-np.log(np.maximum(true, 1e-12)).mean()),
    }


def accuracy_and_loss(classifier: TrainedClassifier, data: LabelledSet) -> tuple[float, float]:
    """Accuracy, and the mean negative log probability of the true class."""
    figures = validation_figures(classifier.predict(data), data.labels)
    return figures["val_accuracy"], figures["val_loss"]
