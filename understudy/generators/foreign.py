"""Adapters and weights given in the wrong place: what they are, by their files, and how to use them here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors

from understudy.core.errors import InputError

FUSE = (
    "fuse it into its pipeline with diffusers (load_lora_weights, fuse_lora, unload_lora_weights, "
    "save_pretrained), and give the folder of that pipeline with --generator"
)
_EMBEDDING = (
    "add it to its pipeline with diffusers (load_textual_inversion, save_pretrained), give the folder of "
    "that pipeline with --generator, and write its token into adapt.prompt and draw.prompt"
)
_DENOISER = (
    "load its pipeline with it in diffusers (from_pretrained(..., unet=...), save_pretrained), and give the "
    "folder of that pipeline with --generator"
)
CHECKPOINT = (
    "convert it with diffusers (StableDiffusionPipeline.from_single_file, save_pretrained), and give the "
    "folder with --generator"
)
_UNKNOWN = (
    "load their pipeline in diffusers, add them to it (a LoRA with load_lora_weights and fuse_lora, an "
    "embedding with load_textual_inversion, a single file with from_single_file, a network as an argument of "
    "from_pretrained), save it with save_pretrained, and give its folder with --generator"
)
_ADAPTER = "give RUN/adapter of a finished run"
_TORCH = (".bin", ".ckpt", ".pt", ".pth")
_WEIGHTS = (".safetensors", *_TORCH)
INDEX = "model_index.json"
_ENCODERS = {"clip_g", "clip_l"}
"""Names of vectors for the two text encoders of SDXL, whose lengths differ."""


def describe(path: Path) -> tuple[str, str]:
    """Say what is at a path that was given as an adapter and is none of ours.

    Only names, JSON files and the headers of safetensors files are read.

    Returns:
        What it is (``a kohya LoRA``), and what to do.
    """
    if not path.exists():
        return "nothing", _ADAPTER
    if (path / "settings.yaml").is_file():
        return "the folder of a run", f"give {path / 'adapter'}, its adapter, once it is there"
    if _is_unfinished(path):
        return "an adapter that is not finished", "let the run that makes it finish its stage adapt"
    if (path / INDEX).is_file():
        return "a whole pipeline of diffusers", "give it with --generator, and leave adapt.adapter out"
    what, how = _foreign(path) or ("a folder without an adapter" if path.is_dir() else "a file", _ADAPTER)
    return what, f"{how}; or {_ADAPTER}" if how == _UNKNOWN else how


def check_pipeline_folder(path: Path) -> None:
    """Check that a path is the folder of a pipeline without a LoRA, which diffusers would not load with it.

    Raises:
        InputError: naming what is there instead or beside it, and what to do.
    """
    if not (path / INDEX).is_file():
        what, how = _describe_no_pipeline(path)
        raise InputError(f"the generator must be a diffusers pipeline folder, but {path} is {what}: {how}")
    for file in sorted(path.glob("pytorch_lora_weights.*")):
        raise InputError(
            f"the pipeline {path} must be used as it is, but in its folder lies a LoRA, {file.name}, which "
            f"diffusers does not load with it: {FUSE}; or move the file elsewhere to use the pipeline "
            "without it"
        )


def _describe_no_pipeline(path: Path) -> tuple[str, str]:
    """As :func:`describe`, for a path that was given as a generator and is no folder of a pipeline."""
    adapter = path / "adapter" if (path / "settings.yaml").is_file() else path
    if "method" in _json(adapter / "report.json") or _is_unfinished(adapter):
        what = "an adapter of understudy" if adapter == path else "the folder of a run"
        how = f"--set adapt.adapter={adapter}, and the generator that it was made for with --generator"
        return what, f"give {how}"
    if (path / "vae").is_dir() and (path / "text_encoder").is_dir():
        return f"a pipeline without its {INDEX}", "copy this file too, from where the pipeline came from"
    if found := _foreign(path):
        return found
    below = sorted(path.glob(f"*/{INDEX}")) or sorted(path.glob(f"*/*/{INDEX}"))  # as in the cache of the hub
    if below:
        return "a folder above one", f"give {below[0].parent}"
    what = "a folder" if path.is_dir() else "a file"
    how = "give a folder that save_pretrained of diffusers wrote, a hub name, or a word of 'understudy list'"
    return f"{what} without {INDEX}", how


def _is_unfinished(path: Path) -> bool:
    """Whether a folder holds what only an adaptation of ours writes."""
    return (path / "checkpoint.pt").is_file() or (path / "images.json").is_file()


def _foreign(path: Path) -> tuple[str, str] | None:
    """What other programs made, and what to do with it; None for anything else."""
    if not path.is_dir():
        return _describe_file(path)
    if (path / "adapter_config.json").is_file():
        return f"a {_peft_type(path / 'adapter_config.json')} of peft", FUSE
    if any(_is_denoiser(path / name / "config.json") for name in (".", "unet", "transformer")):
        return "a denoiser that was fine-tuned as a whole", _DENOISER
    if part := _json(path / "config.json").get("_class_name"):
        return f"a set of unknown weights ({part})", _UNKNOWN
    files = sorted(file for file in path.iterdir() if file.suffix in _WEIGHTS)
    return _describe_file(files[0]) if files else None


def _describe_file(path: Path) -> tuple[str, str] | None:
    shapes = _shapes(path) if path.suffix == ".safetensors" else {}
    if any(".hada_" in name or ".lokr_" in name for name in shapes):
        return "a LyCORIS adapter", FUSE
    if any(name.startswith("lora_") for name in shapes):
        return "a kohya LoRA", FUSE
    if any(name.startswith("base_model.model.") for name in shapes):
        return "a LoRA of peft", FUSE
    if any("lora" in name.lower() for name in shapes) or path.name.startswith("pytorch_lora_weights"):
        return "a LoRA of diffusers", FUSE
    if path.name.startswith("learned_embeds") or "emb_params" in shapes or _is_embedding(shapes):
        return "an embedding of textual inversion", _EMBEDDING
    if any("double_blocks." in name for name in shapes):  # Flux, alone or with its text encoders
        return "a set of unknown weights", _UNKNOWN
    if any(name.startswith("model.diffusion_model.") for name in shapes):
        return "a whole Stable Diffusion checkpoint", CHECKPOINT
    if any(name.startswith(("down_blocks.", "transformer_blocks.", "conv_in.")) for name in shapes):
        return "a denoiser that was fine-tuned as a whole", _DENOISER
    if path.suffix in _WEIGHTS:
        return "a set of unknown weights", _UNKNOWN
    return None


def _is_embedding(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the tensors are vectors for tokens, of one length and each under the name of its token."""
    if any("." in name or name.endswith(("weight", "bias")) for name in shapes):
        return False
    are_vectors = all(len(shape) in (1, 2) for shape in shapes.values())
    return are_vectors and (shapes.keys() == _ENCODERS or len({shape[-1] for shape in shapes.values()}) == 1)


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor by its name; empty if the file cannot be read."""
    try:
        with safetensors.safe_open(path, framework="numpy") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError):
        return {}


def _json(path: Path) -> Mapping[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _peft_type(path: Path) -> str:
    found = str(_json(path).get("peft_type", "LORA"))
    return "LoRA" if found == "LORA" else found


def _is_denoiser(path: Path) -> bool:
    name = str(_json(path).get("_class_name", ""))
    return name.startswith("UNet") or "Transformer2D" in name
