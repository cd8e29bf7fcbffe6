"""Adapters and weights given in the wrong place: what they are, by their files, and how to use them here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from understudy.core.errors import InputError
from understudy.core.weight_files import WEIGHTS, damage, is_safetensors, shapes_in, weights_in
from understudy.generators.settings import CHECKPOINTS

MERGE = 'give it with --set "generator.adapters=[PATH]", and its pipeline with --generator'
_FUSE = (
    "fuse it into its pipeline with the program that made it, and give the folder of that pipeline with "
    "--generator"
)
_DENOISER = (
    "load its pipeline with it in diffusers (from_pretrained(..., unet=...), save_pretrained), and give the "
    "folder of that pipeline with --generator"
)
_AUTOENCODER = (
    "load a pipeline with it in diffusers (from_pretrained(..., vae=...), save_pretrained), and give the "
    "folder of that pipeline with --generator"
)
_CHECKPOINT = "a whole Stable Diffusion checkpoint"
_UNKNOWN = (
    "load their pipeline in diffusers, add them to it (a LoRA with load_lora_weights and fuse_lora, an "
    "embedding with load_textual_inversion, a network as an argument of from_pretrained), save it with "
    "save_pretrained, and give its folder with --generator"
)
_ADAPTER = "give RUN/adapter of a finished run"
INDEX = "model_index.json"
CHECKPOINT_PARTS = {
    "UNet": ("model.diffusion_model.",),
    "autoencoder": ("first_stage_model.",),
    "text encoder": ("cond_stage_model.", "conditioner.", "text_encoders."),
}
"""What the names of the weights of each part of a single file begin with; web UIs also keep UNets alone."""
DENOISERS = ("unet", "transformer")
MERGED_LORAS = ("a kohya LoRA", "a LoRA of diffusers")
"""What the function of diffusers for LoRAs reads."""
_EMBEDDING = "an embedding of textual inversion"
_SHARED_FILES = ("pytorch_lora_weights.safetensors", "learned_embeds.safetensors")
"""Files of adapters that other programs and understudy call the same."""
_OUR_FILES = ("images.json", "visual_projection.safetensors", "class_conditional")
"""What only adapters of understudy have."""
_ENCODERS = {"clip_g", "clip_l"}
"""Names of vectors for the two text encoders of SDXL, whose lengths differ."""
_BY_NAMES: tuple[tuple[Callable[[str], bool], str, str], ...] = (
    (lambda name: ".hada_" in name or ".lokr_" in name, "a LyCORIS adapter", _FUSE),
    (lambda name: name.startswith("lora_"), "a kohya LoRA", MERGE),
    (lambda name: name.startswith("base_model.model."), "a LoRA of peft", _FUSE),
    (lambda name: "lora" in name.lower(), "a LoRA of diffusers", MERGE),
    # of AUTOMATIC1111's web UI and of the authors of textual inversion
    (lambda name: name in ("emb_params", "string_to_param"), _EMBEDDING, MERGE),
    # Flux, alone or with its text encoders
    (lambda name: "double_blocks." in name, "a set of unknown weights", _UNKNOWN),
    (
        lambda name: name.startswith(CHECKPOINT_PARTS["UNet"]),
        _CHECKPOINT,
        "give the file itself with --generator",
    ),
    (
        # of diffusers, and of the authors of Stable Diffusion
        lambda name: name.startswith(("down_blocks.", "transformer_blocks.", "conv_in.", "input_blocks.")),
        "a denoiser that was fine-tuned as a whole",
        _DENOISER,
    ),
    (
        lambda name: name.startswith(("first_stage_model.", "decoder.up", "decoder.conv_in.")),
        "an autoencoder without the rest of its pipeline",
        _AUTOENCODER,
    ),
)
"""What a file is if one of its tensors has such a name, and what to do; the first that fits."""


def describe(path: Path) -> tuple[str, str]:
    """Say what is at a path that was given as an adapter and is none of ours.

    Only names, JSON files and the names of tensors are read.

    Returns:
        What it is (``a kohya LoRA``), and what to do.
    """
    if not path.exists():
        return "nothing", _ADAPTER
    if (path / "settings.yaml").is_file():
        return "the folder of a run", f"give {path / 'adapter'}, its adapter, once it is there"
    if found := _incomplete(path):
        return found
    if (path / INDEX).is_file():
        return "a whole pipeline of diffusers", "give it with --generator, and leave adapt.adapter out"
    what, how = _foreign(path) or ("a folder without an adapter" if path.is_dir() else "a file", _ADAPTER)
    if any((path / name).exists() for name in (*DENOISERS, *_SHARED_FILES)):
        return what, f"{how}; or, if understudy made it, copy its whole folder again, with report.json"
    return what, f"{how}; or {_ADAPTER}" if how == _UNKNOWN else how


def holds_weights(path: Path) -> bool:
    """Whether a path is a pipeline, a file of weights or a folder with one; otherwise it may hold images."""
    if (path / INDEX).is_file():
        return True
    files = path.iterdir() if path.is_dir() else [path]
    return any(file.suffix in WEIGHTS for file in files)


def check_pipeline_folder(path: Path, adapters: Sequence[Path]) -> None:
    """Check that a path is a whole pipeline: a single file, or a folder without a LoRA that is not used.

    Args:
        path: of the pipeline.
        adapters: ``generator.adapters``.

    Raises:
        InputError: naming what is there instead or beside it, and what to do.
    """
    if not (path / INDEX).is_file():
        what, how = _describe_no_pipeline(path)
        if what == _CHECKPOINT and path.is_file():
            _check_ending(path)
            return
        raise InputError(
            "the generator must be a diffusers pipeline (Stable Diffusion 1.x, 2.x, XL or 3, FLUX.1 or Sana) "
            f"as a folder or, of Stable Diffusion, a single file, but {path} is {what}: {how}"
        )
    merged = [adapter.resolve() for adapter in adapters]
    for file in sorted(path.glob("pytorch_lora_weights.*")):
        if file.resolve() not in merged:
            raise InputError(
                f"the pipeline {path} must be used as it is, but in its folder lies a LoRA, {file.name}, "
                f"which diffusers does not load with it: {MERGE}; or move the file elsewhere to use the "
                "pipeline without it"
            )


def _check_ending(path: Path) -> None:
    """Check that the name of a checkpoint says its format, by which diffusers chooses how to read it."""
    ending, form = (".safetensors", "safetensors") if is_safetensors(path) else (".ckpt", "a PyTorch file")
    if path.suffix != ending:
        raise InputError(
            f"the name of a checkpoint must end as its content says, in {' or '.join(CHECKPOINTS)}, but the "
            f"content of {path} is that of {form}: rename it to {path.with_suffix(ending).name}"
        )


def check_merged(path: Path) -> None:
    """Check that a file, or a folder with one, is an adapter that can be merged into a pipeline.

    Raises:
        InputError: naming what is there instead, and what to do.
    """
    what, how = _describe_to_merge(path)
    if what not in (*MERGED_LORAS, _EMBEDDING):
        found = f"{path} is {what}" if path.exists() else f"nothing is at {path}"
        raise InputError(
            "generator.adapters must be LoRAs of kohya or diffusers, or embeddings of textual inversion, but "
            f"{found}: {how}"
        )


def _describe_to_merge(path: Path) -> tuple[str, str]:
    """As :func:`describe`, for a path that was given as ``generator.adapters``."""
    if not path.exists():
        return "nothing", "correct the path"
    if "method" in json_object(path / "report.json"):
        return "an adapter of understudy", f"give it with --set adapt.adapter={path}"
    if (path / "settings.yaml").is_file():
        return "the folder of a run", f"give its adapter with --set adapt.adapter={path / 'adapter'}"
    if found := _incomplete(path):
        return found
    if (path / INDEX).is_file():
        return (
            "a whole pipeline of diffusers",
            "give it with --generator, and leave it out of generator.adapters",
        )
    what = "a folder without weights" if path.is_dir() else "a file without weights"
    return _foreign(path) or (what, "give a file such as style.safetensors, or the folder that it lies in")


def _describe_no_pipeline(path: Path) -> tuple[str, str]:
    """As :func:`describe`, for a path that was given as a generator and is no folder of a pipeline."""
    adapter = path / "adapter" if (path / "settings.yaml").is_file() else path
    if "method" in json_object(adapter / "report.json"):
        what = "an adapter of understudy" if adapter == path else "the folder of a run"
        how = f"--set adapt.adapter={adapter}, and the generator that it was made for with --generator"
        return what, f"give {how}"
    if found := _incomplete(adapter):
        return found
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


def _incomplete(path: Path) -> tuple[str, str] | None:
    """What adaptation has written into a folder without a report, and what to do; None for other folders."""
    card = path / "README.md"
    by_us = card.is_file() and "- understudy\n" in card.read_text(encoding="utf-8", errors="replace")
    if by_us or any((path / name).exists() for name in _OUR_FILES):
        what = "an adapter of understudy without its file report.json"
        return what, "copy the whole folder again; if its run has stopped early, continue the run"
    if (path / "checkpoint.pt").is_file():
        return "an adapter that is not finished", "let the run that makes it finish its stage adapt"
    return None


def _foreign(path: Path) -> tuple[str, str] | None:
    """What other programs made, and what to do with it; None for anything else."""
    if not path.is_dir():
        return _describe_file(path)
    files = weights_in(path)
    for file in (*files, *(file for part in DENOISERS for file in weights_in(path / part))):
        if found := damage(file):
            return f"a folder in which {file.relative_to(path)} is {found[0]}", found[1]
    if (path / "adapter_config.json").is_file():
        return f"a {_peft_type(path / 'adapter_config.json')} of peft", _FUSE
    if any(_is_denoiser(path / name / "config.json") for name in (".", *DENOISERS)):
        return "a denoiser that was fine-tuned as a whole", _DENOISER
    if part := json_object(path / "config.json").get("_class_name"):
        return f"a set of unknown weights ({part})", _UNKNOWN
    return _describe_file(files[0]) if files else None


def _describe_file(path: Path) -> tuple[str, str] | None:
    if path.suffix not in WEIGHTS:
        return None
    if found := damage(path):
        return found
    shapes = shapes_in(path)
    for names_one, what, how in _BY_NAMES:
        if any(map(names_one, shapes)):
            return what, how
    if path.name.startswith("pytorch_lora_weights"):
        return "a LoRA of diffusers", MERGE
    if path.name.startswith("learned_embeds") or _is_embedding(shapes):
        return _EMBEDDING, MERGE
    return "a set of unknown weights", _UNKNOWN


def _is_embedding(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the tensors are vectors for tokens, of one length and each under the name of its token."""
    if any("." in name or name.endswith(("weight", "bias")) for name in shapes):
        return False
    are_vectors = all(len(shape) in (1, 2) for shape in shapes.values())
    return are_vectors and (shapes.keys() == _ENCODERS or len({shape[-1] for shape in shapes.values()}) == 1)


def json_object(path: Path) -> Mapping[str, object]:
    """The JSON object in a file; empty if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _peft_type(path: Path) -> str:
    found = str(json_object(path).get("peft_type", "LORA"))
    return "LoRA" if found == "LORA" else found


def _is_denoiser(path: Path) -> bool:
    name = str(json_object(path).get("_class_name", ""))
    return name.startswith("UNet") or "Transformer2D" in name
