"""What makes features of images for measures of fidelity: the generator's own encoder, a backbone, or any timm model by name."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, final

import numpy as np
import timm
import timm.data
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from understudy.core.errors import InputError
from understudy.core.registry import Registry
from understudy.data.labelled_set import LabelledSet
from understudy.generators.load import mini_folder

if TYPE_CHECKING:
    from understudy.generators.generator import Generator
    from understudy.generators.image_features import ImageFeatures
    from understudy.training.classifier import TrainedClassifier

_BATCH = 64
_PREFIX = "timm:"
_STATED = ("input_size", "mean", "std")


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Encoder:
    """Images to features.

    Attributes:
        name: under which it was asked for; what ``auto`` chose.
        fingerprint: changes with the weights and with what is done to images before.
        width: D of the features.
        encode: features, float (B, D), of a set of at most 64 images.
    """

    name: str
    fingerprint: str
    width: int
    encode: Callable[[LabelledSet], Tensor]

    @torch.no_grad()
    def features(self, data: LabelledSet) -> np.ndarray:
        """Features of N images as they are, float32 (N, D)."""
        parts = [
            self.encode(data.select(range(start, min(start + _BATCH, len(data))))).float().cpu().numpy()
            for start in range(0, len(data), _BATCH)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.width), dtype=np.float32)


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class AtHand:
    """What a run has that can encode; made when it is asked for.

    Attributes:
        generator: its generator, or None.
        start: the network that arms start from, or None if it is not pretrained.
        device: where encoders that are loaded anew compute.
    """

    generator: Callable[[], Generator] | None = None
    start: Callable[[], TrainedClassifier] | None = None
    device: str = "cpu"


Builder = Callable[[str, AtHand], Encoder]
"""Name as the user gave it, and what the run has."""

ENCODERS: Registry[Builder] = Registry("encoder")


def load_encoder(name: str, at_hand: AtHand) -> Encoder:
    """The encoder that ``fidelity.encoder`` names.

    Args:
        name: a registered name, ``timm:NAME``, or a folder.
        at_hand: what the run has.

    Raises:
        InputError: as :func:`check_encoder`; and for what the run does not have, weights that cannot be had, or an encoder that does not
            state what is to be done to images.
    """
    check_encoder(name)
    return ENCODERS[_kind(name)](name, at_hand)


def check_encoder(name: str) -> None:
    """Refuse at once what :func:`load_encoder` could not load; loads and downloads nothing.

    Raises:
        InputError: for an unknown name, a timm model without pretrained weights, or a folder without ``config.json``.
    """
    if name in ("timm", "folder"):
        raise InputError(
            f"fidelity.encoder={name} stands for many: give {'timm:NAME' if name == 'timm' else 'the folder'} instead of this word"
        )
    kind = _kind(name)
    if kind == "timm":
        _check_timm(name.removeprefix(_PREFIX))
    elif kind == "folder" and not (Path(name) / "config.json").is_file():
        raise InputError(f"fidelity.encoder={name} must be a folder with config.json and weights, but it has no config.json")
    ENCODERS[kind]


def _kind(name: str) -> str:
    if name.startswith(_PREFIX):
        return "timm"
    return "folder" if name not in ENCODERS and Path(name).is_dir() else name


def _check_timm(model: str) -> None:
    known = [*timm.list_models(), *timm.list_pretrained()]
    if model not in known:
        near = difflib.get_close_matches(model, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_pretrained() gives the names"
        raise InputError(f"fidelity.encoder={_PREFIX}{model}: timm has no such model: {hint}")
    if not timm.get_pretrained_cfg(model).has_weights:
        raise InputError(f"fidelity.encoder={_PREFIX}{model}: timm has no pretrained weights for it: choose another encoder")


@ENCODERS.register("auto", summary="the generator's image encoder; without one, the network that arms start from if pretrained; or mini")
def _auto(_: str, at_hand: AtHand) -> Encoder:
    if at_hand.generator is not None and _has_encoder(at_hand.generator()):
        return _generator("generator", at_hand)
    return _backbone("backbone", at_hand) if at_hand.start is not None else _mini("mini", at_hand)


def _has_encoder(generator: Generator) -> bool:
    try:
        return generator.feature_width > 0
    except InputError:
        return False


@ENCODERS.register("generator", summary="the generator's own image encoder, or generator.image_encoder")
def _generator(name: str, at_hand: AtHand) -> Encoder:
    if at_hand.generator is None or not _has_encoder(at_hand.generator()):
        raise InputError(
            "fidelity.encoder=generator needs a generator with an image encoder: set generator.image_encoder, or choose another encoder "
            "(understudy list encoders)"
        )
    generator = at_hand.generator()
    return _clip_vision(name, cast("Any", generator).image_encoder(), generator.device)


@ENCODERS.register("mini", summary="the CLIP image encoder of the bundled miniature: 32 x 32 pixels, knows printed letters and digits")
def _mini(name: str, at_hand: AtHand) -> Encoder:
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    from understudy.generators.image_features import ImageFeatures

    folder = mini_folder()
    encoder = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder").to(at_hand.device)
    return _clip_vision(
        name, ImageFeatures(encoder, CLIPImageProcessor.from_pretrained(folder / "feature_extractor")), torch.device(at_hand.device)
    )


@ENCODERS.register("backbone", summary="the network that arms start from, before its classification layer; must be pretrained")
def _backbone(name: str, at_hand: AtHand) -> Encoder:
    if at_hand.start is None:
        raise InputError(
            "fidelity.encoder=backbone needs a pretrained network that arms start from, got compare.pretrained=false: choose another "
            "encoder (understudy list encoders)"
        )
    start = at_hand.start()
    backbone = start.backbone
    preparation = {"input_size": backbone.input_size, "mean": backbone.mean, "std": backbone.std}

    def encode(data: LabelledSet) -> Tensor:
        return torch.from_numpy(start.features(data))

    return _described(name, backbone.model, preparation, encode)


@ENCODERS.register("dinov2", summary="DINOv2 ViT-B/14 (timm:vit_base_patch14_dinov2.lvd142m); weights from the hub")
def _dinov2(name: str, at_hand: AtHand) -> Encoder:
    return _from_hub(name, "vit_base_patch14_dinov2.lvd142m", at_hand)


@ENCODERS.register("clip", summary="CLIP ViT-B/16, projected (timm:vit_base_patch16_clip_224.openai); weights from the hub")
def _clip(name: str, at_hand: AtHand) -> Encoder:
    return _from_hub(name, "vit_base_patch16_clip_224.openai", at_hand, keep_head=True)  # the head is CLIP's projection


@ENCODERS.register(
    "inception", summary="Inception v3, not the copy behind published FIDs (timm:inception_v3.tf_in1k); weights from the hub"
)
def _inception(name: str, at_hand: AtHand) -> Encoder:
    return _from_hub(name, "inception_v3.tf_in1k", at_hand)


@ENCODERS.register("timm", summary="stands for every pretrained timm model: give timm:NAME; weights from the hub")
def _timm(name: str, at_hand: AtHand) -> Encoder:
    return _from_hub(name, name.removeprefix(_PREFIX), at_hand)


def _from_hub(name: str, model: str, at_hand: AtHand, *, keep_head: bool = False) -> Encoder:
    try:
        network = timm.create_model(model, pretrained=True, **({} if keep_head else {"num_classes": 0}))
    except OSError as error:
        raise InputError(
            f"fidelity.encoder={name}: the weights of {model} must come from the model hub, which could not be reached "
            f"({type(error).__name__}): give a folder with them, or choose an encoder that is bundled (understudy list encoders)"
        ) from error
    return _timm_model(name, network, network.pretrained_cfg, at_hand)


@ENCODERS.register("folder", summary="stands for every folder with a timm model or a CLIP vision model with projection")
def _folder(name: str, at_hand: AtHand) -> Encoder:
    with _readable(name):
        config = json.loads((Path(name) / "config.json").read_text(encoding="utf-8"))
    if "architecture" not in config:
        return _clip_folder(name, config, at_hand)
    stated = config.get("pretrained_cfg", config)
    _check_stated(name, stated, "they belong to pretrained_cfg in config.json")
    with _readable(name):
        network = timm.create_model(f"local-dir:{name}", pretrained=True, num_classes=0)
    return _timm_model(name, network, stated, at_hand)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever the readers raise for a damaged or foreign folder
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"fidelity.encoder={name} must be a folder with a timm model or a CLIP vision model: {reason}") from error


def _clip_folder(name: str, config: Mapping[str, Any], at_hand: AtHand) -> Encoder:
    from understudy.generators.image_features import load_image_encoder

    processor = Path(name) / "preprocessor_config.json"
    with _readable(name):
        stated = json.loads(processor.read_text(encoding="utf-8")) if processor.is_file() else {}
    stated = {"input_size": config.get("image_size"), "mean": stated.get("image_mean"), "std": stated.get("image_std")}
    _check_stated(name, stated, "they are image_size in config.json, image_mean and image_std in preprocessor_config.json")
    with _readable(name):
        features = load_image_encoder(name, torch.float32)
    features.encoder.to(at_hand.device)
    return _clip_vision(name, features, torch.device(at_hand.device))


def _check_stated(name: str, stated: Mapping[str, Any], place: str) -> None:
    missing = [key for key in _STATED if not stated.get(key)]
    if missing:
        raise InputError(
            f"fidelity.encoder={name} must state size, mean and deviation of its images, but there is no "
            f"{' and no '.join(missing)}: {place}"
        )


def _timm_model(name: str, network: Any, stated: Mapping[str, Any], at_hand: AtHand) -> Encoder:
    """With the size, cut and normalisation of its pretraining."""
    _check_stated(name, stated, "timm's pretrained_cfg lacks them")
    preparation = timm.data.resolve_data_config(pretrained_cfg=dict(stated))
    prepare = timm.data.create_transform(**preparation, is_training=False)
    network = network.to(at_hand.device).eval()

    def encode(data: LabelledSet) -> Tensor:
        x = torch.stack([prepare(data.image(index)) for index in range(len(data))])
        return cast("Tensor", network(x.to(at_hand.device)))

    return _described(name, network, preparation, encode)


def _clip_vision(name: str, features: ImageFeatures, device: torch.device) -> Encoder:
    """Short side to the encoder's size (bicubic), central square, CLIP's normalisation; features projected."""
    size = int(features.encoder.config.image_size)
    preparation = {"input_size": size, "mean": features.mean.flatten().tolist(), "std": features.std.flatten().tolist()}

    def encode(data: LabelledSet) -> Tensor:
        fitted = [ImageOps.fit(data.image(index), (size, size), Image.Resampling.BICUBIC) for index in range(len(data))]
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in fitted])).permute(0, 3, 1, 2)
        return features(pixels.float() / 127.5 - 1, device=device)

    return _described(name, features.encoder, preparation, encode)


def _described(name: str, network: nn.Module, preparation: Mapping[str, Any], encode: Callable[[LabelledSet], Tensor]) -> Encoder:
    digest = hashlib.sha256(json.dumps(preparation, sort_keys=True, default=str).encode())
    for key, value in network.state_dict().items():
        digest.update(key.encode())
        digest.update(value.detach().float().cpu().numpy().tobytes())
    blank = LabelledSet.from_images([Image.new("RGB", (8, 8))], [0], class_names=["blank"], split="train")
    with torch.no_grad():
        width = encode(blank).shape[1]
    return Encoder(name=name, fingerprint=digest.hexdigest()[:16], width=width, encode=encode)
