"""Encoders: networks that turn images into features for fidelity and memorisation.

An encoder can be the image encoder of the generator, the network that arms start from, or any timm model.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, final

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from understudy.core.errors import InputError, first_line
from understudy.core.registry import Registry
from understudy.core.weight_files import check_network, check_network_folder, check_script
from understudy.data.image_kind import ImageKind
from understudy.data.labelled_set import LabelledSet
from understudy.generators.generator import adaptable
from understudy.generators.image_features import ImageFeatures, load_image_encoder
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
        encode: maps a set of at most 64 images to features, float (B, D).
    """

    name: str
    fingerprint: str
    width: int
    encode: Callable[[LabelledSet], Tensor]

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
Builder = Callable[[str, GeneratorGetter, StartGetter, str], Encoder]
"""Builds an encoder from its name, a getter of the run's generator, a getter of the network that arms start
from, and a torch device. A getter is None if the run lacks this network, and is called only when needed.
"""

ENCODERS: Registry[Builder] = Registry("encoder")


def load_encoder(
    name: str, *, generator: GeneratorGetter = None, start: StartGetter = None, device: str = "cpu"
) -> Encoder:
    """Load the encoder that ``fidelity.encoder`` names.

    Args:
        name: a registered name, ``timm:NAME``, a folder, or a TorchScript file.
        generator: getter of the run's generator; None if there is none.
        start: getter of the network that arms start from; None if it is not pretrained.
        device: torch device of an encoder that is loaded from disk or from the hub.

    Raises:
        InputError: as :func:`check_encoder`, and if the run lacks the named network, the weights cannot be
            loaded, or the folder does not state how images are prepared.
    """
    check_encoder(name)
    return ENCODERS[_kind(name)](name, generator, start, device)


def check_encoder(name: str) -> None:
    """Check the name of an encoder without loading or downloading anything.

    Raises:
        InputError: if the name is unknown, the timm model has no pretrained weights, or a file is missing or
            damaged.
    """
    if name in _KINDS:
        raise InputError(
            f"fidelity.encoder must name one encoder, got {name!r}, a kind of encoder: give {_KINDS[name]} "
            "instead"
        )
    kind = _kind(name)
    if kind == "timm":
        model = name.removeprefix(_PREFIX)
        backbones.check_timm_model(
            model, f"fidelity.encoder={name} must name a timm model, but timm has no such model"
        )
        backbones.check_timm_weights(model, f"fidelity.encoder={name} needs weights: choose another encoder")
    elif kind == "folder":
        check_network_folder(Path(name), "fidelity.encoder")
    elif kind == "torchscript":
        check_script(Path(name), "fidelity.encoder")
    elif kind == "photo":
        photo_network.check_photo_weights("fidelity.encoder=photo")
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
def _auto(_: str, generator: GeneratorGetter, start: StartGetter, device: str) -> Encoder:
    name = auto_encoder("characters", generator=generator, start=start)
    assert name is not None
    return ENCODERS[name](name, generator, start, device)


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
def _generator(name: str, generator: GeneratorGetter, start: StartGetter, device: str) -> Encoder:
    if generator is None or not _has_encoder(found := generator()):
        raise InputError(
            "fidelity.encoder=generator needs a generator with an image encoder: set "
            "generator.image_encoder, or choose another encoder (understudy list encoders)"
        )
    return _clip_vision(name, cast("Any", found).image_encoder(), adaptable(found).device)


@ENCODERS.register(
    "mini",
    summary="the CLIP image encoder of the bundled generator: 32 x 32 pixels, printed letters and digits",
)
def _mini(name: str, generator: GeneratorGetter, start: StartGetter, device: str) -> Encoder:
    # slow to import, and not needed to list encoders
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    folder = mini_folder()
    encoder = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder").to(device)
    return _clip_vision(
        name,
        ImageFeatures(encoder, CLIPImageProcessor.from_pretrained(folder / "feature_extractor")),
        torch.device(device),
    )


@ENCODERS.register(
    "backbone",
    summary="the pretrained network that arms start from, without its classification layer",
)
def _backbone(name: str, generator: GeneratorGetter, start: StartGetter, device: str) -> Encoder:
    if start is None:
        raise InputError(
            "fidelity.encoder=backbone needs a pretrained network that arms start from, got "
            "compare.pretrained=false: choose another encoder (understudy list encoders)"
        )
    classifier = start()
    backbone = classifier.backbone
    preparation = {"input_size": backbone.input_size, "mean": backbone.mean, "std": backbone.std}

    def encode(data: LabelledSet) -> Tensor:
        return torch.from_numpy(classifier.features(data))

    return _described(name, backbone.model, preparation, encode)


@ENCODERS.register(
    "photo", summary="EfficientNet-Lite0 pretrained on ImageNet, 224 pixels; needs understudy[photo]"
)
def _photo(name: str, generator: GeneratorGetter, start: StartGetter, device: str) -> Encoder:
    network = photo_network.photo_network(0, setting="fidelity.encoder=photo")
    return _timm_model(name, network, network.pretrained_cfg, device)


@ENCODERS.register("dinov2", summary="DINOv2 ViT-B/14 (timm:vit_base_patch14_dinov2.lvd142m); from the hub")
def _dinov2(name: str, generator: GeneratorGetter, start: StartGetter, device: str) -> Encoder:
    return _from_hub(name, "vit_base_patch14_dinov2.lvd142m", device)


@ENCODERS.register(
    "clip", summary="CLIP ViT-B/16 with projection (timm:vit_base_patch16_clip_224.openai); from the hub"
)
def _clip(name: str, generator: GeneratorGetter, start: StartGetter, device: str) -> Encoder:
    # The head is CLIP's projection.
    return _from_hub(name, "vit_base_patch16_clip_224.openai", device, keep_head=True)


