"""Networks that classifiers start from: the bundled ResNet, timm models, and folders with a timm model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.core.errors import InputError
from understudy.core.hub import hub_asked_once, why_not_given
from understudy.core.listing import listed
from understudy.core.registry import Registry, did_you_mean
from understudy.core.weight_files import (
    check_finite,
    check_network,
    check_network_folder,
    damage,
    shapes_in,
    weights_in,
)
from understudy.functional.transfer import sent
from understudy.training.photo_network import check_photo_weights, photo_network
from understudy.training.settings import CompareSettings


@final
@dataclass(frozen=True, eq=False)
class Backbone:
    """A network with a head for the classes of the data, and the form of the pixels that it expects.

    Attributes:
        model: maps normalised pixels to logits (B, num_classes).
        architecture: timm's name of the network.
        model_args: arguments, besides name and number of classes, with which timm builds the network again.
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
        """Standardise uint8 pixels (B, 3, H, W) with ``mean`` and ``std``; float32."""
        mean, std = (
            sent(torch.tensor(values), pixels.device).view(1, 3, 1, 1) for values in (self.mean, self.std)
        )
        return (pixels.float() / 255 - mean) / std

    def renormalise(self, x: Tensor, source: Backbone) -> Tensor:
        """Normalise and resize images for this network after they were normalised for another one.

        Args:
            x: float (B, 3, H, W), normalised by ``source``.
            source: the other network.

        Returns:
            float (B, 3, input_size, input_size).
        """
        if x.shape[-1] != self.input_size:
            x = F.interpolate(x, size=(self.input_size, self.input_size), mode="bilinear", antialias=True)
        mean, std, old_mean, old_std = (
            sent(torch.tensor(values), x.device).view(1, 3, 1, 1)
            for values in (self.mean, self.std, source.mean, source.std)
        )
        return (x * old_std + old_mean - mean) / std

    def features(self, x: Tensor) -> Tensor:
        """The features of normalised images that the classification layer sees, float (B, D)."""
        model = cast("Any", self.model)
        return cast("Tensor", model.forward_head(model.forward_features(x), pre_logits=True)).flatten(1)


Builder = Callable[[CompareSettings, int | None], Backbone]
"""Builds a network from settings and the number of classes; None keeps the pretrained head."""

BACKBONES: Registry[Builder] = Registry("backbone")


