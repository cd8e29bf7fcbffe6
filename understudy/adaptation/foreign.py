"""Adapters and weights that other programs made: what they are, by their files, and how to use them here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors

_FUSE = (
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
_CHECKPOINT = (
    "convert it with diffusers (StableDiffusionPipeline.from_single_file, save_pretrained), and give the "
    "folder with --generator"
)
_UNKNOWN = (
    "load their pipeline in diffusers, add them to it (a LoRA with load_lora_weights and fuse_lora, an "
    "embedding with load_textual_inversion, a single file with from_single_file, a network as an argument of "
    "from_pretrained), save it with save_pretrained, and give its folder with --generator; or give "
    "RUN/adapter of a finished run"
)
_TORCH = (".bin", ".ckpt", ".pt", ".pth")
_WEIGHTS = (".safetensors", *_TORCH)
_ENCODERS = {"clip_g", "clip_l"}
"""Names of vectors for the two text encoders of SDXL, whose lengths differ."""


def describe(path: Path) -> tuple[str, str]:
    """Say what is at a path that is no adapter of ours.

    Only names, JSON files and the headers of safetensors files are read.

    Returns:
        What it is (``a kohya LoRA``), and what to do.
    """
    if not path.exists():
        return "nothing", "give RUN/adapter of a finished run"
    if path.is_file():
        return _describe_file(path)
    return _describe_folder(path) or (
        "a folder without an adapter",
        "give RUN/adapter of a finished run",
    )


def _describe_folder(path: Path) -> tuple[str, str] | None:
    if (path / "settings.yaml").is_file():
        return "the folder of a run", f"give {path / 'adapter'}, its adapter, once it is there"
    if (path / "checkpoint.pt").is_file() or (path / "images.json").is_file():
        return "an adapter that is not finished", "let the run that makes it finish its stage adapt"
    if (path / "model_index.json").is_file():
        return "a whole pipeline of diffusers", "give it with --generator, and leave adapt.adapter out"
    if (path / "adapter_config.json").is_file():
        return f"a {_peft_type(path / 'adapter_config.json')} of peft", _FUSE
    if any(_is_denoiser(path / name / "config.json") for name in (".", "unet", "transformer")):
        return "a denoiser that was fine-tuned as a whole", _DENOISER
    if part := _json(path / "config.json").get("_class_name"):
        return f"a set of unknown weights ({part})", _UNKNOWN
    files = sorted(file for file in path.iterdir() if file.suffix in _WEIGHTS)
    return _describe_file(files[0]) if files else None


def _describe_file(path: Path) -> tuple[str, str]:
    shapes = _shapes(path) if path.suffix == ".safetensors" else {}
    if any(".hada_" in name or ".lokr_" in name for name in shapes):
        return "a LyCORIS adapter", _FUSE
    if any(name.startswith("lora_") for name in shapes):
        return "a kohya LoRA", _FUSE
    if any(name.startswith("base_model.model.") for name in shapes):
        return "a LoRA of peft", _FUSE
    if any("lora" in name.lower() for name in shapes) or path.name.startswith("pytorch_lora_weights"):
        return "a LoRA of diffusers", _FUSE
    if path.name.startswith("learned_embeds") or "emb_params" in shapes or _is_embedding(shapes):
        return "an embedding of textual inversion", _EMBEDDING
    if any("double_blocks." in name for name in shapes):  # Flux, alone or with its text encoders
        return "a set of unknown weights", _UNKNOWN
    if any(name.startswith("model.diffusion_model.") for name in shapes):
        return "a whole Stable Diffusion checkpoint", _CHECKPOINT
    if any(name.startswith(("down_blocks.", "transformer_blocks.", "conv_in.")) for name in shapes):
        return "a denoiser that was fine-tuned as a whole", _DENOISER
    if path.suffix in _WEIGHTS:
        return "a set of unknown weights", _UNKNOWN
    return "a file", "give RUN/adapter of a finished run"


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
