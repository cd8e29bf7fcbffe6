"""Networks that classifiers start from: the bundled ResNet, and everything that timm knows by name."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, cast, final

import timm
import timm.models
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.core.errors import InputError
from understudy.core.registry import Registry
from understudy.training.settings import CompareSettings


@final
@dataclass(frozen=True, eq=False)
class Backbone:
    """A network with a head for the classes at hand, and what pixels it expects.

    Attributes:
        model: uint8 pixels, normalised, to logits of shape (B, num_classes).
        architecture: timm's name of it.
        model_args: what timm needs besides the name and the number of classes to build it again.
        input_size: width and height in pixels.
        mean, std: per channel, for pixels in [0, 1].
    """

    model: nn.Module
    architecture: str
    model_args: dict[str, Any]
    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 of shape (B, 3, H, W) to float32 with zero mean and unit deviation over the pretraining data."""
        mean, std = (
            torch.tensor(values, device=pixels.device).view(1, 3, 1, 1) for values in (self.mean, self.std)
        )
        return (pixels.float() / 255 - mean) / std

    def renormalise(self, x: Tensor, source: Backbone) -> Tensor:
        """Images that were normalised for another network, normalised and resized for this one.

        Args:
            x: float of shape (B, 3, H, W), normalised by ``source``.
            source: the other network.

        Returns:
            float of shape (B, 3, input_size, input_size).
        """
        if x.shape[-1] != self.input_size:
            x = F.interpolate(x, size=(self.input_size, self.input_size), mode="bilinear", antialias=True)
        mean, std, old_mean, old_std = (
            torch.tensor(values, device=x.device).view(1, 3, 1, 1)
            for values in (self.mean, self.std, source.mean, source.std)
        )
        return (x * old_std + old_mean - mean) / std

    def features(self, x: Tensor) -> Tensor:
        """What the classification layer sees of normalised images, float of shape (B, D)."""
        model = cast("Any", self.model)
        return cast("Tensor", model.forward_head(model.forward_features(x), pre_logits=True)).flatten(1)


Builder = Callable[[CompareSettings, int | None], Backbone]
"""Settings and size of the head; None keeps the head that the network was pretrained with."""

BACKBONES: Registry[Builder] = Registry("backbone")


def build_backbone(settings: CompareSettings, num_classes: int, *, rng_seed: int) -> Backbone:
    """The network that ``settings`` names, on the CPU, in float32, with a fresh head unless ``settings.keep_head``.

    Args:
        settings: ``backbone``, ``pretrained``, ``weights``, ``keep_head`` and ``resolution`` are used.
        num_classes: size of the head.
        rng_seed: decides every random weight.

    Raises:
        InputError: as :func:`check_backbone`, and for weights that cannot be had or do not fit.
    """
    check_backbone(settings)
    build = BACKBONES[_kind(settings)]
    with seeded_globals(rng_seed):
        if not settings.keep_head:
            return build(settings, num_classes)
        backbone = build(settings, None)
    found = int(cast("Any", backbone.model).num_classes)
    if found != num_classes:
        raise InputError(
            f"compare.keep_head needs a head for the {num_classes} classes at hand, the pretrained one has {found}: leave it out"
        )
    return backbone


def pretrained_classifier(settings: CompareSettings) -> Backbone | None:
    """The network with the head that it was pretrained with, on the CPU, or with none if it came without; None if it is not pretrained.

    Raises:
        InputError: as :func:`build_backbone`.
    """
    check_backbone(settings)
    if not settings.pretrained:
        return None
    with seeded_globals(0):
        return BACKBONES[_kind(settings)](settings, None)


def feature_extractor(settings: CompareSettings) -> Backbone:
    """The frozen network whose features guide those of a classifier: ``settings.extractor``, on the CPU, with whatever head it has.

    Raises:
        InputError: if the backbone is not pretrained, or for a folder without a timm model.
    """
    if settings.extractor != "pretrained":
        with seeded_globals(0):
            own = settings.model_copy(update={"pretrained": True, "resolution": None})
            return _from_folder(Path(settings.extractor), own, None, setting="compare.extractor")
    backbone = pretrained_classifier(settings)
    if backbone is None:
        raise InputError(
            "feature_distillation needs a pretrained network, got compare.extractor=pretrained with compare.pretrained=false: "
            "give a folder with a timm model as compare.extractor"
        )
    return backbone


def check_backbone(settings: CompareSettings) -> None:
    """Refuse at once what :func:`build_backbone` could not build; loads and downloads nothing.

    Raises:
        InputError: for an unknown name, a missing weights file, a model without pretrained weights, or settings that contradict
            each other.
    """
    name, weights, kind = settings.backbone, settings.weights, _kind(settings)
    if settings.keep_head and not settings.pretrained:
        raise InputError("compare.keep_head needs compare.pretrained=true, got false: drop one of them")
    if weights is not None and not settings.pretrained:
        raise InputError(
            f"compare.weights needs compare.pretrained=true, got false with {weights}: drop one of them"
        )
    if weights is not None and (weights.suffix not in (".safetensors", ".pth") or not weights.is_file()):
        raise InputError(f"compare.weights must be an existing .safetensors or .pth file, got {weights}")
    if kind != "timm":
        if weights is not None:
            raise InputError(
                f"compare.weights needs a timm backbone, got {weights} with {name!r}, which has its own weights"
            )
        return
    known = [*timm.list_models(), *timm.list_pretrained()]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() gives the names"
        raise InputError(
            f"compare.backbone must be 'mini', the name of a timm model or a folder with one, got {name!r}: {hint}"
        )
    if settings.pretrained and weights is None and not timm.get_pretrained_cfg(name).has_weights:
        raise InputError(
            f"timm has no pretrained weights for {name!r}: use compare.weights=FILE or compare.pretrained=false"
        )