def build_backbone(settings: CompareSettings, num_classes: int, *, rng_seed: int) -> Backbone:
    """Build the network that ``settings`` names, on the CPU, in float32.

    The head is new unless ``settings.keep_head`` is set.

    Args:
        settings: ``backbone``, ``pretrained``, ``weights``, ``keep_head`` and ``resolution`` are used.
        num_classes: size of the head.
        rng_seed: for the random weights.

    Raises:
        InputError: as :func:`check_backbone`, and for weights that are missing or do not fit.
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
            f"compare.keep_head needs a pretrained head for the {num_classes} classes of the data, got a "
            f"head for {found} classes: leave it out"
        )
    return backbone


def pretrained_classifier(settings: CompareSettings) -> Backbone | None:
    """The pretrained network with its pretrained head, if it has one, on the CPU.

    Returns:
        None if ``settings.pretrained`` is false.

    Raises:
        InputError: as :func:`build_backbone`.
    """
    check_backbone(settings)
    if not settings.pretrained:
        return None
    with seeded_globals(0):
        return BACKBONES[_kind(settings)](settings, None)


def feature_extractor(settings: CompareSettings) -> Backbone:
    """The network for feature distillation, on the CPU: a classifier's features are kept near its features.

    Its head, if it has one, is not used.

    Args:
        settings: ``extractor`` is used; with ``extractor=pretrained`` also the settings of the backbone.

    Raises:
        InputError: if the backbone is not pretrained, or for a folder without a timm model.
    """
    if settings.extractor != "pretrained":
        with seeded_globals(0):
            pretrained = settings.model_copy(update={"pretrained": True, "resolution": None})
            return _from_folder(Path(settings.extractor), pretrained, None, setting="compare.extractor")
    backbone = pretrained_classifier(settings)
    if backbone is None:
        raise InputError(
            "feature_distillation needs a pretrained network, got compare.extractor=pretrained with "
            "compare.pretrained=false: give a folder with a timm model as compare.extractor"
        )
    return backbone


def check_backbone(settings: CompareSettings) -> None:
    """Check that :func:`build_backbone` can build the network; loads and downloads nothing.

    Raises:
        InputError: for an unknown name, a missing weights file, a model without pretrained weights, or
            settings that contradict each other.
    """
    name, weights, kind = settings.backbone, settings.weights, _kind(settings)
    if settings.keep_head and not settings.pretrained:
        raise InputError("compare.keep_head needs compare.pretrained=true, got false: leave one of them out")
    if weights is not None and not settings.pretrained:
        raise InputError(
            f"compare.weights={weights} needs compare.pretrained=true, got false: leave one of them out"
        )
    if weights is not None and (weights.suffix not in (".safetensors", ".pth") or not weights.is_file()):
        raise InputError(f"compare.weights must be an existing .safetensors or .pth file, got {weights}")
    is_path = kind == "folder" or (Path(name).parent != Path() and Path(name).is_dir())
    if is_path and settings.pretrained:
        check_network_folder(Path(name), "compare.backbone")
    if kind == "photo" and settings.pretrained:
        check_photo_weights("compare.backbone=photo")
    if kind != "timm":
        if weights is not None:
            raise InputError(
                f"compare.weights={weights} needs a timm backbone, but compare.backbone {name!r} comes with "
                "weights: leave compare.weights out"
            )
        return
    if weights is not None and (found := damage(weights)):
        raise InputError(
            f"compare.weights must be a file with a network's weights, but {weights} is {found[0]}: "
            f"{found[1]}"
        )
    check_timm_model(
        name,
        f"compare.backbone must be 'mini', the name of a timm model or a folder with one, got {name!r}",
    )
    if settings.pretrained and weights is None:
        check_timm_weights(name, "use compare.weights=FILE or compare.pretrained=false")


def check_timm_model(name: str, refusal: str) -> None:
    """Check that timm knows an architecture, or an architecture with a tag (``resnet18.a1_in1k``).

    Raises:
        InputError: ``refusal``, followed by the names closest to this one.
    """
    import timm  # heavy; only networks need it

    # Without a tag the registry knows at once; the list of tags takes long to sort.
    if not (name in timm.list_pretrained() if "." in name else timm.is_model(name)):
        known = [*timm.list_models(), *timm.list_pretrained()]
        hint = did_you_mean(name, known, otherwise="timm.list_models() gives the names")
        raise InputError(f"{refusal}: {hint}")


def check_timm_weights(name: str, remedy: str) -> None:
    """Check that timm publishes weights for a model.

    Raises:
        InputError: if it has none; ``remedy`` says what to do instead.
    """
    import timm  # heavy; only networks need it

    if not timm.get_pretrained_cfg(name).has_weights:
        raise InputError(f"timm has no pretrained weights for {name!r}: {remedy}")


def _kind(settings: CompareSettings) -> str:
    """The key of ``BACKBONES`` that builds the network."""
    name = settings.backbone
    if name in BACKBONES and name not in ("timm", "folder"):
        return name
    return "folder" if (Path(name) / "config.json").is_file() else "timm"


@contextmanager
def seeded_globals(seed: int, device: str = "cpu") -> Iterator[None]:
    """Seed torch's global generators for a block of code, and restore them afterwards.

    timm initialises weights from the global generators, and dropout layers draw from them; neither can be
    given another generator.
    """
    place = torch.device(device)
    is_apart = place.type not in ("cpu", "meta")  # whether the device has generators of its own
    with torch.random.fork_rng([place] if is_apart else [], device_type=place.type if is_apart else None):
        # torch.manual_seed would also seed devices that are not restored.
        torch.default_generator.manual_seed(seed)
        if is_apart:
            with torch.accelerator.device_index(place.index):
                torch.get_device_module(place).manual_seed(seed)
        yield


@BACKBONES.register(
    "mini",
    summary="the bundled ResNet: 1.2 million parameters, pretrained on printed letters of 32 x 32 pixels",
)
def _mini(settings: CompareSettings, num_classes: int | None) -> Backbone:
    return _from_folder(
        Path(str(resources.files("understudy"))) / "generators/mini/letters_resnet", settings, num_classes
    )


@BACKBONES.register(
    "photo",
    summary="EfficientNet-Lite0: 3.4 million parameters, pretrained on ImageNet; needs understudy[photo]",
)
def _photo(settings: CompareSettings, num_classes: int | None) -> Backbone:
    network = photo_network(num_classes, setting="compare.backbone=photo", pretrained=settings.pretrained)
    return _describe(network, {}, settings)


@BACKBONES.register(
    "folder",
    summary="a folder with config.json and weights, as timm and understudy write them: give its path",
)
def _folder(settings: CompareSettings, num_classes: int | None) -> Backbone:
    return _from_folder(Path(settings.backbone), settings, num_classes)


def _from_folder(
    folder: Path, settings: CompareSettings, num_classes: int | None, *, setting: str = "compare.backbone"
) -> Backbone:
    if settings.pretrained:
        check_network_folder(folder, setting)
    head = {} if num_classes is None else {"num_classes": num_classes}
    try:
        model_args = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_args", {})
        model = load_timm_folder(folder, pretrained=settings.pretrained, **head)
        backbone = _describe(model, model_args, settings)
    except Exception as error:  # the readers raise many types for a foreign folder
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{setting} must be a folder with a timm model (config.json and weights that fit it), got "
            f"{folder}: {reason[:300]}"
        ) from error
    check_network(
        f"{setting}={folder}",
        model.state_dict() if settings.pretrained else {},
        input_size=backbone.input_size,
        mean=backbone.mean,
        std=backbone.std,
    )
    return backbone


def create_from_hub(name: str, **arguments: Any) -> Any:
    """Build a pretrained timm network; a hub that does not answer is asked once.

    Raises:
        OSError: if the hub does not answer, and the weights are not in the cache.
    """
    import timm  # heavy; only networks need it

    with hub_asked_once(timm.get_pretrained_cfg(name).hf_hub_id or f"timm/{name}"):
        return timm.create_model(name, pretrained=True, **arguments)


def load_timm_folder(folder: Path, *, pretrained: bool = True, **arguments: Any) -> Any:
    """Build the network in a folder, with all of its weights but those of the head.

    With another number of classes than in the folder, timm leaves weights that are missing there random.

    Args:
        folder: with ``config.json`` and weights.
        pretrained: whether to load the weights.
        arguments: of ``timm.create_model``.

    Raises:
        ValueError: naming missing weights; and other errors of timm.
    """
    import timm  # heavy; only networks need it

    model = timm.create_model(f"local-dir:{folder}", pretrained=pretrained, **arguments)
    if not pretrained:
        return model
    named = {name for path in weights_in(folder) for name in shapes_in(path)}
    learned = [name for name, _ in model.named_parameters()]
    learned += [name for name, _ in model.named_buffers() if name.endswith(("running_mean", "running_var"))]
    heads = _heads(model.pretrained_cfg.get("classifier") or ())
    if unnamed := [name for name in learned if name not in named and not name.startswith(heads)]:
        # timm renames the weights of some files, so a name alone does not tell.
        states = []
        for from_file in (True, False):
            with seeded_globals(0):
                twin = timm.create_model(f"local-dir:{folder}", pretrained=from_file, **arguments)
            states.append(twin.state_dict())
        if missing := [name for name in unnamed if torch.equal(states[0][name], states[1][name])]:
            raise ValueError(f"its weights lack {listed(missing, most=3)}")
    return model


@BACKBONES.register(
    "timm",
    summary="any timm model: give its name, such as resnet18.a1_in1k; weights from the hub or a local file",
)
def _timm(settings: CompareSettings, num_classes: int | None) -> Backbone:
    import timm  # heavy; only networks need it

    name, weights, with_head = settings.backbone, settings.weights, num_classes is None
    config = timm.get_pretrained_cfg(name)
    resize = {"img_size": settings.resolution} if config.fixed_input_size and settings.resolution else {}
    state = None if weights is None else _read_weights(weights)
    if with_head and state is not None:
        num_classes = _head_size(state, config.classifier)
    head = {} if num_classes is None else {"num_classes": num_classes}
    from_hub = settings.pretrained and weights is None
    try:
        model = (create_from_hub if from_hub else timm.create_model)(name, **head, **resize)
    except OSError as error:
        raise InputError(
            f"the weights of {name!r} must come from the model hub, and are not in its cache: "
            f"{why_not_given(error)}; or use compare.weights=FILE or compare.pretrained=false"
        ) from error
    if state is not None:
        check_finite(state, f"compare.weights={weights}")
        _load_weights(model, state, weights, with_head=with_head)
    return _describe(model, resize, settings)


def _describe(model: Any, model_args: dict[str, Any], settings: CompareSettings) -> Backbone:
    config = model.pretrained_cfg
    size = settings.resolution or config["input_size"][-1]
    return Backbone(
        model, config["architecture"], model_args, size, tuple(config["mean"]), tuple(config["std"])
    )


def _read_weights(path: Path) -> dict[str, Tensor]:
    import timm.models  # heavy; only networks need it

    try:
        return dict(timm.models.load_state_dict(str(path)))
    except Exception as error:  # the two readers raise many types for a damaged or foreign file
        raise InputError(
            f"compare.weights must be a file with a network's weights, but {path} could not be read: {error}"
        ) from error


def _heads(classifier: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """The prefixes of the names of the head's parameters."""
    return tuple(f"{head}." for head in ([classifier] if isinstance(classifier, str) else classifier))


