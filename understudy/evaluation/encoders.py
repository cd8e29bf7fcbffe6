"""Encoders: networks that turn images into features, for fidelity, memorisation and the distribution term.

An encoder can be the image encoder of the generator, the network that arms start from, or any timm model.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, final

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from understudy.core.errors import InputError
from understudy.core.hub import why_not_given
from understudy.core.registry import Registry
from understudy.core.weight_files import check_network, check_network_folder, check_script
from understudy.data.image_kind import ImageKind
from understudy.data.labelled_set import LabelledSet
from understudy.generators import image_features
from understudy.generators.generator import adaptable
from understudy.generators.load import mini_folder

if TYPE_CHECKING:
    from understudy.generators.generator import Generator
from understudy.training import backbones, photo_network
from understudy.training.classifier import TrainedClassifier

_BATCH = 64
_PREFIX = "timm:"
_STATED = ("input_size", "mean", "std")
_KINDS = {"timm": "timm:NAME", "folder": "the path of the folder", "torchscript": "the path of the file"}


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Encoder:
    """A network that turns images into features.

    Attributes:
        name: the name by which it was loaded, or the name that ``auto`` chose.
        fingerprint: hash of the weights and of the preparation of images.
        width: number of features, D.
        network: what computes them.
        encode: maps a set of at most 64 images to features, float (B, D).
        differentiable: maps pixels, float (B, 3, H, W) in [-1, 1], to features, float32 (B, D), with
            gradients. The central square is resized as in CLIP's preprocessing, so features differ a little
            from those of ``encode``, which prepares images as each network asks.
    """

    name: str
    fingerprint: str
    width: int
    network: nn.Module
    encode: Callable[[LabelledSet], Tensor]
    differentiable: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def features(self, data: LabelledSet) -> np.ndarray:
        """Encode N images: float32 (N, D)."""
        parts = [
            self.encode(data.select(range(start, min(start + _BATCH, len(data))))).float().cpu().numpy()
            for start in range(0, len(data), _BATCH)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.width), dtype=np.float32)


GeneratorGetter = Callable[[], "Generator"] | None
StartGetter = Callable[[], "TrainedClassifier"] | None


@final
@dataclass(frozen=True, kw_only=True)
class Request:
    """What an encoder is built from.

    Attributes:
        name: the encoder's name, or its path.
        setting: the setting that names it, for messages.
        generator: getter of the run's generator; None if the run lacks one.
        start: getter of the network that arms start from; None if it is not pretrained.
        device: torch device of an encoder that is loaded from disk or from the hub.
    """

    name: str
    setting: str
    generator: GeneratorGetter
    start: StartGetter
    device: str

    @property
    def given(self) -> str:
        """The setting and its value, for messages."""
        return f"{self.setting}={self.name}"


Builder = Callable[[Request], Encoder]

ENCODERS: Registry[Builder] = Registry("encoder")


def load_encoder(
    name: str,
    *,
    generator: GeneratorGetter = None,
    start: StartGetter = None,
    device: str = "cpu",
    setting: str = "fidelity.encoder",
) -> Encoder:
    """Load the encoder that a setting names.

    Args:
        name: a registered name, ``timm:NAME``, a folder, or a TorchScript file.
        generator: getter of the run's generator; None if there is none.
        start: getter of the network that arms start from; None if it is not pretrained.
        device: torch device of an encoder that is loaded from disk or from the hub.
        setting: the setting that names it, for messages.

    Raises:
        InputError: as :func:`check_encoder`, and if the run lacks the named network, the weights cannot be
            loaded, or the folder does not state how images are prepared.
    """
    check_encoder(name, setting=setting)
    request = Request(name=name, setting=setting, generator=generator, start=start, device=device)
    return ENCODERS[_kind(name)](request)


def check_encoder(name: str, *, setting: str = "fidelity.encoder") -> None:
    """Check the name of an encoder without loading or downloading anything.

    Args:
        name: as :func:`load_encoder`.
        setting: the setting that names it, for messages.

    Raises:
        InputError: if the name is unknown, the timm model has no pretrained weights, or a file is missing or
            damaged.
    """
    if name in _KINDS:
        raise InputError(
            f"{setting} must name one encoder, got {name!r}, a kind of encoder: give {_KINDS[name]} instead"
        )
    kind = _kind(name)
    if kind == "timm":
        model = name.removeprefix(_PREFIX)
        backbones.check_timm_model(
            model, f"{setting}={name} must name a timm model, but timm has no such model"
        )
        backbones.check_timm_weights(model, f"{setting}={name} needs weights: choose another encoder")
    elif kind == "folder":
        check_network_folder(Path(name), setting)
    elif kind == "torchscript":
        check_script(Path(name), setting)
    elif kind == "photo":
        photo_network.check_photo_weights(f"{setting}=photo")
    ENCODERS[kind]


def _kind(name: str) -> str:
    if name.startswith(_PREFIX):
        return "timm"
    if name in ENCODERS:
        return name
    return "folder" if Path(name).is_dir() else "torchscript" if Path(name).is_file() else name


@ENCODERS.register(
    "auto",
    summary="generator if it has an image encoder; else backbone if arms start pretrained; else mini. For "
    "photographs none of the bundled ones, but photo",
)
def _auto(request: Request) -> Encoder:
    name = auto_encoder("characters", generator=request.generator, start=request.start)
    assert name is not None
    return ENCODERS[name](replace(request, name=name))


def auto_encoder(kind: ImageKind, *, generator: GeneratorGetter, start: StartGetter) -> str | None:
    """The name of the encoder that ``auto`` stands for.

    Args:
        kind: what the images show.
        generator: getter of the run's generator, None if it does not know such images.
        start: getter of the network that arms start from, None if it does not know such images.

    Returns:
        None if no network here knows such images.
    """
    if generator is not None and _has_encoder(generator()):
        return "generator"
    if start is not None:
        return "backbone"
    if kind == "characters":
        return "mini"
    return None if photo_network.photo_weights() is None else "photo"


def _has_encoder(generator: Generator) -> bool:
    try:
        return adaptable(generator).feature_width > 0
    except InputError:
        return False


@ENCODERS.register("generator", summary="the image encoder of the generator, or generator.image_encoder")
def _generator(request: Request) -> Encoder:
    if request.generator is None or not _has_encoder(found := request.generator()):
        raise InputError(
            f"{request.given} needs a generator with an image encoder: set generator.image_encoder, or "
            "choose another encoder (understudy list encoders)"
        )
    return _clip_vision(request, cast("Any", found).image_encoder(), adaptable(found).device)


@ENCODERS.register(
    "mini",
    summary="the CLIP image encoder of the bundled generator: 32 x 32 pixels, printed letters and digits",
)
def _mini(request: Request) -> Encoder:
    # slow to import, and not needed to list encoders
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    folder = mini_folder()
    encoder = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder")
    return _clip_vision(
        request,
        image_features.ImageFeatures(
            encoder.to(request.device), CLIPImageProcessor.from_pretrained(folder / "feature_extractor")
        ),
        torch.device(request.device),
    )


@ENCODERS.register(
    "backbone",
    summary="the pretrained network that arms start from, without its classification layer",
)
def _backbone(request: Request) -> Encoder:
    if request.start is None:
        raise InputError(
            f"{request.given} needs a pretrained network that arms start from, got compare.pretrained=false: "
            "choose another encoder (understudy list encoders)"
        )
    classifier = request.start()
    backbone = classifier.backbone
    preparation = {"input_size": backbone.input_size, "mean": backbone.mean, "std": backbone.std}

    def encode(data: LabelledSet) -> Tensor:
        return torch.from_numpy(classifier.features(data))

    return _described(request, backbone.model.eval(), preparation, encode, outputs=backbone.features)


@ENCODERS.register(
    "photo", summary="EfficientNet-Lite0 pretrained on ImageNet, 224 pixels; needs understudy[photo]"
)
def _photo(request: Request) -> Encoder:
    network = photo_network.photo_network(0, setting=request.given)
    return _timm_model(request, network, network.pretrained_cfg)


@ENCODERS.register("dinov2", summary="DINOv2 ViT-B/14 (timm:vit_base_patch14_dinov2.lvd142m); from the hub")
def _dinov2(request: Request) -> Encoder:
    return _from_hub(request, "vit_base_patch14_dinov2.lvd142m")


@ENCODERS.register(
    "clip", summary="CLIP ViT-B/16 with projection (timm:vit_base_patch16_clip_224.openai); from the hub"
)
def _clip(request: Request) -> Encoder:
    # The head is CLIP's projection.
    return _from_hub(request, "vit_base_patch16_clip_224.openai", keep_head=True)


@ENCODERS.register(
    "inception",
    summary="Inception v3 (timm:inception_v3.tf_in1k), not the weights of published FIDs; from the hub",
)
def _inception(request: Request) -> Encoder:
    return _from_hub(request, "inception_v3.tf_in1k")


@ENCODERS.register("timm", summary="any pretrained timm model: give timm:NAME; from the hub")
def _timm(request: Request) -> Encoder:
    return _from_hub(request, request.name.removeprefix(_PREFIX))


def _from_hub(request: Request, model: str, *, keep_head: bool = False) -> Encoder:
    try:
        network = backbones.create_from_hub(model, **({} if keep_head else {"num_classes": 0}))
    except OSError as error:
        raise InputError(
            f"{request.given} needs the weights of {model} from the model hub, and its cache does not have "
            f"them: {why_not_given(error)}; or give a folder with the weights, or choose a bundled encoder "
            "(understudy list encoders)"
        ) from error
    return _timm_model(request, network, network.pretrained_cfg)


@ENCODERS.register(
    "folder", summary="a folder with a timm model, or a CLIP vision model with projection: give its path"
)
def _folder(request: Request) -> Encoder:
    with _readable(request):
        config = json.loads((Path(request.name) / "config.json").read_text(encoding="utf-8"))
    if "architecture" not in config:
        return _clip_folder(request, config)
    stated = config.get("pretrained_cfg", config)
    _check_stated(request, stated, "add them to pretrained_cfg in config.json")
    with _readable(request):
        network = backbones.load_timm_folder(Path(request.name), num_classes=0)
    return _timm_model(request, network, stated)


@ENCODERS.register(
    "torchscript", summary="a TorchScript file, such as SSCD, which recognises copies: give its path"
)
def _torchscript(request: Request) -> Encoder:
    """Images are squashed to 320 x 320 pixels and normalised as for ImageNet.

    The authors of SSCD (Pizzi et al. 2022, arXiv:2202.10261) advise this for batches: nothing is cut off.
    """
    # slow to import, and not needed to list encoders
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    preparation = {"input_size": 320, "mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
    device = request.device
    mean, std = (torch.tensor(preparation[key], device=device).view(3, 1, 1) for key in ("mean", "std"))

    def encode(data: LabelledSet) -> Tensor:
        images = (
            data.image(index).resize((320, 320), Image.Resampling.BILINEAR) for index in range(len(data))
        )
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
        features: Tensor = network((pixels.to(device).float() / 255 - mean) / std)
        if features.ndim != 2:
            raise ValueError(f"its output has the shape {tuple(features.shape)}")
        return features

    with _readable(request, "a TorchScript file that maps images (B, 3, H, W) to features (B, D)"):
        with warnings.catch_warnings():  # the format is deprecated, but the authors of SSCD publish no other
            warnings.simplefilter("ignore", FutureWarning)
            network = torch.jit.load(request.name, map_location=device).eval()
        return _described(request, network, preparation, encode)


@contextmanager
def _readable(
    request: Request, wanted: str = "a folder with a timm model or a CLIP vision model"
) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the readers raise many types for damaged or foreign folders
        raise InputError(f"{request.given} must be {wanted}: {why_not_given(error)}") from error


def _clip_folder(request: Request, config: Mapping[str, Any]) -> Encoder:
    processor = Path(request.name) / "preprocessor_config.json"
    with _readable(request):
        stated = json.loads(processor.read_text(encoding="utf-8")) if processor.is_file() else {}
    stated = {
        "input_size": config.get("image_size"),
        "mean": stated.get("image_mean"),
        "std": stated.get("image_std"),
    }
    place = "add image_size to config.json, and image_mean and image_std to preprocessor_config.json"
    _check_stated(request, stated, place)
    features = image_features.load_image_encoder(request.name, torch.float32, setting=request.setting)
    features.encoder.to(request.device)
    return _clip_vision(request, features, torch.device(request.device))


def _check_stated(request: Request, stated: Mapping[str, Any], place: str) -> None:
    missing = [key for key in _STATED if not stated.get(key)]
    if missing:
        raise InputError(
            f"{request.given} must state size, mean and standard deviation of the images, "
            f"but has no {' and no '.join(missing)}: {place}"
        )


def _timm_model(request: Request, network: Any, stated: Mapping[str, Any]) -> Encoder:
    """A timm network with the image size, crop and normalisation of its pretraining."""
    import timm.data  # slow to import, and not needed to list encoders

    _check_stated(request, stated, "choose another encoder")
    preparation = timm.data.resolve_data_config(pretrained_cfg=dict(stated))
    prepare = timm.data.create_transform(**preparation, is_training=False)
    network = network.to(request.device).eval()

    def encode(data: LabelledSet) -> Tensor:
        x = torch.stack([prepare(data.image(index)) for index in range(len(data))])
        return cast("Tensor", network(x.to(request.device)))

    return _described(request, network, preparation, encode)


def _clip_vision(request: Request, features: image_features.ImageFeatures, device: torch.device) -> Encoder:
    """A CLIP vision model with its projection.

    As in CLIP, images are cropped to a central square, resized (bicubic) and normalised.
    """
    size = int(features.encoder.config.image_size)
    preparation = {
        "input_size": size,
        "mean": features.mean.flatten().tolist(),
        "std": features.std.flatten().tolist(),
    }

    def encode(data: LabelledSet) -> Tensor:
        fitted = [
            ImageOps.fit(data.image(index), (size, size), Image.Resampling.BICUBIC)
            for index in range(len(data))
        ]
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in fitted])).permute(0, 3, 1, 2)
        return features(pixels.float() / 127.5 - 1, device=device)

    def outputs(x: Tensor) -> Tensor:
        return cast("Tensor", features.encoder(pixel_values=x.to(features.encoder.dtype)).image_embeds)

    return _described(request, features.encoder, preparation, encode, outputs=outputs)


def _described(
    request: Request,
    network: nn.Module,
    preparation: Mapping[str, Any],
    encode: Callable[[LabelledSet], Tensor],
    *,
    outputs: Callable[[Tensor], Tensor] | None = None,
) -> Encoder:
    """The encoder; ``outputs`` maps normalised pixels to features, by default as the network does."""
    stated = {key: preparation[key] for key in _STATED}
    check_network(request.given, network.state_dict(), **stated)
    digest = hashlib.sha256(json.dumps(preparation, sort_keys=True, default=str).encode())
    for key, value in network.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().float().cpu().numpy().tobytes())
    blank = LabelledSet.from_images([Image.new("RGB", (8, 8))], [0], class_names=["blank"], split="train")
    with torch.no_grad():
        width = encode(blank).shape[1]
    size, mean, std = stated["input_size"], torch.tensor(stated["mean"]), torch.tensor(stated["std"])
    size = size if isinstance(size, int) else size[-1]  # timm states channels, height and width

    def differentiable(pixels: Tensor) -> Tensor:
        x = (image_features.central_square(pixels.float(), size) + 1) / 2
        x = (x - mean.to(x.device).view(3, 1, 1)) / std.to(x.device).view(3, 1, 1)
        return (network if outputs is None else outputs)(x).float()

    return Encoder(
        name=request.name,
        fingerprint=digest.hexdigest()[:16],
        width=width,
        network=network,
        encode=encode,
        differentiable=differentiable,
    )