@ENCODERS.register(
    "inception",
    summary="Inception v3 (timm:inception_v3.tf_in1k), not the weights of published FIDs; from the hub",
)
def _inception(name: str, generator: GeneratorGetter, start: StartGetter, device: str) -> Encoder:
    return _from_hub(name, "inception_v3.tf_in1k", device)


@ENCODERS.register("timm", summary="any pretrained timm model: give timm:NAME; from the hub")
def _timm(name: str, generator: GeneratorGetter, start: StartGetter, device: str) -> Encoder:
    return _from_hub(name, name.removeprefix(_PREFIX), device)


def _from_hub(name: str, model: str, device: str, *, keep_head: bool = False) -> Encoder:
    try:
        network = backbones.create_from_hub(model, **({} if keep_head else {"num_classes": 0}))
    except OSError as error:
        raise InputError(
            f"fidelity.encoder={name} needs the weights of {model} from the model hub, which could not be "
            f"reached ({type(error).__name__}): give a folder with the weights, or choose a bundled encoder "
            "(understudy list encoders)"
        ) from error
    return _timm_model(name, network, network.pretrained_cfg, device)


@ENCODERS.register(
    "folder", summary="a folder with a timm model, or a CLIP vision model with projection: give its path"
)
def _folder(name: str, generator: GeneratorGetter, start: StartGetter, device: str) -> Encoder:
    with _readable(name):
        config = json.loads((Path(name) / "config.json").read_text(encoding="utf-8"))
    if "architecture" not in config:
        return _clip_folder(name, config, device)
    stated = config.get("pretrained_cfg", config)
    _check_stated(name, stated, "add them to pretrained_cfg in config.json")
    with _readable(name):
        network = backbones.load_timm_folder(Path(name), num_classes=0)
    return _timm_model(name, network, stated, device)


@ENCODERS.register(
    "torchscript", summary="a TorchScript file, such as SSCD, which recognises copies: give its path"
)
def _torchscript(name: str, generator: GeneratorGetter, start: StartGetter, device: str) -> Encoder:
    """Images are squashed to 320 x 320 pixels and normalised as for ImageNet.

    The authors of SSCD (Pizzi et al. 2022, arXiv:2202.10261) advise this for batches: nothing is cut off.
    """
    # slow to import, and not needed to list encoders
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    preparation = {"input_size": 320, "mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
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

    with _readable(name, "a TorchScript file that maps images (B, 3, H, W) to features (B, D)"):
        with warnings.catch_warnings():  # the format is deprecated, but the authors of SSCD publish no other
            warnings.simplefilter("ignore", FutureWarning)
            network = torch.jit.load(name, map_location=device).eval()
        return _described(name, network, preparation, encode)


@contextmanager
def _readable(name: str, wanted: str = "a folder with a timm model or a CLIP vision model") -> Iterator[None]:
    try:
        yield
    except Exception as error:  # the readers raise many types for damaged or foreign folders
        raise InputError(f"fidelity.encoder={name} must be {wanted}: {first_line(error)}") from error


def _clip_folder(name: str, config: Mapping[str, Any], device: str) -> Encoder:
    processor = Path(name) / "preprocessor_config.json"
    with _readable(name):
        stated = json.loads(processor.read_text(encoding="utf-8")) if processor.is_file() else {}
    stated = {
        "input_size": config.get("image_size"),
        "mean": stated.get("image_mean"),
        "std": stated.get("image_std"),
    }
    place = "add image_size to config.json, and image_mean and image_std to preprocessor_config.json"
    _check_stated(name, stated, place)
    features = load_image_encoder(name, torch.float32, setting="fidelity.encoder")
    features.encoder.to(device)
    return _clip_vision(name, features, torch.device(device))


def _check_stated(name: str, stated: Mapping[str, Any], place: str) -> None:
    missing = [key for key in _STATED if not stated.get(key)]
    if missing:
        raise InputError(
            f"fidelity.encoder={name} must state size, mean and standard deviation of the images, "
            f"but has no {' and no '.join(missing)}: {place}"
        )


def _timm_model(name: str, network: Any, stated: Mapping[str, Any], device: str) -> Encoder:
    """A timm network with the image size, crop and normalisation of its pretraining."""
    import timm.data  # slow to import, and not needed to list encoders

    _check_stated(name, stated, "choose another encoder")
    preparation = timm.data.resolve_data_config(pretrained_cfg=dict(stated))
    prepare = timm.data.create_transform(**preparation, is_training=False)
    network = network.to(device).eval()

    def encode(data: LabelledSet) -> Tensor:
        x = torch.stack([prepare(data.image(index)) for index in range(len(data))])
        return cast("Tensor", network(x.to(device)))

    return _described(name, network, preparation, encode)


def _clip_vision(name: str, features: ImageFeatures, device: torch.device) -> Encoder:
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

    return _described(name, features.encoder, preparation, encode)


def _described(
    name: str, network: nn.Module, preparation: Mapping[str, Any], encode: Callable[[LabelledSet], Tensor]
) -> Encoder:
    stated = {key: preparation[key] for key in _STATED}
    check_network(f"fidelity.encoder={name}", network.state_dict(), **stated)
    digest = hashlib.sha256(json.dumps(preparation, sort_keys=True, default=str).encode())
    for key, value in network.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().float().cpu().numpy().tobytes())
    blank = LabelledSet.from_images([Image.new("RGB", (8, 8))], [0], class_names=["blank"], split="train")
    with torch.no_grad():
        width = encode(blank).shape[1]
    return Encoder(name=name, fingerprint=digest.hexdigest()[:16], width=width, encode=encode)