def _head_size(state: dict[str, Tensor], classifier: Any) -> int:
    """The number of classes of the head in a weights file; 0 without a head."""
    key = f"{_heads(classifier)[0]}weight"
    return len(state[key]) if key in state else 0


def _load_weights(model: Any, loaded: dict[str, Tensor], path: Path | None, *, with_head: bool) -> None:
    """Load weights from a file.

    The head is loaded only ``with_head``: its classes may differ from ours even where their number is equal.
    """
    wanted, heads = model.state_dict(), _heads(model.pretrained_cfg["classifier"])
    unfit = {key for key in loaded.keys() & wanted.keys() if loaded[key].shape != wanted[key].shape}
    problems = {
        "missing": sorted(key for key in wanted.keys() - loaded.keys() if not key.startswith(heads)),
        "unexpected": sorted(key for key in loaded.keys() - wanted.keys() if not key.startswith(heads)),
        "of another shape": sorted(key for key in unfit if not key.startswith(heads)),
    }
    if any(problems.values()):
        found = "; ".join(f"{len(keys)} {what}: {listed(keys)}" for what, keys in problems.items() if keys)
        raise InputError(
            f"compare.weights must fit the backbone {model.pretrained_cfg['architecture']}, but {path} has "
            f"keys {found}"
        )
    taken = {
        key: value
        for key, value in loaded.items()
        if key in wanted and key not in unfit and (with_head or not key.startswith(heads))
    }
    model.load_state_dict(taken, strict=False)