def _kind(settings: CompareSettings) -> str:
    """The registered name that builds the backbone."""
    name = settings.backbone
    if name in BACKBONES and name not in ("timm", "folder"):
        return name
    return "folder" if (Path(name) / "config.json").is_file() else "timm"


@contextmanager
def seeded_globals(seed: int, device: str = "cpu") -> Iterator[None]:
    """Let code that draws from torch's global generators depend on ``seed`` alone, and put them back as they were.

    timm initialises weights, and dropout layers draw, from the global generators: they take no other.
    """
    places = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=places):
        # torch.manual_seed would also seed devices that are not put back.
        torch.default_generator.manual_seed(seed)
        for place in places:
            with torch.cuda.device(place):
                torch.cuda.manual_seed(seed)
        yield


def reset_head(model: Any, num_classes: int, device: str) -> None:
    """Give a network a new last layer, drawn from torch's global generator."""
    model.reset_classifier(num_classes)
    model.to(device)


@BACKBONES.register(
    "mini",
    summary="the bundled ResNet, 1.2 million parameters, pretrained on printed letters at 32 x 32 pixels",
)
def _mini(settings: CompareSettings, num_classes: int | None) -> Backbone:
    return _from_folder(
        Path(str(resources.files("understudy"))) / "generators/mini/letters_resnet", settings, num_classes
    )


@BACKBONES.register(
    "folder",
    summary="stands for every folder with config.json and weights, as timm and understudy write them",
)
def _folder(settings: CompareSettings, num_classes: int | None) -> Backbone:
    return _from_folder(Path(settings.backbone), settings, num_classes)


def _from_folder(
    folder: Path, settings: CompareSettings, num_classes: int | None, *, setting: str = "compare.backbone"
) -> Backbone:
    own = {} if num_classes is None else {"num_classes": num_classes}
    try:
        model_args = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_args", {})
        model = timm.create_model(f"local-dir:{folder}", pretrained=settings.pretrained, **own)
        return _describe(model, model_args, settings)
    except Exception as error:  # whatever the readers raise for a damaged or foreign folder
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{setting} must be a folder with a timm model (config.json and weights), {folder}: {reason}"
        ) from error


@BACKBONES.register(
    "timm",
    summary="stands for every timm model name, such as resnet18.a1_in1k; weights from the hub or a local file",
)
def _timm(settings: CompareSettings, num_classes: int | None) -> Backbone:
    name, weights, own_head = settings.backbone, settings.weights, num_classes is None
    fixed = timm.get_pretrained_cfg(name).fixed_input_size
    model_args: dict[str, Any] = {"img_size": settings.resolution} if fixed and settings.resolution else {}
    state = None if weights is None else _read_weights(weights)
    if own_head and state is not None:
        num_classes = _head_size(state, timm.get_pretrained_cfg(name).classifier)
    own = {} if num_classes is None else {"num_classes": num_classes}
    try:
        model = timm.create_model(
            name, pretrained=settings.pretrained and weights is None, **own, **model_args
        )
    except OSError as error:
        raise InputError(
            f"the weights of {name!r} must come from the model hub, which could not be reached ({type(error).__name__}): "
            "use compare.weights=FILE or compare.pretrained=false"
        ) from error
    if state is not None:
        _load_weights(model, state, weights, with_head=own_head)
    return _describe(model, model_args, settings)


def _describe(model: Any, model_args: dict[str, Any], settings: CompareSettings) -> Backbone:
    config = model.pretrained_cfg
    size = settings.resolution or config["input_size"][-1]
    return Backbone(
        model, config["architecture"], model_args, size, tuple(config["mean"]), tuple(config["std"])
    )


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return dict(timm.models.load_state_dict(str(path)))
    except Exception as error:  # whatever the two readers raise for a damaged or foreign file
        raise InputError(
            f"compare.weights must be a file with a network's weights, but {path} could not be read: {error}"
        ) from error


def _heads(classifier: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """What names of the head's parameters begin with."""
    return tuple(f"{head}." for head in ([classifier] if isinstance(classifier, str) else classifier))


def _head_size(state: dict[str, Tensor], classifier: Any) -> int:
    """Classes of the head that a weights file holds; 0 if it holds none."""
    key = f"{_heads(classifier)[0]}weight"
    return len(state[key]) if key in state else 0


def _load_weights(model: Any, loaded: dict[str, Tensor], path: Path | None, *, with_head: bool) -> None:
    """Take a file's weights; those of the head only if asked for, since equal numbers of classes need not be the same classes."""
    wanted, heads = model.state_dict(), _heads(model.pretrained_cfg["classifier"])
    unfit = {key for key in loaded.keys() & wanted.keys() if loaded[key].shape != wanted[key].shape}
    problems = {
        "missing": sorted(key for key in wanted.keys() - loaded.keys() if not key.startswith(heads)),
        "unexpected": sorted(key for key in loaded.keys() - wanted.keys() if not key.startswith(heads)),
        "of another shape": sorted(key for key in unfit if not key.startswith(heads)),
    }
    if any(problems.values()):
        found = "; ".join(
            f"{len(keys)} {what}: {', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''}"
            for what, keys in problems.items()
            if keys
        )
        raise InputError(
            f"compare.weights must fit the backbone {model.pretrained_cfg['architecture']}, but {path} has keys {found}"
        )
    taken = {
        key: value
        for key, value in loaded.items()
        if key in wanted and key not in unfit and (with_head or not key.startswith(heads))
    }
    model.load_state_dict(taken, strict=False)
